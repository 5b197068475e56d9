# SPDX-License-Identifier: Apache-2.0
"""Sources: the memory that a stream's records arrive in, one for a ring buffer, one on each CPU for a perf buffer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from .runs import Layout

__all__ = ["ALL", "Join", "Source"]

ALL = sys.maxsize  # bytes: no limit

# Makes one owned block of the pieces of a run.
Join = Callable[[Sequence[memoryview]], Any]


class Source:
    """The consumer's side of one buffer.

    Attributes:
        position: Everything before it was taken, also where it is not given back to the kernel yet.
        lost: Records so far that the kernel says it had no room for.
    """

    position = 0
    lost = 0

    def copy(self, join: Join, most: int) -> tuple[Any, Layout, int]:
        """Return committed records that wait as one block, what is in it, and the position behind it.

        The records that begin in the first *most* bytes are in it; of a perf buffer all, where only libbpf can order
        memory.
        """
        raise NotImplementedError  # each kind of memory has its own

    def written(self) -> int:
        """Return the position up to which producers have written, or begun to, as far as that can be known."""
        raise NotImplementedError  # each kind of memory has its own

    def release(self) -> None:
        """Give everything before `position` back to the producers; may be called again."""
        raise NotImplementedError  # each kind of memory has its own

    def close(self) -> None:
        raise NotImplementedError  # each kind of memory has its own
