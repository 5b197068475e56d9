# SPDX-License-Identifier: Apache-2.0
"""Waiting until a file below some directories is saved, by looking at their times ten times a second."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["Watch"]

_PERIOD_S: Final = 0.1
# What editors write beside a file while they save it.
_PASSING: Final = ("~", ".swp", ".swx", ".tmp", ".pyc", "4913")

_State = tuple[int, int, int]


class Watch:
    """The files below *directories*, from now on; `__pycache__` and what editors leave behind do not count."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = tuple(directories)
        self._seen = dict(self._states())

    def wait(self) -> set[Path]:
        """Return the files that came, went or changed since the last call, as soon as there are any."""
        while True:
            time.sleep(_PERIOD_S)
            now = dict(self._states())
            if now == self._seen:
                continue
            # An editor may be about to rename the new file to the old name.
            while (later := dict(self._states())) != now:
                now = later
                time.sleep(_PERIOD_S / 5)
            changed = {Path(path) for path, _ in self._seen.items() ^ now.items()}
            self._seen = now
            if changed:
                return changed

    def _states(self) -> Iterator[tuple[str, _State]]:
        for directory in self._directories:
            yield from _walk(directory)


def _walk(directory: os.PathLike[str] | str) -> Iterator[tuple[str, _State]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:  # removed since it was listed
        return
    for entry in entries:
        if entry.name.startswith((".", "#")) or entry.name.endswith(_PASSING) or entry.name == "__pycache__":
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                found = entry.stat()
                yield entry.path, (found.st_ino, found.st_size, found.st_mtime_ns)
        except OSError:
            continue
