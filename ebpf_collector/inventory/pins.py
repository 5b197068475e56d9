# SPDX-License-Identifier: Apache-2.0
"""Maps and programs that files of bpffs hold, though perhaps no process does."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ebpf_collector.inventory import UnreadPins
from ebpf_collector.mounts import mounts
from ebpf_runtime import EbpfError, pinned_object

if TYPE_CHECKING:
    from ebpf_runtime import PinnedObject

__all__ = ["Pins", "find_pins"]

_MOST = 10_000  # files and directories that one reading looks at


@dataclass
class Pins:
    """What was found."""

    paths: defaultdict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Files by ("map" or "program", id)."""
    unread: list[UnreadPins] = field(default_factory=list)


def find_pins(mountinfo: str, look: Callable[[str], PinnedObject | None] = pinned_object, most: int = _MOST) -> Pins:
    """Walk every bpffs that is mounted here, without following symbolic links.

    A link holds its program, so its file counts as one of the program.

    Args:
        mountinfo: Contents of /proc/self/mountinfo.
        look: Tells what a file holds.
        most: Files and directories to look at before giving up.
    """
    found = Pins()
    left = most
    roots = {(mount.device, mount.root): mount.point for mount in mounts(mountinfo) if mount.kind == "bpf"}
    for point in roots.values():
        for path in _files(point, found):
            if left == 0:
                found.unread.append(UnreadPins(path, "too_many"))
                return found
            left -= 1
            try:
                held = look(path) if stat.S_ISREG(os.lstat(path).st_mode) else None
            except (OSError, EbpfError) as error:
                _refused(found, path, error)
                continue
            if held is not None:
                key = ("map", held.id) if held.kind == "map" else ("program", held.program_id)
                found.paths[key].append(path)
    return found


def _files(directory: Path, found: Pins) -> Iterator[str]:
    """Yield everything below a directory, each directory before what is in it."""
    pending = [str(directory)]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            _refused(found, current, error)
            continue
        for entry in ordered:
            yield entry.path
        pending += [entry.path for entry in reversed(ordered) if entry.is_dir(follow_symlinks=False)]


def _refused(found: Pins, path: str, error: OSError | EbpfError) -> None:
    number = error.errno or 0
    if number != errno.ENOENT:  # gone in the meantime
        found.unread.append(UnreadPins(path, errno.errorcode.get(number, str(number))))
