# SPDX-License-Identifier: Apache-2.0
"""Memory that programs and this process share, with pointers that both can follow."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import Any

from ebpf_runtime.errors import MapError, describe

from .base import Map

__all__ = ["ArenaMap"]


class ArenaMap(Map):
    """An arena. An object's own is mapped before its programs are loaded, any other here, on first use.

    Kernel: 6.9.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._mapping: mmap.mmap | None = None

    def take_memory(self, memory: mmap.mmap) -> None:
        """Take the mapping that was made before the programs were loaded."""
        self._mapping = memory

    @property
    def memory(self) -> mmap.mmap:
        """The whole arena, `max_entries` pages; a page that no program has allocated is made when it is touched.

        Raises:
            MapError: It is mapped elsewhere, or its address is fixed (map_extra); libbpf's own mapping has it then.
        """
        if self.fd < 0:
            raise self._fail("map", 0)
        if self._mapping is None:
            try:
                self._mapping = mmap.mmap(self.fd, self.max_entries * mmap.PAGESIZE)
            except OSError as error:
                number = error.errno or 0
                raise MapError(
                    f"map arena {self.name!r}: {describe(number)}. An arena has one address, "
                    "and is mapped there already; declare it without map_extra.",
                    name=self.name,
                    errno=number,
                ) from error
        return self._mapping

    @property
    def address(self) -> int:
        """Where `memory` begins: what a pointer of a program into the arena is counted from.

        Raises:
            MapError: As of `memory`.
        """
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def at(self, pointer: int) -> int:
        """Return where in `memory` a pointer of a program points to.

        Raises:
            MapError: It does not point into the arena.
        """
        offset = pointer - self.address
        if not 0 <= offset < len(self.memory):
            raise MapError(f"follow {pointer:#x} in arena {self.name!r}: it is outside.", name=self.name)
        return offset

    def _close(self) -> None:
        if self._mapping is not None:
            with suppress(BufferError):  # somebody still looks at it; the mapping goes with the last view
                self._mapping.close()
            self._mapping = None
        super()._close()
