# SPDX-License-Identifier: Apache-2.0
"""Structures of functions that a kernel subsystem calls."""

from __future__ import annotations

import ctypes
from typing import Literal

from .base import Map

__all__ = ["StructOpsMap"]

State = Literal["init", "in use", "to be freed", "ready"]
_STATES: tuple[State, ...] = ("init", "in use", "to be freed", "ready")


class StructOpsMap(Map):
    """A struct_ops map: programs as the functions of one of the kernel's structures.

    Kernel: 5.6; with links 6.4.
    """

    @property
    def state(self) -> State:
        """Whether the kernel uses it: init (not registered), in use, to be freed; ready waits for a link.

        Raises:
            MapError: The kernel refused.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM; Linux kernel/bpf/bpf_struct_ops.c.
        """
        return _STATES[self._word(4)]

    @property
    def references(self) -> int:
        """How many users the kernel counts."""
        return self._word(0)

    def _word(self, offset: int) -> int:
        buffer = ctypes.create_string_buffer(self.value_size)
        result: int = self._lib.bpf_map_lookup_elem(self.fd, bytes(4), buffer)
        if result:
            raise self._fail("look up in", -result)
        return int.from_bytes(buffer.raw[offset : offset + 4], "little")
