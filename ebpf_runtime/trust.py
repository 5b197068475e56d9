# SPDX-License-Identifier: Apache-2.0
"""Who could have changed a file that the configuration names, and copies that nobody can change any more.

What is read from such a path reaches the kernel with the rights of this process. So every part of the path, links and
what they lead to included, must belong to root or to the running user, and be writable by nobody else; a directory may
be if it is sticky, as /tmp is.
"""

from __future__ import annotations

import errno
import os
import stat

from .build_directory import open_plainly
from .errors import describe
from .rare_errors import DigestError, TrustError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["SealedCopy", "read_trusted", "trusted"]

_MAX_LINKS = 40  # as the kernel
_MAX_BYTES = 256 << 20  # the BTF of a kernel has some 6 MB
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def trusted(path: str | os.PathLike[str]) -> str:
    """Return where a file or a directory really is, having checked every part of the way.

    Raises:
        TrustError: A part is missing, belongs to another user, or can be written by others; names that part.
    """
    shown = os.fspath(path)
    pending = _parts(os.path.abspath(shown))  # noqa: PTH100  # resolve() would follow links unchecked
    here = "/"
    links = 0
    try:
        _check(shown, here, os.lstat(here))
        while pending:
            part = pending.pop()
            if part == "..":
                here = os.path.dirname(here)  # noqa: PTH120
                continue
            place = os.path.join(here, part)  # noqa: PTH118
            state = os.lstat(place)
            _check(shown, place, state)
            if not stat.S_ISLNK(state.st_mode):
                here = place
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, "", place)
            target = os.readlink(place)  # noqa: PTH115
            pending += _parts(target)
            here = "/" if target.startswith("/") else here
    except ValueError:  # holds a null character, or half of a surrogate pair
        raise TrustError(f"read {shown!r}: it is not the name of a file. Check the path.", name=shown) from None
    except OSError as error:
        raise TrustError(
            f"read {shown}: {describe(error.errno or 0)} ({error.filename}). Check the path.",
            name=shown,
            errno=error.errno or 0,
        ) from None
    return here


def read_trusted(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file, after `trusted` has passed its path.

    Raises:
        TrustError: As `trusted` does, or it is no regular file, or too large, or it cannot be read.
    """
    shown = os.fspath(path)
    not_regular = TrustError(f"read {shown}: it is not a regular file. Name a file.", name=shown)
    if _is_other_than_a_file(path):  # whose mode or owner is not what is wrong
        raise not_regular
    real = trusted(path)
    try:
        with open(real, "rb", opener=open_plainly) as file:  # closes a directory, too, which it refuses
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise not_regular
            _check(shown, real, state)  # what was opened, not what was there a moment before
            if state.st_size > _MAX_BYTES:
                raise TrustError(
                    f"read {shown}: it has {state.st_size} bytes, more than the {_MAX_BYTES} that are read of a file. "
                    "Name a smaller one.",
                    name=shown,
                )
            return file.read()
    except OSError as error:
        raise TrustError(
            f"read {shown}: {describe(error.errno or 0)}. Check the path.", name=shown, errno=error.errno or 0
        ) from None


def _is_other_than_a_file(path: str | os.PathLike[str]) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _check(shown: str, place: str, state: os.stat_result) -> None:
    where = "it" if place == shown else place
    if state.st_uid not in (0, os.geteuid()):
        raise TrustError(
            f"read {shown}: {where} belongs to user {state.st_uid}, who could have changed it. "
            f"Give it to root (chown root {place}).",
            name=shown,
        )
    mode = stat.S_IMODE(state.st_mode)
    is_sticky = stat.S_ISDIR(state.st_mode) and mode & stat.S_ISVTX
    if mode & _OTHERS and not is_sticky and not stat.S_ISLNK(state.st_mode):
        raise TrustError(
            f"read {shown}: {where} has mode {mode:04o}, so others could have changed it. "
            f"Take that away (chmod go-w {place}).",
            name=shown,
        )


class SealedCopy:
    """Bytes in a file without a name that nobody, ourselves included, can change; its hash was taken of that file.

    Attributes:
        fd: What holds it. A child needs it under the same number (`pass_fds`), and may have it before it is sealed.
        path: Under which this process, and each child that was passed *fd*, opens it. It says "self": our number would
            be somebody else's in a /proc that is not that of our namespace.
    """

    def __init__(self, name: str, data: bytes | None = None) -> None:
        """Make the copy; None: `seal` is told later what it holds.

        Raises:
            DigestError: The sealed copy is not what was to be copied.
            TrustError: It cannot be opened by its path.
        """
        self.fd = -1
        self.fd = os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            if self.fd <= 2:  # a closed standard stream's, which is another file to a child
                import fcntl

                low, self.fd = self.fd, fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 3)
                os.close(low)
            self.name = name
            self.path = f"/proc/self/fd/{self.fd}"
            if data is not None:
                self.seal(data)
        except BaseException:
            self.close()
            raise

    def seal(self, data: bytes) -> None:
        """Put the bytes there, once; raises as making it does."""
        import fcntl

        from .digests import sha256

        with os.fdopen(self.fd, "wb", closefd=False) as file:
            file.write(data)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)
        state = os.fstat(self.fd)
        expected = sha256(data)
        actual = sha256(os.pread(self.fd, state.st_size, 0))
        if actual != expected:
            raise DigestError(
                f"copy {self.name}: the SHA-256 of the sealed copy is {actual}, not {expected}. Try again.",
                name=self.name,
                expected=expected,
                actual=actual,
            )
        try:
            seen = os.stat(self.path)  # noqa: PTH116
            reason = "" if (seen.st_dev, seen.st_ino) == (state.st_dev, state.st_ino) else "another file is there"
        except OSError as error:
            reason = describe(error.errno or 0)
        if reason:
            raise TrustError(
                f"copy {self.name}: /proc does not show the copy ({reason}). "
                "Mount the proc of this process's namespace at /proc.",
                name=self.name,
            )

    def close(self) -> None:
        """Free the copy; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
