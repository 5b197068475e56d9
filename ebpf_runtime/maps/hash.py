# SPDX-License-Identifier: Apache-2.0
"""Hash maps as Python mappings."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ebpf_runtime.errors import MapError, RecordError
from ebpf_runtime.handles import signals_held

from .base import NOT_SUPPORTED
from .keyed import KeyedMap
from .walk import Walk, address, batches

if TYPE_CHECKING:
    import numpy

    from .counter import Counter
    from .dump import Dump

__all__ = ["HashMap"]

K = TypeVar("K")
V = TypeVar("V")

# From how many entries on counting them by the kernel's own counter pays: below it one batch has them all.
_COUNTED = 4096
# Types whose entries the kernel counts.
_WITH_COUNTERS = ("HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH", "HASH_OF_MAPS")
# From which share of its entries on the fast dump pays: it looks at every bucket, also at empty ones.
_SPARSE = 16
FAST_BYTES = 256 << 20


class HashMap(KeyedMap[K, V], MutableMapping[K, V]):
    """A hash map, LRU or not, as a Python mapping.

    Reading all of it goes batch by batch. Each batch is of one moment; entries that come and go meanwhile are read or
    not, but none is read twice, and none is missed that stays.

    Kernel: hash 3.19, LRU hash 4.10.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._counted = self.type in _WITH_COUNTERS
        # What was taken out and is not yet yielded. An iterator of the interpreter's own moves on and yields in one
        # step, so no signal comes between, and others may share it.
        self._taken: list[Iterator[tuple[K, V]]] = []
        # Held while one of the next two is made or given up, always with signals held: a handler may count, too.
        self._making = allocate_lock()
        self._counter: Counter | None = None
        self._dump: Dump | None = None

    def delete(self, key: K) -> bool:
        """Delete *key*; return whether it was there.

        Source: bpf(2) BPF_MAP_DELETE_ELEM, libbpf bpf_map_delete_elem().
        """
        return self._delete(key)

    def __delitem__(self, key: K) -> None:
        if not self._delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        try:
            return self._look_up(self._lookup_elem, key) is not None
        except RecordError:
            return False

    def __iter__(self) -> Iterator[K]:
        """Yield each key once, also while entries come and go."""
        return self._all_keys()

    def items(self) -> ItemsView[K, V]:
        """Return a view of (key, value) pairs; each walk over it reads the map."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Return a view of the values; each walk over it reads the map."""
        return _Values(self)

    def drain(self) -> Iterator[tuple[K, V]]:
        """Take out every entry that is there now, and yield it as (key, value).

        Value and deletion are one step, so what programs add is either in the value or in a new entry; only a program
        that is just writing may be too late. A kernel that cannot do this for the map's type is asked for the value
        first and then told to delete it; what is added between the two is lost. Entries are taken out in batches: what
        an iterator that stops early, or is interrupted by a signal, has not yielded is yielded by the next.

        Raises:
            MapError: The kernel refused.
        Kernel: in batches 5.6, in one step 5.14.
        Source: bpf(2) BPF_MAP_LOOKUP_AND_DELETE_BATCH, libbpf bpf_map_lookup_and_delete_batch().
        """
        lists = self._item_lists(take=True)
        while True:
            for rest in tuple(self._taken):
                yield from rest
                with suppress(ValueError):  # another iterator came to its end first
                    self._taken.remove(rest)
            with signals_held():  # what is in the map no more must be in the list
                items = next(lists, None)
                if items is None:
                    return
                self._taken.append(iter(items))
            del items  # the iterator alone holds them, until its end

    def clear(self) -> None:
        """Delete every entry that is there now.

        Raises:
            MapError: The kernel refused.
        """
        self._taken.clear()
        for _ in batches(self, take=True):
            pass

    _MISSING = object()

    def pop(self, key: K, default: Any = _MISSING) -> Any:
        """Take *key* out and return its value, in one step where the kernel can; else *default*.

        Raises:
            KeyError: The key is absent, and no default is given.
            MapError: The kernel refused.
        Kernel: in one step 5.14.
        Source: bpf(2) BPF_MAP_LOOKUP_AND_DELETE_ELEM, libbpf bpf_map_lookup_and_delete_elem().
        """
        try:
            value = self._look_up(self._lib.bpf_map_lookup_and_delete_elem, key)
        except MapError as error:
            if error.errno not in NOT_SUPPORTED or self.fd < 0:
                raise
            value = self.lookup(key)
            if value is None or not self._delete(key):
                value = None
        if value is not None:
            return value
        if default is HashMap._MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Take an entry out and return it as (key, value).

        Raises:
            KeyError: The map is empty.
        """
        for key in self:
            value = self.pop(key, None)
            if value is not None:
                return key, value
        raise KeyError(f"map {self.name!r} is empty")

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Store all entries of a mapping or of (key, value) pairs, in batches where the kernel can.

        Raises:
            MapFullError: There is no room for another entry; those before it are stored.
            MapError: The kernel refused.
            RecordError: A key or value does not fit; entries of the batches before it are stored.
        Kernel: in batches 5.6.
        Source: bpf(2) BPF_MAP_UPDATE_BATCH, libbpf bpf_map_update_batch().
        """
        if isinstance(other, Mapping):
            other = other.items()
        elif hasattr(other, "keys"):
            other = ((key, other[key]) for key in other.keys())  # noqa: SIM118  (it is no mapping, as of dict.update)
        self._update_all(other)
        self._update_all(named.items())  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Count the entries: at once by the kernel's own counters where it has them, else batch by batch.

        Kernel: at once 6.6.
        Source: Linux kernel/bpf/map_iter.c, bpf_map_sum_elem_count().
        """
        counted = self._count() if self.max_entries > _COUNTED else None
        if counted is not None:
            return counted
        walk = Walk(self)
        count = room = 0
        while not walk.over:
            if room < walk.least:
                room = walk.least
                memory = [bytearray(room * size) for size in (self.key_size, self._value_bytes)]
                places = [address(part) for part in memory]
            count += walk.read(places[0], places[1], room)
        return count

    def _at_once(self) -> Counter | None:
        """Return the program that counts, or None where the kernel cannot."""
        if self._counter is None and self._counted:
            from .counter import Counter

            with signals_held(), self._making:
                if self._counter is None and self.fd >= 0:
                    try:
                        self._counter = Counter(self.fd)
                    except OSError:
                        self._counted = False
        return self._counter

    def _count(self) -> int | None:
        """Return how many entries the kernel has counted, or None where it does not."""
        counter = self._at_once()
        if counter is None:
            return None
        try:
            return min(counter.count(), self.max_entries)
        except OSError as error:
            raise self._fail("count the entries of", error.errno or 0) from error

    def _expected(self) -> int:
        return (self._count() or 0) if self.max_entries > _COUNTED else 0

    def to_numpy(
        self, *, fast: bool = False, max_bytes: int = FAST_BYTES
    ) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """Return all keys and all values as arrays of their own, structured where they are records (needs numpy).

        Args:
            fast: Let a program in the kernel walk and copy. It takes a third of the time, but looks at entries while
                programs change them, and holds room for `max_entries` entries in the kernel until the map is closed.
                It is left out where it would not pay (the map is nearly empty) or the kernel cannot.
            max_bytes: The most memory that *fast* may hold.
        Raises:
            MapError: The kernel refused.
        Kernel: fast 5.14.
        Source: bpf(2) BPF_MAP_LOOKUP_BATCH; bpf-helpers(7) bpf_for_each_map_elem().
        """
        from ebpf_runtime import arrays

        key, value = (self._key, self.key_size), (self._value, self.value_size)
        dump = self._fast_dump(max_bytes) if fast else None
        if dump is not None:
            try:
                records = dump.read()
            except OSError as error:
                raise self._fail("iterate over", error.errno or 0) from error
            return arrays.interleaved(records, key, value, dump.step)
        read = self._read_columns()
        return arrays.column(read.keys, *key), arrays.column(read.values, *value)

    def _fast_dump(self, max_bytes: int) -> Dump | None:
        from .dump import Dump, record_bytes

        if self.fd < 0 or self.max_entries * record_bytes(self.key_size, self.value_size) > max_bytes:
            return None
        counted = self._count()
        if counted is not None and counted * _SPARSE < self.max_entries:
            return None
        if self._dump is None:
            with signals_held(), self._making:
                if self._dump is None and self.fd >= 0:
                    with suppress(OSError):
                        self._dump = Dump(self.fd, self.key_size, self.value_size, self.max_entries)
        return self._dump

    def _close(self) -> None:
        super()._close()
        with signals_held(), self._making:
            parts, self._counter, self._dump = (self._counter, self._dump), None, None
        for part in parts:
            if part is not None:
                part.close()


class _Items(ItemsView[K, V]):
    _mapping: HashMap[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping._all_items()


class _Values(ValuesView[V]):
    _mapping: HashMap[Any, V]

    def __iter__(self) -> Iterator[V]:
        return self._mapping._all_values()
