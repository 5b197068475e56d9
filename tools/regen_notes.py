# SPDX-License-Identifier: Apache-2.0
"""Whether anything that a probe's bindings are made from has changed since they were made.

Noted are digests of every file that was read or written, the names of the files that would have been read had they been
there, and what chose the compiler. Only `tools/regen` without `--check` asks, and only for files it would write itself.

Asking must cost a fraction of a compiler's run, so this module imports next to nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from hashlib import sha256
else:
    try:  # without hashlib's 6 ms for OpenSSL, as the standard library's random does
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["Notes"]

_FORM = "1"
# Variables that choose the compiler, or that it reads itself.
_VARIABLES = ("EBPF_CLANG", "CPATH", "C_INCLUDE_PATH", "CCC_OVERRIDE_OPTIONS")
# Directories besides those of PATH in which an installed clang shows.
_PLACES = ("/usr/lib",)
# A file's time may lag behind the clock by one tick of the kernel; some file systems are slower still.
_TICK = 0.02


class Notes:
    """What was true when a checkout's bindings were last made, a file of notes for each probe.

    Args:
        root: The checkout.
        sources: The directories whose every file name counts: a new header may hide another.
    """

    def __init__(self, root: str, sources: Iterable[str]) -> None:
        self._root = root
        self._directory = os.path.join(root, "build", "regen")
        self._sources = tuple(sources)

    def current(self, probe: str) -> bool:
        """Return whether the bindings of a probe were made from what is there now, and are still what was made."""
        try:
            with open(self._path(probe), encoding="utf-8") as file:
                identity, compiler, *lines = file.read().splitlines()
            if identity != self._identity(compiler):
                return False
            return all(line[:64] == _digest(line[65:]) for line in lines)
        except (OSError, ValueError):  # also of notes that are no text, or cut off
            return False

    def write(
        self, probe: str, compiler: str, inputs: Iterable[str], outputs: Mapping[str, bytes], since: float
    ) -> None:
        """Note that a probe's bindings are made.

        Args:
            probe: Its name.
            compiler: The file of the compiler that was used.
            inputs: All files that were read.
            outputs: What was written, by file.
            since: When making them began, in seconds as `time.time()` gives; nothing is noted if an input is newer,
                because then it is not known which of its contents was read.
        """
        self.forget(probe)
        try:
            lines = [self._identity(compiler), compiler]
            for file in sorted(set(inputs) - set(outputs)):
                if "\n" in file or os.stat(file).st_mtime >= since - _TICK:
                    return
                lines.append(f"{_digest(file)} {file}")
            lines += (f"{sha256(data).hexdigest()} {file}" for file, data in outputs.items())
            os.makedirs(self._directory, exist_ok=True)
            temporary = f"{self._path(probe)}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write("\n".join(lines) + "\n")
            os.replace(temporary, self._path(probe))
        except (OSError, ValueError):
            return  # notes only save time

    def forget(self, probe: str) -> None:
        """Remove what is noted of a probe."""
        try:
            os.unlink(self._path(probe))
        except OSError:
            return

    def _path(self, probe: str) -> str:
        return os.path.join(self._directory, f"{probe}.notes")

    def _identity(self, compiler: str) -> str:
        """Return a digest of what is no file's content: names, the compiler and what chose it, the interpreter."""
        path = os.environ.get("PATH", os.defpath)
        parts = [_FORM, sys.version, path, _state(compiler)]
        parts += (os.environ.get(name, "") for name in _VARIABLES)
        parts += (_state(place) for place in (*path.split(os.pathsep), *_PLACES))
        for source in self._sources:
            parts += _names(source)
        return sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _digest(file: str) -> str:
    with open(file, "rb") as stream:
        return sha256(stream.read()).hexdigest()


def _state(path: str) -> str:
    """Return what changes when a file is replaced, or something comes into or leaves a directory."""
    try:
        found = os.stat(path or ".")
    except OSError:
        return "-"
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _names(directory: str) -> Iterator[str]:
    """Yield the paths of all files below a directory, but caches."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from _names(entry.path)
        else:
            yield entry.path
