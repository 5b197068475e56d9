# SPDX-License-Identifier: Apache-2.0
"""Arenas of an object: made and mapped before its programs are loaded, because those are told the address.

Kernel: 6.9.
Source: Linux kernel/bpf/arena.c; libbpf src/libbpf.c, `.addr_space.1`.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress

from . import system_calls
from .errors import MapError, describe

__all__ = ["Arena"]

_TYPE = 33  # BPF_MAP_TYPE_ARENA
# libbpf puts variables at the arena's end from this version on, at its beginning before.
_AT_THE_END = (1, 7)


class Arena:
    """One arena, mapped into this process.

    Attributes:
        fd: The map's file descriptor, -1 once libbpf has its own.
        memory: All of it.
        offset: Where in it the variables begin.
    """

    def __init__(self, name: str, pages: int, flags: int, variables: bytes, libbpf: tuple[int, int]) -> None:
        """Make an arena and fill in the variables.

        Args:
            pages: How large it is, in pages of memory.
            flags: BPF_F_… of the map.
            variables: The bytes that they have at first.
            libbpf: Version of the library that relocates the programs.
        Raises:
            MapError: The kernel has no arenas, or refused otherwise.
        """
        size = pages * mmap.PAGESIZE
        self.fd = system_calls.map_create(_TYPE, 0, 0, pages, flags, name.encode()[:15])
        if self.fd < 0:
            missing = self.fd == -errno.EINVAL
            raise MapError(
                f"create arena {name!r}: {describe(-self.fd)}{'; this kernel has no arenas, Linux 6.9 has' * missing}.",
                name=name,
                errno=-self.fd,
                feature="arenas" if missing else "",
                minimum_kernel="6.9" if missing else "",
            )
        try:
            self.memory = mmap.mmap(self.fd, size)
        except OSError as error:
            os.close(self.fd)
            number = error.errno or 0
            raise MapError(f"map arena {name!r}: {describe(number)}.", name=name, errno=number) from error
        whole = -(-len(variables) // mmap.PAGESIZE) * mmap.PAGESIZE
        self.offset = size - whole if libbpf >= _AT_THE_END else 0
        self.memory[self.offset : self.offset + len(variables)] = variables

    def close(self) -> None:
        """Free it; while somebody still looks at the memory, that stays until they have done."""
        self.close_file()
        with suppress(BufferError):
            self.memory.close()
        del self.memory  # where it could not be closed it goes with the last view

    def close_file(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
