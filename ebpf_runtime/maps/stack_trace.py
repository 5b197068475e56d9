# SPDX-License-Identifier: Apache-2.0
"""Stacks that programs have taken, by the number that bpf_get_stackid() returned."""

from __future__ import annotations

import ctypes
import errno
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ebpf_runtime.errors import MapError

from .base import index_of, integer
from .by_key import Walked
from .keyed import KeyedMap
from .walk import walk_keys

__all__ = ["KernelSymbols", "StackTraceMap"]

_STACK_BUILD_ID = 1 << 5
_FRAME = struct.Struct("<i20sQ")  # struct bpf_stack_build_id
_VALID = 1


class StackTraceMap(Walked[int, tuple[int, ...]]):
    """Stacks as tuples of addresses, the innermost first; with the flag BPF_F_STACK_BUILD_ID see `build_ids`.

    Kernel: 4.6.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        name, kind, fd, sizes, _, _ = arguments
        self._entries: KeyedMap[int, bytes] = KeyedMap(name, kind, fd, sizes, None, None)  # to walk it
        self._buckets = 1 << (self.max_entries - 1).bit_length()  # the kernel rounds up
        self._has_build_ids = bool(self.flags & _STACK_BUILD_ID)

    def lookup(self, stack_id: int) -> tuple[int, ...] | None:
        """Return the addresses of a stack, or None if there is none of this number.

        Raises:
            MapError: The kernel refused, or the map holds build ids.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        if self._has_build_ids:
            raise MapError(f"look up in map {self.name!r}: it holds build ids. Use build_ids().", name=self.name)
        block = self._read(stack_id)
        if block is None:
            return None
        frames = memoryview(block).cast("Q").tolist()
        while frames and not frames[-1]:
            frames.pop()
        return tuple(frames)

    def build_ids(self, stack_id: int) -> tuple[tuple[bytes, int], ...]:
        """Return (build id, offset in the file) of each frame; without a build id the offset is the address.

        Raises:
            KeyError: There is no stack of this number.
        Kernel: 4.17.
        """
        block = self._read(stack_id)
        if block is None:
            raise KeyError(stack_id)
        return tuple(
            (build_id if status == _VALID else b"", offset)
            for status, build_id, offset in _FRAME.iter_unpack(block)
            if status
        )

    def pop(self, stack_id: int, default: Any = None) -> Any:
        """Return the addresses of a stack and remove it; *default* if there is none of this number."""
        return super().pop(stack_id, default)

    def delete(self, stack_id: int) -> bool:
        """Remove a stack; return whether there was one.

        Raises:
            IndexError: The map has no entry of this number, or it is an error of bpf_get_stackid().
            MapError: The kernel refused.
        Source: bpf(2) BPF_MAP_DELETE_ELEM, libbpf bpf_map_delete_elem().
        """
        result: int = self._lib.bpf_map_delete_elem(
            self.fd, index_of(self, stack_id, self._buckets).to_bytes(4, "little")
        )
        if result and result != -errno.ENOENT:
            raise self._fail("delete from", -result)
        return not result

    def __iter__(self) -> Iterator[int]:
        """Yield the number of each stack once, also while stacks are removed."""
        return (int.from_bytes(key, "little") for key in walk_keys(self._entries))

    def __contains__(self, stack_id: object) -> bool:
        try:
            return self._read(stack_id) is not None
        except IndexError:  # no integer
            return False

    def symbols(self, stack_id: int) -> tuple[str, ...]:
        """Return the frames of a kernel stack as `function+0x1c`, addresses where no function is known.

        Raises:
            KeyError: There is no stack of this number.
        Source: /proc/kallsyms; it shows addresses with CAP_SYSLOG only, unless kernel.kptr_restrict is 0.
        """
        names = KernelSymbols.shared()
        return tuple(map(names.name, self[stack_id]))

    def _read(self, stack_id: object) -> bytes | None:
        number = integer(self, stack_id, self._buckets)
        if not 0 <= number < self._buckets:
            return None  # below 0: an error of bpf_get_stackid()
        buffer = ctypes.create_string_buffer(self.value_size)
        result: int = self._lib.bpf_map_lookup_elem(self.fd, number.to_bytes(4, "little"), buffer)
        if result == -errno.ENOENT:
            return None
        if result:
            raise self._fail("look up in", -result)
        return buffer.raw

    def _close(self) -> None:
        self._entries._close()
        super()._close()


class KernelSymbols:
    """Functions of the kernel by address, read once."""

    _shared: KernelSymbols | None = None

    def __init__(self, text: str) -> None:
        found = []
        for line in text.splitlines():
            address, kind, name = line.split()[:3]
            if kind in "tTwW" and int(address, 16):
                found.append((int(address, 16), name))
        found.sort()
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    @classmethod
    def shared(cls) -> KernelSymbols:
        if cls._shared is None:
            cls._shared = cls(Path("/proc/kallsyms").read_text())
        return cls._shared

    def name(self, address: int) -> str:
        """Return `function+0x1c`, or the address in hex."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return f"{address:#x}"
        return f"{self._names[index]}+{address - self._addresses[index]:#x}"
