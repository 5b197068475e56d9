# SPDX-License-Identifier: Apache-2.0
"""What is mounted where, as /proc/self/mountinfo has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mount", "mounts"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount."""

    device: str
    """Major and minor number of the file system."""
    root: str
    """What of the file system is mounted, `/` for all of it."""
    point: Path
    kind: str
    """The file system's type."""
    options: tuple[str, ...]
    """Those of the file system, not of the mount."""


def mounts(mountinfo: str) -> Iterator[Mount]:
    """Yield the mounts in order.

    Source: proc_pid_mountinfo(5).
    """
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        device, root, point = before.split()[2:5]
        kind, _, options = after.split(" ", 2)
        yield Mount(device, _unescape(root), Path(_unescape(point)), kind, tuple(options.split(",")))


def _unescape(field: str) -> str:
    # Blanks and backslashes stand as three octal digits.
    return re.sub(r"\\([0-7]{3})", lambda digits: chr(int(digits[1], 8)), field)
