# SPDX-License-Identifier: Apache-2.0
"""The directory of objects compiled on this host: who may have written there, and reading and writing safely.

What it holds is given to the kernel with the rights of this process, so nobody else may write it: the directory is
ours with mode 0700, no part of its path is a symbolic link or belongs to another user than us and root, and none can be
written by others unless it is sticky, as /var/tmp is.
"""

from __future__ import annotations

import os
import stat

from .digests import check_digest, sha256
from .errors import describe, remedy
from .rare_errors import CompileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BuildDirectory", "default_directory", "open_plainly", "room"]

_ROOTS_DIRECTORY = "/var/tmp/ebpf-runtime"
_NEXT_STEPS = {
    "build": "Set system_probe_config.runtime_compiler_output_dir to a directory of your own.",
    "kernel-headers": "Set system_probe_config.kernel_header_download_dir to a directory of your own.",
    "kheaders": "Name the directories of this kernel's headers by system_probe_config.kernel_header_dirs.",
}


class BuildDirectory:
    """A directory for compiled objects, or other files that only we may write, made if it is not there."""

    def __init__(self, configured: str | os.PathLike[str] | None, purpose: str = "build") -> None:
        """Make sure of the directory; None takes the user's own default.

        Args:
            purpose: "build", "kernel-headers" or "kheaders", of which the setting that errors name is.
        Raises:
            CompileError: It cannot be made, or others could write there.
        """
        # A start from what was compiled before imports no pathlib; and Path.resolve() would follow links.
        self._path = os.path.abspath(configured or default_directory(purpose))  # noqa: PTH100
        self._next_step = _NEXT_STEPS[purpose]
        if any(char < " " or char == "\x7f" for char in self._path):
            raise CompileError(
                f"use directory {self._path!r}: its name has a control character, which no list of files and "
                f"no line of a log can hold. {self._next_step}",
                name=self._path,
            )
        parts = [part for part in self._path.split("/") if part]
        try:
            for number in range(len(parts) + 1):
                path = "/" + "/".join(parts[:number])
                try:
                    state = os.lstat(path)
                except FileNotFoundError:
                    try:  # noqa: SIM105  # contextlib is imported by no start from a kept object
                        os.mkdir(path, mode=0o700)  # noqa: PTH102
                    except FileExistsError:  # another start was faster
                        pass
                    state = os.lstat(path)
                self._check(path, state)
        except ValueError:  # holds half of a surrogate pair
            raise CompileError(
                f"use directory {self._path!r}: it is not the name of a directory. {self._next_step}", name=self._path
            ) from None
        except OSError as error:
            raise self._refuse(f"{describe(error.errno or 0)} ({error.filename})") from error

    @property
    def path(self) -> Path:
        """Where it is."""
        from pathlib import Path

        return Path(self._path)

    def _check(self, path: str, state: os.stat_result) -> None:
        last = path == self._path
        if not stat.S_ISDIR(state.st_mode):
            raise self._refuse(f"{path} is no directory" if last else f"{path}, on the way there, is no directory")
        if state.st_uid not in ({os.geteuid()} if last else {0, os.geteuid()}):
            raise self._refuse(f"{path} belongs to user {state.st_uid}")
        mode = stat.S_IMODE(state.st_mode)
        if last and mode & 0o077:
            raise self._refuse(f"it has mode {mode:04o}, others can use it; chmod 0700 it")
        if mode & 0o022 and not mode & stat.S_ISVTX:
            raise self._refuse(f"{path} has mode {mode:04o}, others can write there")

    def _refuse(self, reason: str) -> CompileError:
        return CompileError(f"use directory {self._path}: {reason}. {self._next_step}", name=self._path)

    def find(self, prefix: str) -> bytes | None:
        """Return the newest file whose name begins with *prefix* and ends in `.o`; None if there is none.

        Raises:
            CompileError: It is not a plain file of ours that only we can write.
            DigestError: It is not what was written under this name.
        """
        with os.scandir(self._path) as entries:
            found = [item for item in entries if item.name.startswith(prefix) and item.name.endswith(".o")]
        if not found:
            return None
        newest = max(found, key=lambda item: (item.stat(follow_symlinks=False).st_mtime_ns, item.name))
        name, path = newest.name, newest.path
        try:
            with open(path, "rb", opener=open_plainly) as file:
                state = os.fstat(file.fileno())
                mode = stat.S_IMODE(state.st_mode)
                if not stat.S_ISREG(state.st_mode):
                    raise CompileError(f"read {path}: it is not a regular file. Delete it.", name=name)
                if state.st_uid != os.geteuid() or mode & 0o022:
                    raise CompileError(
                        f"read {path}: it belongs to user {state.st_uid} and has mode {mode:04o}, so others could have "
                        "made it. Delete it.",
                        name=name,
                    )
                data = file.read()
        except OSError as error:
            raise CompileError(f"read {path}: {describe(error.errno or 0)}. Delete it.", name=name) from error
        check_digest(name, data, name.removesuffix(".o").rpartition("-")[2], f"read {path}", "Delete it.")
        return data

    def write_object(self, name: str, data: bytes) -> Path:
        """Put an object there under a name that ends in its SHA-256, which `find` checks; raises as `write` does."""
        return self.write(f"{name}-{sha256(data)}.o", data)

    def write(self, name: str, data: bytes) -> Path:
        """Put a file there, whole or not at all, that only we can read and write.

        Raises:
            CompileError: It cannot be written.
        """
        from .temporaries import temporary_file

        path = self.path / name
        try:
            with temporary_file(self.path) as (temporary, fd):
                with os.fdopen(fd, "wb", closefd=False) as file:
                    file.write(data)
                temporary.replace(path)
        except OSError as error:
            number = error.errno or 0
            next_step = room(number) or remedy(number) or self._next_step
            raise CompileError(f"write {path}: {describe(number)}. {next_step}", name=name) from error
        return path


def room(number: int) -> str:
    """Return what to do about an error number by which a file has no room; empty for all others."""
    import errno

    return {
        errno.ENOSPC: "Free its space.",
        errno.EDQUOT: "Free its space, or raise the quota.",
        errno.EFBIG: "Raise the limit of a file's size (ulimit -f, LimitFSIZE=).",
    }.get(number, "")


def open_plainly(path: str, flags: int) -> int:
    """Be an opener of `open` that follows no link and waits for no writer."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def default_directory(purpose: str) -> str:
    """Return root's directory for a purpose, or the one in the user's cache; it is not made."""
    if os.geteuid() == 0:
        return os.path.join(_ROOTS_DIRECTORY, purpose)  # noqa: PTH118
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
    return os.path.join(cache, "ebpf-runtime", purpose)  # noqa: PTH118
