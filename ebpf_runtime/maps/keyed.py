# SPDX-License-Identifier: Apache-2.0
"""What maps with keys share: one entry by its key, and all entries at once."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ebpf_runtime.libbpf import undeclared

from .base import NOT_SUPPORTED, Map, exact
from .decoding import decoder, gc_paused, number_code
from .walk import Columns, address, batches

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["KeyedMap", "typed"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_ANY, _NOEXIST, _EXIST = 0, 1, 2
_CHUNK = 4096

# Key, what hands it to libbpf, value, what hands it to libbpf, and the value as a number if it is one.
_Cell = tuple["ctypes.Array[ctypes.c_char]", Any, "ctypes.Array[ctypes.c_char]", Any, Any]
_NUMBERS: dict[str, Any] = {
    "B": ctypes.c_uint8, "H": ctypes.c_uint16, "I": ctypes.c_uint32, "Q": ctypes.c_uint64, "b": ctypes.c_int8,
    "h": ctypes.c_int16, "i": ctypes.c_int32, "q": ctypes.c_int64, "f": ctypes.c_float, "d": ctypes.c_double,
    "?": ctypes.c_bool,
}  # fmt: skip


class KeyedMap(Map, Generic[K, V]):
    """A map that is asked by key.

    Several threads may use it at once; libbpf is called without the interpreter's lock.
    """

    _has_batches: ClassVar[bool] = True

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        key = key.as_key() if key is not None else None
        super().__init__(name, kind, fd, sizes, key, value)
        # Each call takes a cell and gives it back: no two calls share one, not even where a signal interrupts one.
        self._cells: list[_Cell] = []
        self._pack_key: Callable[[Any, int, Any], None] = key.pack if key is not None else self._pack_bytes
        if code := number_code(key):
            self._pack_key = struct.Struct("<" + code).pack_into  # half the time; the field explains what it refuses
        self._unpack_value: Callable[[bytes, int], Any] = value.unpack if value is not None else self._unpack_bytes
        self._value_bytes = self._all_value_bytes()
        self._number = _NUMBERS.get(number_code(value)) if self._value_bytes == self.value_size else None
        self._lookup_elem = undeclared("bpf_map_lookup_elem")

    def _all_value_bytes(self) -> int:
        """Return the bytes that the kernel gives and takes for a value: that of one CPU, or of all."""
        return self.value_size

    def _pack_bytes(self, buffer: Any, offset: int, key: object) -> None:
        buffer[offset : offset + self.key_size] = exact(self, key, self.key_size, "key")

    def _unpack_bytes(self, block: bytes, base: int) -> Any:
        return block[base : base + self.value_size]

    def _pack_value(self, buffer: Any, offset: int, value: object) -> None:
        if self._value is not None:
            self._value.pack(buffer, offset, value)
        else:
            buffer[offset : offset + self.value_size] = exact(self, value, self.value_size, "value")

    def _new_cell(self) -> _Cell:
        key = ctypes.create_string_buffer(max(self.key_size, 1))
        value = ctypes.create_string_buffer(max(self._value_bytes, 1))
        number = self._number.from_buffer(value) if self._number else None
        return key, ctypes.byref(key), value, ctypes.byref(value), number

    def _cell(self, key: object) -> _Cell:
        """Take a cell with the key in it."""
        try:
            cell = self._cells.pop()
        except IndexError:
            cell = self._new_cell()
        self._put_key(cell[0], 0, key)
        return cell

    def _put_key(self, buffer: Any, offset: int, key: object) -> None:
        try:
            self._pack_key(buffer, offset, key)
        except (struct.error, TypeError, OverflowError):
            assert self._key is not None
            self._key.pack(buffer, offset, key)  # raises what names field and kind

    def lookup(self, key: K) -> V | None:
        """Return the value stored under *key*, or None if the key is absent.

        Returns:
            One value; for per-CPU maps a tuple, one value per possible CPU, CPU 0 first.
        Raises:
            MapError: The kernel refused for another reason than ENOENT.
            RecordError: The key does not fit the map's key type.
        Kernel: hash and array 3.19, per-CPU hash and array 4.6.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        return self._look_up(self._lookup_elem, key)

    def _look_up(self, function: Any, key: object) -> V | None:
        cell = self._cell(key)
        # Lifetime: the cell is ours until it is appended.
        result: int = function(self.fd, cell[1], cell[3])
        value: V | None = None
        if not result:
            value = cell[4].value if cell[4] is not None else self._unpack_value(cell[2].raw, 0)
        self._cells.append(cell)
        if result and result != -errno.ENOENT:
            raise self._fail("look up in", -result)
        return value

    def update_elem(self, key: K, value: V, *, exist: bool | None = None) -> None:
        """Store *value* under *key*.

        Args:
            key: One key.
            value: One value; for per-CPU maps a sequence with one value per possible CPU.
            exist: True: the key must be there; False: it must not; None: either.
        Raises:
            MapFullError: There is no room for another entry.
            MapError: The kernel refused; errno EEXIST or ENOENT where *exist* forbids it.
            RecordError: Key or value do not fit the map's types.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        cell = self._cell(key)
        self._pack_value(cell[2], 0, value)
        flags = _ANY if exist is None else _EXIST if exist else _NOEXIST
        result: int = self._lib.bpf_map_update_elem(self.fd, cell[1], cell[3], flags)
        self._cells.append(cell)
        if result:
            raise self._fail("update", -result)

    def _delete(self, key: object) -> bool:
        cell = self._cell(key)
        result: int = self._lib.bpf_map_delete_elem(self.fd, cell[1])
        self._cells.append(cell)
        if result and result != -errno.ENOENT:
            raise self._fail("delete from", -result)
        return result == 0

    def __getitem__(self, key: K) -> V:
        # As _look_up, in one piece: this is the path of programs that ask for single entries.
        cells = self._cells
        try:
            cell = cells.pop()
        except IndexError:
            cell = self._new_cell()
        key_buffer, key_pointer, value_buffer, value_pointer, number = cell
        try:
            self._pack_key(key_buffer, 0, key)
        except (struct.error, TypeError, OverflowError):
            self._put_key(key_buffer, 0, key)
        result: int = self._lookup_elem(self.fd, key_pointer, value_pointer)
        if not result:
            value: V = number.value if number is not None else self._unpack_value(value_buffer.raw, 0)
            cells.append(cell)
            return value
        cells.append(cell)
        if result == -errno.ENOENT:
            raise KeyError(key)
        raise self._fail("look up in", -result)

    def __setitem__(self, key: K, value: V) -> None:
        self.update_elem(key, value)

    def _update_all(self, pairs: Iterable[tuple[K, V]]) -> None:
        """Store many entries, thousands a system call where the kernel can."""
        chunk: list[tuple[K, V]] = []
        for pair in pairs:
            chunk.append(pair)
            if len(chunk) == _CHUNK:
                self._update_chunk(chunk)
                chunk = []
        if chunk:
            self._update_chunk(chunk)

    def _update_chunk(self, chunk: list[tuple[K, V]]) -> None:
        keys, values = bytearray(len(chunk) * self.key_size), bytearray(len(chunk) * self._value_bytes)
        for index, (key, value) in enumerate(chunk):
            self._put_key(keys, index * self.key_size, key)
            self._pack_value(values, index * self._value_bytes, value)
        if self._has_batches:
            count = ctypes.c_uint32(len(chunk))
            result: int = self._lib.bpf_map_update_batch(
                self.fd, address(keys), address(values), ctypes.byref(count), None
            )
            if not result:
                return
            if -result not in NOT_SUPPORTED or self.fd < 0:
                raise self._fail("update", -result)
        for key, value in chunk:
            self.update_elem(key, value)

    def _all_keys(self) -> Iterator[K]:
        decode, _ = self._decoders()
        return chain.from_iterable(self._lists(lambda keys, _, count: decode(keys, count)))

    def _all_values(self) -> Iterator[V]:
        _, decode = self._decoders()
        return chain.from_iterable(self._lists(lambda _, values, count: decode(values, count)))

    def _all_items(self) -> Iterator[tuple[K, V]]:
        return chain.from_iterable(self._item_lists())

    def _item_lists(self, take: bool = False) -> Iterator[list[tuple[K, V]]]:
        key, value = self._decoders()
        return self._lists(
            lambda keys, values, count: list(zip(key(keys, count), value(values, count), strict=True)), take
        )

    def _lists(self, make: Callable[[bytes, bytes, int], list[T]], take: bool = False) -> Iterator[list[T]]:
        """Yield what *make* makes of the keys and values of each batch."""
        for keys, values, count in batches(self, take):
            with gc_paused():
                made = make(keys, values, count)
            yield made

    def _decoders(self) -> tuple[Callable[[bytes, int], list[K]], Callable[[bytes, int], list[V]]]:
        return (
            decoder(self._key, self.key_size, self.key_size),
            decoder(self._value, self.value_size, self._value_bytes),
        )

    def _read_columns(self) -> Columns:
        return Columns(self, self._expected())

    def _expected(self) -> int:
        """Return about how many entries there are, if that is known at once; else 0."""
        return 0

    def columns(self) -> tuple[memoryview, memoryview]:
        """Return all keys and all values, each packed in a row, in memory of their own.

        Plain numbers come as a memoryview of numbers, all else as one of bytes, `key_size` and `value_size` each (for
        per-CPU maps the values of all possible CPUs, each on a multiple of 8 bytes).

        Raises:
            MapError: The kernel refused.
        Kernel: in batches hash and array 5.6, per-CPU array 5.13; entry by entry before.
        Source: bpf(2) BPF_MAP_LOOKUP_BATCH, libbpf bpf_map_lookup_batch().
        """
        read = self._read_columns()
        return typed(read.keys, self._key), typed(read.values, self._value)


def typed(column: memoryview, field: Field | None) -> memoryview:
    """Return bytes as numbers, if the field is a plain one."""
    code = number_code(field)
    return column.cast(code) if code else column
