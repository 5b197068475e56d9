# SPDX-License-Identifier: Apache-2.0
"""Maps with a value for each possible CPU: all of them, or their sum, greatest or least."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from ebpf_runtime.cpus import possible_cpus
from ebpf_runtime.errors import RecordError

from .array import ArrayMap
from .decoding import decoder
from .hash import HashMap
from .keyed import KeyedMap
from .reduction import check, reducer

if TYPE_CHECKING:
    import numpy

__all__ = ["PerCpuArrayMap", "PerCpuHashMap"]

K = TypeVar("K")
V = TypeVar("V")

Reduction = Literal["sum", "max", "min"]


class _PerCpu(KeyedMap[K, tuple[V, ...]], Generic[K, V]):
    """Values of all possible CPUs as a tuple, CPU 0 first; the kernel keeps them 8 bytes apart or multiples."""

    def _all_value_bytes(self) -> int:
        self._cpus = possible_cpus()
        self._cell_bytes = -(-self.value_size // 8) * 8
        self._unpack_cell = self._unpack_value
        self._unpack_value = self._unpack_cells
        return self._cell_bytes * self._cpus

    def _unpack_cells(self, block: bytes, base: int) -> tuple[V, ...]:
        unpack, step = self._unpack_cell, self._cell_bytes
        return tuple([unpack(block, start) for start in range(base, base + self._value_bytes, step)])

    def _pack_value(self, buffer: Any, offset: int, value: object) -> None:
        values = list(value) if isinstance(value, tuple | list) else []
        if len(values) != self._cpus:
            raise RecordError(
                f"update map {self.name!r}: {value!r} has not one value for each of {self._cpus} possible CPUs.",
                name=self.name,
            )
        for cpu, item in enumerate(values):
            super()._pack_value(buffer, offset + cpu * self._cell_bytes, item)

    def _decoders(self) -> tuple[Callable[[bytes, int], list[K]], Callable[[bytes, int], list[tuple[V, ...]]]]:
        keys, _ = super()._decoders()
        cells = decoder(self._value, self.value_size, self._cell_bytes)
        cpus = self._cpus

        def decode(block: bytes, count: int) -> list[tuple[V, ...]]:
            return list(zip(*[iter(cells(block, count * cpus))] * cpus, strict=True))

        return keys, decode

    def _reduced(self, how: Reduction, key: K) -> V:
        value: V = reducer(self._value, how, self.name)(self[key])
        return value

    def sum(self, key: K) -> V:
        """Return the sum over all CPUs of the value under *key*; records are added member by member.

        Raises:
            KeyError: The key is absent.
            RecordError: The values are not numbers or have a union, or their sum does not fit a record's member.
        """
        return self._reduced("sum", key)

    def max(self, key: K) -> V:
        """Return the greatest over all CPUs of the value under *key*; of records, of each member.

        Raises:
            KeyError: The key is absent.
            RecordError: The values are not numbers, or have a union.
        """
        return self._reduced("max", key)

    def min(self, key: K) -> V:
        """Return the least over all CPUs of the value under *key*; of records, of each member.

        Raises:
            KeyError: The key is absent.
            RecordError: The values are not numbers, or have a union.
        """
        return self._reduced("min", key)

    def _items_reduced(self, how: Reduction) -> Iterator[tuple[K, V]]:
        reduce: Callable[[tuple[V, ...]], V] = reducer(self._value, how, self.name)
        for key, value in self._all_items():
            yield key, reduce(value)

    def _cells_array(self, data: memoryview, how: Reduction | None) -> numpy.ndarray[Any, Any]:
        from ebpf_runtime.arrays import cells, reduced

        values = cells(data, self._value, self.value_size, self._cell_bytes, self._cpus)
        if how is None:
            return values
        check(self._value, how, self.name)
        return reduced(values, how, self.name, self._value)


class PerCpuHashMap(_PerCpu[K, V], HashMap[K, tuple[V, ...]]):
    """A per-CPU hash map; each value is a tuple, one item per possible CPU.

    Kernel: per-CPU hash 4.6, LRU 4.10.
    """

    def reduced(self, how: Reduction) -> Iterator[tuple[K, V]]:
        """Yield (key, value) with the "sum", "max" or "min" over all CPUs.

        Raises:
            RecordError: The values are not numbers, or have a union.
            MapError: The kernel refused.
        """
        return self._items_reduced(how)

    def to_numpy(  # type: ignore[override]  # a program sees one CPU's values only, so there is no fast way
        self, *, reduce: Reduction | None = None
    ) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """Return all keys, and all values as an array of one row an entry and one column a CPU (needs numpy).

        Args:
            reduce: Return one value an entry instead: the "sum" (of 64 bits), "max" or "min" over all CPUs;
                bitfields as the numbers that they are.
        Raises:
            RecordError: What is to be reduced is no number or has a union, or a sum needs more than 64 bits.
            MapError: The kernel refused.
        """
        from ebpf_runtime import arrays

        read = self._read_columns()
        return arrays.column(read.keys, self._key, self.key_size), self._cells_array(read.values, reduce)


class PerCpuArrayMap(_PerCpu[int, V], ArrayMap[tuple[V, ...]]):
    """A per-CPU array; each value is a tuple, one item per possible CPU.

    Kernel: 4.6.
    """

    def _mappable(self) -> bool:
        return False

    def reduced(self, how: Reduction) -> Iterator[V]:
        """Yield the "sum", "max" or "min" over all CPUs of each value, in order.

        Raises:
            RecordError: The values are not numbers, or have a union.
            MapError: The kernel refused.
        """
        return (value for _, value in self._items_reduced(how))

    def to_numpy(self, *, reduce: Reduction | None = None) -> numpy.ndarray[Any, Any]:
        """Return all values as an array of one row an index and one column a CPU (needs numpy).

        Args:
            reduce: Return one value an index instead: the "sum" (of 64 bits), "max" or "min" over all CPUs;
                bitfields as the numbers that they are.
        Raises:
            RecordError: What is to be reduced is no number or has a union, or a sum needs more than 64 bits.
            MapError: The kernel refused.
        """
        return self._cells_array(self._read_columns().values, reduce)
