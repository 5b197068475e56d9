# SPDX-License-Identifier: Apache-2.0
"""Arrays, also those that are mapped into this process."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ebpf_runtime.errors import MapError, describe

from .base import index_of, integer
from .keyed import KeyedMap, typed
from .walk import allocate

if TYPE_CHECKING:
    import numpy

__all__ = ["ArrayMap"]

V = TypeVar("V")

_MMAPABLE = 1 << 10


class ArrayMap(KeyedMap[int, V]):
    """An array map: `m[i]`, `len(m)`, iteration over the values.

    Where the map has the flag BPF_F_MMAPABLE it is memory of this process, and reading and writing it makes no system
    call. A map that is frozen, or has the flag BPF_F_RDONLY_PROG, is mapped for reading and written by system call; one
    with BPF_F_RDONLY or BPF_F_WRONLY is not mapped.

    Kernel: 3.19, mapped 5.5.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pack_key = self._pack_index
        self._step = -(-self.value_size // 8) * 8
        self._writable = False
        self._memory: mmap.mmap | None = self._map() if self._mappable() else None

    def _mappable(self) -> bool:
        return bool(self.flags & _MMAPABLE)

    def _map(self) -> mmap.mmap | None:
        """Map it, for reading alone where the kernel forbids writing; None where its flags forbid that, too."""
        length = -(-self._step * self.max_entries // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            memory = mmap.mmap(self.fd, length)
        except PermissionError:
            with suppress(OSError):
                return mmap.mmap(self.fd, length, prot=mmap.PROT_READ)
            return None
        except OSError as error:
            number = error.errno or 0
            raise MapError(
                f"map array {self.name!r} into memory: {describe(number)}.", name=self.name, errno=number
            ) from error
        self._writable = True
        return memory

    def _index(self, key: object) -> int:
        if isinstance(key, int) and 0 <= key < self.max_entries:  # no further call: all reading goes this way
            return key
        return index_of(self, key, self.max_entries)

    def _pack_index(self, buffer: Any, offset: int, key: object) -> None:
        buffer[offset : offset + 4] = self._index(key).to_bytes(4, "little")

    def lookup(self, key: int) -> V | None:
        return super().lookup(key) if self._memory is None else self[key]

    def update_elem(self, key: int, value: V, *, exist: bool | None = None) -> None:
        memory = self._memory
        if memory is None or not self._writable or exist is False:
            super().update_elem(key, value, exist=exist)
        else:
            start, aside = self._index(key) * self._step, bytearray(self.value_size)
            self._pack_value(aside, 0, value)
            memory[start : start + self.value_size] = aside  # in one piece, or not at all

    def __getitem__(self, key: int) -> V:
        memory: Any = self._memory  # asked for once: another thread may close the probe
        if memory is None:
            return super().__getitem__(key)
        value: V = self._unpack_value(memory, self._index(key) * self._step)
        return value

    def get(self, key: int, default: Any = None) -> V | Any:
        """Return the value at *key*, or *default* where the array has no such entry.

        Raises:
            IndexError: *key* is no integer.
        """
        index = key if isinstance(key, int) else integer(self, key, self.max_entries)
        return self[index] if 0 <= index < self.max_entries else default

    def __len__(self) -> int:
        return self.max_entries

    def __iter__(self) -> Iterator[V]:
        """Yield the values in order, read batch by batch."""
        return self.values()

    def values(self) -> Iterator[V]:
        """Yield the values in order, read batch by batch."""
        return self._all_values()

    def items(self) -> Iterator[tuple[int, V]]:
        """Yield (index, value) in order."""
        return enumerate(self.values())

    def update(self, values: Any) -> None:
        """Store the values of a mapping or of (index, value) pairs, in batches where the kernel can."""
        self._update_all(values.items() if hasattr(values, "items") else values)

    def columns(self) -> tuple[memoryview, memoryview]:
        memory = self._memory
        if memory is None:
            return super().columns()
        indices = memoryview(b"".join(index.to_bytes(4, "little") for index in range(self.max_entries)))
        return indices.cast("I"), typed(self._copied(memory), self._value)

    def _copied(self, mapping: mmap.mmap) -> memoryview:
        """Return a packed copy of the mapped values."""
        size, step, length = self.value_size, self._step, self._step * self.max_entries
        copy = memoryview(allocate(size * self.max_entries))[: size * self.max_entries]
        with memoryview(mapping) as memory, memory[:length] as source:
            if size == step:
                copy[:] = source
            else:
                for byte in range(size):
                    copy[byte::size] = source[byte::step]
        return copy

    def to_numpy(self) -> numpy.ndarray[Any, Any]:
        """Return a copy of all values as one array, structured where they are records (needs numpy).

        Raises:
            MapError: The kernel refused.
        """
        from ebpf_runtime.arrays import column

        return column(self.columns()[1].cast("B"), self._value, self.value_size)

    @contextmanager
    def borrow(self) -> Iterator[numpy.ndarray[Any, Any]]:
        """Lend the map's own memory as an array, which programs read and write meanwhile (needs numpy).

        The array is invalid after the block, and read-only where the map may not be mapped for writing.

        Raises:
            MapError: The map is not mapped, for want of the flag BPF_F_MMAPABLE, or as other flags forbid it.
        """
        from ebpf_runtime.arrays import cells

        mapping = self._memory
        if self.fd < 0:
            raise self._fail("borrow", 0)
        if mapping is None:
            reason = ", as its flags forbid it." if self._mappable() else ". Give it the flag BPF_F_MMAPABLE."
            raise MapError(f"borrow map {self.name!r}: it is not mapped{reason}", name=self.name)
        with memoryview(mapping) as memory, memory[: self._step * self.max_entries] as values:
            yield cells(values, self._value, self.value_size, self._step, 1)[:, 0]

    def _close(self) -> None:
        super()._close()
        self._memory = None  # the mapping goes with the last who reads it or has borrowed it
