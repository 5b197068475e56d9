# SPDX-License-Identifier: Apache-2.0
"""The number of entries of a hash map, by the kernel's own counters."""

from __future__ import annotations

from .assembled import Assembled, call_kernel, exit_, map_pointer

__all__ = ["Counter"]


class Counter:
    """A program that asks how many entries a map has; its time depends on the CPUs alone.

    Raises:
        OSError: The kernel cannot.
    Kernel: 6.6.
    Source: Linux kernel/bpf/map_iter.c, bpf_map_sum_elem_count().
    """

    def __init__(self, fd: int) -> None:
        self._program = Assembled("map_count", map_pointer(1, fd) + call_kernel("bpf_map_sum_elem_count") + exit_())
        self.close = self._program.close

    def count(self) -> int:
        """Return how many entries there are.

        The kernel adds up what each CPU put in less what it took out, one CPU after the other. While entries come and
        go the sum may be less than none.
        """
        count = self._program.run()
        return 0 if count >> 31 else count
