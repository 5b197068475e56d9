# SPDX-License-Identifier: Apache-2.0
"""Files of packages and their digests: SHA-256 without OpenSSL, whose loading takes longer than a probe's."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import sha256 as _sha256
    from types import ModuleType
else:
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256 as _sha256
        else:
            from _sha256 import sha256 as _sha256
    except ImportError:  # a Python built without its own
        from hashlib import sha256 as _sha256

__all__ = ["check_digest", "check_listed", "first_file", "listed_digest", "package_file", "sha256"]


def sha256(data: bytes) -> str:
    """Return the SHA-256 of *data* in hex."""
    return _sha256(data).hexdigest()


def listed_digest(name: str, listing: bytes) -> str:
    """Return the digest that a list, as `sha256sum` writes it, has for a file; empty if it has none."""
    for line in listing.decode("ascii", "replace").splitlines():
        digest, _, listed = line.partition("  ")
        if listed == name:
            return digest
    return ""


def check_listed(name: str, data: bytes, listing: bytes) -> None:
    """Do nothing if *data* is what a list says of the file.

    Raises:
        DigestError: It is not; tells both digests.
    """
    check_digest(name, data, listed_digest(name, listing), f"open {name}", "Reinstall the package.")


def check_digest(name: str, data: bytes, expected: str, action: str, step: str) -> None:
    """Do nothing if a file's digest is *expected*; what was done with it, and what to do next, go into the error.

    Raises:
        DigestError: It is not; tells both digests.
    """
    actual = sha256(data)
    if actual != expected:
        from .rare_errors import DigestError

        raise DigestError(
            f"{action}: its SHA-256 is {actual}, not {expected or 'listed'}. {step}",
            name=name,
            expected=expected,
            actual=actual,
        )


def package_file(package: ModuleType, name: str) -> bytes | None:
    """Return a file of a package, None if there is none; raises as `first_file` does."""
    return first_file(package.__spec__.loader if package.__spec__ else None, package.__path__, name)


def first_file(loader: object, directories: Iterable[str], name: str) -> bytes | None:
    """Read through a package's loader, wherever the package keeps its files (also two places, if editable).

    Raises:
        OpenError: It is there, and cannot be read.
    """
    for directory in directories:
        try:
            return loader.get_data(f"{directory}/{name}")  # type: ignore[attr-defined,no-any-return]
        except OSError as error:
            import errno

            if error.errno in (errno.ENOENT, errno.ENOTDIR, 0, None):  # a loader of archives has no number for it
                continue
            from .errors import OpenError, describe

            raise OpenError(
                f"open {directory}/{name}: {describe(error.errno)}.", name=name, errno=error.errno
            ) from error
    return None
