# SPDX-License-Identifier: Apache-2.0
"""Maps as typed Python mappings and sequences."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .cpus import possible_cpus
from .errors import MapError, MapFullError, RecordError, describe
from .kernel_objects import object_id
from .libbpf import library
from .pinning import KernelMap

if TYPE_CHECKING:
    from .records import Field

__all__ = ["ArrayMap", "HashMap", "Map", "PerCpuArrayMap", "PerCpuHashMap"]

K = TypeVar("K")
V = TypeVar("V")

_BPF_ANY = 0
_BPF_NOEXIST = 1
_BPF_EXIST = 2
# What kernels answer that cannot look up and delete in one step; the first is the kernel's own ENOTSUPP.
_NOT_SUPPORTED = (524, errno.EOPNOTSUPP, errno.EINVAL)


class Map(KernelMap):
    """A loaded map of any type.

    Attributes:
        name: Its name in the object.
        type: Enumerator of bpf_map_type without its prefix.
        fd: Its file descriptor; -1 once closed.
        max_entries: As the kernel has it; bytes for a ring buffer.
        key_size: Bytes of a key.
        value_size: Bytes of a value, on one CPU.
    """

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        self.name = name
        self.type = kind
        self.fd = fd
        self.key_size, self.value_size, self.max_entries = sizes
        self._key = key
        self._value = value
        self._lib = library()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.type} fd={self.fd}>"

    @property
    def id(self) -> int:
        """The kernel's id of the map.

        Kernel: 4.13.
        """
        return object_id(self.fd)

    def _close(self) -> None:
        self.fd = -1

    def _fail(self, action: str, number: int) -> MapError:
        """Return the error for one failed operation."""
        if self.fd < 0:
            return MapError(f"{action} map {self.name!r}: the probe is closed.", name=self.name, errno=number)
        if number in (errno.E2BIG, errno.ENOSPC, errno.ENOMEM):
            # The kernel's E2BIG is not about arguments, as its usual text has it.
            reason = "E2BIG, it is full" if number == errno.E2BIG else describe(number)
            return MapFullError(
                f"{action} map {self.name!r}: {reason}; it holds at most {self.max_entries} entries. "
                "Delete some, or make it larger before load.",
                name=self.name,
                errno=number,
            )
        return MapError(f"{action} map {self.name!r}: {describe(number)}.", name=self.name, errno=number)


class _Keyed(Map, Generic[K, V]):
    """What hashes and arrays share: lookup, update, delete by key."""

    def _encode(self, field: Field | None, size: int, value: object) -> ctypes.Array[ctypes.c_char]:
        buffer = ctypes.create_string_buffer(size)
        if field is not None:
            field.pack(buffer, 0, value)
        elif isinstance(value, bytes) and len(value) == size:
            buffer.raw = value
        else:
            raise RecordError(f"use map {self.name!r}: {value!r} is not the {size} bytes of a key.", name=self.name)
        return buffer

    def _encode_key(self, key: object) -> ctypes.Array[ctypes.c_char]:
        return self._encode(self._key, self.key_size, key)

    def _value_bytes(self) -> int:
        return self.value_size

    def _decode(self, data: bytes) -> V:
        return self._value.unpack(data, 0) if self._value is not None else data  # type: ignore[return-value]

    def _encode_value(self, value: object) -> ctypes.Array[ctypes.c_char]:
        return self._encode(self._value, self.value_size, value)

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
        return self._take("look up in", self._lib.bpf_map_lookup_elem, key)

    def _take(self, action: str, function: Any, key: K) -> V | None:
        """Look up by one of the two functions that do."""
        buffer = ctypes.create_string_buffer(self._value_bytes())
        result: int = function(self.fd, self._encode_key(key), buffer)
        if result == -errno.ENOENT:
            return None
        if result:
            raise self._fail(action, -result)
        return self._decode(buffer.raw)

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
        flags = _BPF_ANY if exist is None else _BPF_EXIST if exist else _BPF_NOEXIST
        encoded = self._encode_value(value)
        result: int = self._lib.bpf_map_update_elem(self.fd, self._encode_key(key), encoded, flags)
        if result:
            raise self._fail("update", -result)

    def __getitem__(self, key: K) -> V:
        value = self.lookup(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self.update_elem(key, value)


class HashMap(_Keyed[K, V], MutableMapping[K, V]):
    """A hash map, LRU or not, as a Python mapping.

    Kernel: hash 3.19, LRU hash 4.10.
    """

    def delete(self, key: K) -> bool:
        """Delete *key*; return whether it was there.

        Source: bpf(2) BPF_MAP_DELETE_ELEM, libbpf bpf_map_delete_elem().
        """
        result: int = self._lib.bpf_map_delete_elem(self.fd, self._encode_key(key))
        if result and result != -errno.ENOENT:
            raise self._fail("delete from", -result)
        return result == 0

    def drain(self) -> Iterator[tuple[K, V]]:
        """Take out every entry that is there now, and yield it as (key, value).

        Value and deletion are one step, so what programs add is either in the value or in a new entry; only a program
        that is just writing may be too late. A kernel that cannot do this for the map's type is asked for the value
        first and then told to delete it; what is added between the two is lost.

        Raises:
            MapError: The kernel refused.
        Kernel: as a whole 5.14.
        Source: bpf(2) BPF_MAP_LOOKUP_AND_DELETE_ELEM, libbpf bpf_map_lookup_and_delete_elem().
        """
        whole = True
        for key in list(self):
            value = None
            if whole:
                try:
                    value = self._take("take out of", self._lib.bpf_map_lookup_and_delete_elem, key)
                except MapError as error:
                    if error.errno not in _NOT_SUPPORTED or self.fd < 0:
                        raise
                    whole = False
            if not whole:
                value = self.lookup(key)
                self.delete(key)
            if value is not None:
                yield key, value

    def __delitem__(self, key: K) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        try:
            return self.lookup(key) is not None  # type: ignore[arg-type]
        except RecordError:
            return False

    def _next(self, previous: bytes | None) -> bytes | None:
        """Return the key behind *previous*, as bytes."""
        buffer = ctypes.create_string_buffer(self.key_size)
        result: int = self._lib.bpf_map_get_next_key(self.fd, previous, buffer)
        if result == -errno.ENOENT:
            return None
        if result:
            raise self._fail("iterate over", -result)
        return buffer.raw

    def __iter__(self) -> Iterator[K]:
        """Yield each key once, also while entries come and go.

        When the entry that the walk stands on is deleted, the kernel starts over at the first key; keys already
        yielded are passed over, and a walk that finds nothing new is over.

        Source: bpf(2) BPF_MAP_GET_NEXT_KEY, libbpf bpf_map_get_next_key().
        """
        seen: set[bytes] = set()
        stale = 0
        key = self._next(None)
        while key is not None and stale <= self.max_entries:
            if key in seen:
                stale += 1
            else:
                stale = 0
                seen.add(key)
                yield self._key.unpack(key, 0) if self._key is not None else key  # type: ignore[misc]
            key = self._next(key)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def items(self) -> ItemsView[K, V]:
        """Return a view of (key, value) pairs; entries that vanish while it is walked are left out."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Return a view of the values; entries that vanish while it is walked are left out."""
        return _Values(self)

    def clear(self) -> None:
        """Delete every entry that is there now."""
        for key in list(self):
            self.delete(key)

    def popitem(self) -> tuple[K, V]:
        """Delete an entry and return it as (key, value).

        Raises:
            KeyError: The map is empty.
        """
        for key in self:
            value = self.lookup(key)
            if self.delete(key) and value is not None:
                return key, value
        raise KeyError(f"map {self.name!r} is empty")


class _Items(ItemsView[K, V]):
    _mapping: HashMap[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for key in self._mapping:
            value = self._mapping.lookup(key)
            if value is not None:
                yield key, value


class _Values(ValuesView[V]):
    _mapping: HashMap[Any, V]

    def __iter__(self) -> Iterator[V]:
        for _, value in self._mapping.items():
            yield value


class ArrayMap(_Keyed[int, V]):
    """An array map: `m[i]`, `len(m)`, iteration over the values.

    Kernel: 3.19.
    """

    def _encode_key(self, key: object) -> ctypes.Array[ctypes.c_char]:
        if not isinstance(key, int) or not 0 <= key < self.max_entries:
            raise IndexError(f"map {self.name!r} has entries 0 to {self.max_entries - 1}, not {key!r}")
        return self._encode(None, 4, key.to_bytes(4, "little"))

    def __len__(self) -> int:
        return self.max_entries

    def __iter__(self) -> Iterator[V]:
        for index in range(self.max_entries):
            yield self[index]


class _PerCpu(_Keyed[K, V]):
    """Values of all possible CPUs as a tuple, CPU 0 first; the kernel keeps them 8 bytes apart or multiples."""

    def _stride(self) -> int:
        return (self.value_size + 7) // 8 * 8

    def _value_bytes(self) -> int:
        return self._stride() * possible_cpus()

    def _decode(self, data: bytes) -> V:
        step = self._stride()
        return tuple(  # type: ignore[return-value]
            super(_PerCpu, self)._decode(data[start : start + self.value_size]) for start in range(0, len(data), step)
        )

    def _encode_value(self, value: object) -> ctypes.Array[ctypes.c_char]:
        values = list(value) if isinstance(value, tuple | list) else []
        if len(values) != possible_cpus():
            raise RecordError(
                f"update map {self.name!r}: {value!r} has not one value for each of {possible_cpus()} possible CPUs.",
                name=self.name,
            )
        parts = [self._encode(self._value, self.value_size, item).raw.ljust(self._stride(), b"\0") for item in values]
        return ctypes.create_string_buffer(b"".join(parts), self._value_bytes())


class PerCpuHashMap(_PerCpu[K, tuple[V, ...]], HashMap[K, tuple[V, ...]]):
    """A per-CPU hash map; each value is a tuple, one item per possible CPU.

    Kernel: per-CPU hash 4.6, LRU 4.10.
    """


class PerCpuArrayMap(_PerCpu[int, tuple[V, ...]], ArrayMap[tuple[V, ...]]):
    """A per-CPU array; each value is a tuple, one item per possible CPU.

    Kernel: 4.6.
    """
