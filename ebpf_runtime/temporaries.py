# SPDX-License-Identifier: Apache-2.0
"""Temporary files and directories beside what is kept, and the removal of those that a killed process has left.

Each is locked as long as it is used. The kernel frees the lock with the process, so one whose lock can be had is left.
Where the filesystem has no locks nothing is removed. Source: flock(2).
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["remove_left", "temporary_directory", "temporary_file"]

_NAME = r"\.(?:compile|write)-[0-9a-f]{16}"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def remove_left(parent: Path) -> None:
    """Remove what processes that are no more have left in a directory of ours; what cannot be removed stays."""
    with os.scandir(parent) as entries:
        paths = [Path(entry.path) for entry in entries if re.fullmatch(_NAME, entry.name)]
    for path in paths:
        with suppress(OSError):  # gone in the meantime
            fd = os.open(path, _FLAGS)
            try:
                if _is_ours(fd, path):
                    _remove(path)
            finally:
                os.close(fd)


@contextmanager
def temporary_directory(parent: Path) -> Iterator[Path]:
    """Give a directory that only we can use, and remove it with what it holds."""
    with _temporary(parent, "compile", _make_directory) as (path, _):
        yield path


@contextmanager
def temporary_file(parent: Path) -> Iterator[tuple[Path, int]]:
    """Give a file that only we can use, and its descriptor to write to; remove it unless it was renamed."""
    with _temporary(parent, "write", _make_file) as made:
        yield made


@contextmanager
def _temporary(parent: Path, kind: str, make: Callable[[Path], int]) -> Iterator[tuple[Path, int]]:
    fd = -1
    path = _new_name(parent, kind)
    try:
        while (fd := make(path)) < 0 or not _is_ours(fd, path, without_locks=True):
            if fd >= 0:  # another took it for left
                os.close(fd)
                fd = -1
            path = _new_name(parent, kind)
        yield path, fd
    finally:
        if fd >= 0:
            os.close(fd)  # first: it may be the only one that there is for removing
        try:
            _remove(path)
        except BaseException:  # a signal's
            _remove(path)
            raise


def _new_name(parent: Path, kind: str) -> Path:
    # A process id would not do: threads share it, and so may containers that share the directory.
    return parent / f".{kind}-{os.urandom(8).hex()}"


def _make_directory(path: Path) -> int:
    path.mkdir(mode=0o700)
    try:
        return os.open(path, _FLAGS | os.O_DIRECTORY)
    except FileNotFoundError:
        return -1


def _make_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _is_ours(fd: int, path: Path, *, without_locks: bool = False) -> bool:
    """Return whether a file that was just opened could be locked, and is still there."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Remove a file, or a directory with what it holds; needs one file descriptor, where shutil.rmtree() needs more."""
    for place, directories, files in os.walk(path, topdown=False):
        for name in files:
            Path(place, name).unlink(missing_ok=True)
        for name in directories:
            _remove_directory(Path(place, name))
    _remove_directory(path)


def _remove_directory(path: Path) -> None:
    try:
        path.rmdir()
    except NotADirectoryError:  # a link to one, or a file
        path.unlink(missing_ok=True)
    except OSError:  # gone, or not empty
        pass
