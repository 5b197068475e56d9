# SPDX-License-Identifier: Apache-2.0
"""libbpf's headers, as they came with this package, for compiling on this host.

Their digests were taken when the package was built, and stand in `HEADER_LIST` as `sha256sum` writes them. A checkout
that was never installed has neither; the system's headers serve there.
"""

from __future__ import annotations

from pathlib import Path

import ebpf_runtime

from .compiled_objects import HEADER_LIST
from .digests import check_digest, package_file
from .errors import OpenError

__all__ = ["copy_headers"]


def copy_headers(directory: Path) -> tuple[Path, ...]:
    """Put a copy of each header, which was checked, below a new directory, and return that for the compiler.

    Returns:
        Nothing where the package has none.
    Raises:
        OpenError: One is missing from the package.
        DigestError: One is not what came with the package.
    """
    listing = package_file(ebpf_runtime, HEADER_LIST)
    if listing is None:
        return ()
    for line in listing.decode("ascii", "replace").splitlines():
        expected, _, name = line.partition("  ")
        data = package_file(ebpf_runtime, name)
        if data is None:
            raise OpenError(f"open {name}: it is not in the package ebpf_runtime. Reinstall the package.", name=name)
        check_digest(name, data, expected, f"open {name}", "Reinstall the package.")
        path = directory / Path(name).relative_to("include")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(data)
    return (directory,)
