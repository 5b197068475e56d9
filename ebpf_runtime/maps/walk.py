# SPDX-License-Identifier: Apache-2.0
"""Reading all of a map, thousands of entries a system call, into memory of the caller's.

What the kernel cannot do for a map's type, or at all, is done with what it can: a batch at a time, else one entry at a
time by the key behind the last one; taking out in one step, else looking up and then deleting.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .base import NOT_SUPPORTED

if TYPE_CHECKING:
    from threading import Thread

    from .keyed import KeyedMap

__all__ = ["Columns", "Walk", "address", "allocate", "batches", "made_ready", "walk_keys"]

_BATCH = 4096
_REMEMBERED = 16  # keys behind which a walk can go on
_LARGE = 1 << 20  # bytes from which memory comes from the kernel, zeroed as it is touched, and in huge pages
_STEP = 1 << 22  # bytes that a second thread has the kernel zero at once
_WORTH = 4  # steps that are worth a thread
_MADV_POPULATE_WRITE = 23


def address(buffer: Any) -> int:
    """Return where a writable buffer begins; the caller keeps the buffer."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if len(buffer) else 0


def allocate(size: int) -> bytearray | mmap.mmap:
    """Return zeroed memory of at least one byte."""
    if size < _LARGE:
        return bytearray(max(size, 1))
    memory = mmap.mmap(-1, size)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@contextmanager
def made_ready(parts: Sequence[bytearray | mmap.mmap]) -> Iterator[Thread | None]:
    """Have another thread touch memory that is written to in the block from its beginning, all parts at the same pace.

    Zeroing takes a fifth of the time of reading a large map; this way the thread that reads is spared it. Gives the
    thread, which stops at the block's end; None where it would not pay.

    Kernel: 5.14; before, memory is touched as it is written to.
    Source: madvise(2) MADV_POPULATE_WRITE.
    """
    steps = sum(map(len, parts)) // _STEP
    if steps < _WORTH:
        yield None
        return
    from threading import Thread  # large maps alone need it

    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    mapped = [part for part in parts if isinstance(part, mmap.mmap)]  # the thread keeps them
    places = [(address(part), len(part)) for part in mapped]
    left = deque(range(steps))

    def touch() -> None:
        with suppress(IndexError):  # all is done, or the block is over
            while mapped:
                step = left.popleft()
                for place, size in places:
                    first, end = (_page(size * number // steps) for number in (step, step + 1))
                    if madvise(place + first, end - first, _MADV_POPULATE_WRITE):
                        return

    thread = Thread(target=touch, name="map-memory")
    try:
        with suppress(RuntimeError):  # no thread to be had
            thread.start()
        yield thread if thread.ident else None
    finally:
        left.clear()


def _page(position: int) -> int:
    """Return where the page of a position begins."""
    return position // mmap.PAGESIZE * mmap.PAGESIZE


class Walk:
    """One walk over a map.

    Attributes:
        least: How many entries the next call of `read` must have room for.
        over: Whether there is nothing left to read.
    """

    def __init__(self, entries: KeyedMap[Any, Any], take: bool = False) -> None:
        self.least = min(_BATCH, max(entries.max_entries, 1))
        self.over = False
        self._map = entries
        self._take = take
        library = entries._lib
        self._batch = library.bpf_map_lookup_and_delete_batch if take else library.bpf_map_lookup_batch
        self._in_one_step = take
        self._by_batch = entries._has_batches
        self._started = False
        # The kernel's place in the map; or the key that comes next, where entries are read one by one.
        self._token = ctypes.create_string_buffer(max(entries.key_size, 8))
        self._count = ctypes.c_uint32()
        self._seen: set[bytes] = set()
        self._recent: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._stale = 0

    def read(self, keys: int, values: int, room: int) -> int:
        """Read what comes next to two addresses; return how many entries, also none.

        Raises:
            MapError: The kernel refused.
        """
        if self._by_batch:
            count = self._read_batch(keys, values, room)
            if count is not None:
                return count
            self._by_batch = False
        return self._read_one_by_one(keys, values, room)

    def _read_batch(self, keys: int, values: int, room: int) -> int | None:
        """Read by one system call; None where the kernel cannot."""
        self._count.value = room
        previous = self._token if self._started else None
        result: int = self._batch(self._map.fd, previous, self._token, keys, values, ctypes.byref(self._count), None)
        if result == -errno.ENOSPC:  # one bucket of the hash holds more
            self.least = room * 2
            return 0
        if not self._started and -result in NOT_SUPPORTED and self._map.fd >= 0:
            return None
        if result and result != -errno.ENOENT:
            raise self._map._fail(self._action(), -result)
        self._started = True
        self.over = bool(result)
        return self._count.value

    def _action(self) -> str:
        return "take out of" if self._take else "iterate over"

    def _read_one_by_one(self, keys: int, values: int, room: int) -> int:
        """Read each entry by calls of its own.

        Where the entry that the walk stands on is deleted, the kernel starts over at the first key, any number of
        times. The walk then goes on behind one of the keys before it, if one of them is left; else keys that were read
        are passed over. A walk that reaches the end, or finds nothing new, is over.
        """
        entries, size, step = self._map, self._map.key_size, self._map._value_bytes
        if not self._started:
            self._started = True
            self._advance(None)
        count = 0
        while not self.over and count < room:
            key = self._token.raw[:size]
            stale = key in self._seen
            self._advance(self._token)  # before the entry may go
            if not stale:
                self._seen.add(key)
                self._recent.append(key)
                self._resume()
            self._stale = self._stale + 1 if stale else 0
            self.over = self.over or self._stale > entries.max_entries
            if stale:
                continue
            if self._read_entry(key, values + count * step):
                ctypes.memmove(keys + count * size, key, size)
                count += 1
        return count

    def _resume(self) -> None:
        """Go on behind the last key that is left, where the kernel has started over."""
        for key in reversed(self._recent):
            if self.over or self._token.raw[: self._map.key_size] not in self._seen:
                return
            self._advance(key)

    def _advance(self, key: Any) -> None:
        result: int = self._map._lib.bpf_map_get_next_key(self._map.fd, key, self._token)
        if result == -errno.ENOENT:
            self.over = True
        elif result:
            raise self._map._fail(self._action(), -result)

    def _read_entry(self, key: bytes, value: int) -> bool:
        """Read one value, and delete the entry if that is the task; return whether it was still there."""
        library, fd = self._map._lib, self._map.fd
        if self._in_one_step:
            result: int = library.bpf_map_lookup_and_delete_elem(fd, key, value)
            if -result not in NOT_SUPPORTED or fd < 0:
                return self._found(result)
            self._in_one_step = False
        found = self._found(library.bpf_map_lookup_elem(fd, key, value))
        if found and self._take:
            self._found(library.bpf_map_delete_elem(fd, key))
        return found

    def _found(self, result: int) -> bool:
        if result and result != -errno.ENOENT:
            raise self._map._fail(self._action(), -result)
        return not result


def batches(entries: KeyedMap[Any, Any], take: bool = False) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield keys, values and their number, batch by batch; only the bytes yielded are new memory."""
    walk = Walk(entries, take)
    room = 0
    while not walk.over:
        if room < walk.least:
            room = walk.least
            keys, values = allocate(room * entries.key_size), allocate(room * entries._value_bytes)
            key_address, value_address = address(keys), address(values)
        count = walk.read(key_address, value_address, room)
        if count:
            yield bytes(keys[: count * entries.key_size]), bytes(values[: count * entries._value_bytes]), count


def walk_keys(entries: KeyedMap[Any, Any]) -> Iterator[bytes]:
    """Yield the bytes of each key once, also while entries come and go; no value is looked up.

    Raises:
        MapError: The kernel refused.
    Source: bpf(2) BPF_MAP_GET_NEXT_KEY, libbpf bpf_map_get_next_key().
    """
    walk = _KeyWalk(entries)
    key = ctypes.create_string_buffer(entries.key_size)
    while not walk.over:
        if walk.read(ctypes.addressof(key), 0, 1):
            yield key.raw


class _KeyWalk(Walk):
    """A walk entry by entry, for maps whose values it does not need or the kernel does not show."""

    def __init__(self, entries: KeyedMap[Any, Any]) -> None:
        super().__init__(entries)
        self._by_batch = False

    def _read_entry(self, key: bytes, value: int) -> bool:
        return True


class Columns:
    """All keys and all values of a map, each in a row, in memory that is owned here."""

    def __init__(self, entries: KeyedMap[Any, Any], expected: int) -> None:
        self.count = 0
        self._room = 0
        self._parts: list[bytearray | mmap.mmap] = []
        self._addresses: list[int] = []
        self._sizes = (entries.key_size, entries._value_bytes)
        walk = Walk(entries)
        self._grow(expected + walk.least)
        with made_ready(self._parts if expected else ()):
            while not walk.over:
                if self._room - self.count < walk.least:
                    self._grow(self._room * 2 + walk.least)
                keys, values = (at + self.count * size for at, size in zip(self._addresses, self._sizes, strict=True))
                self.count += walk.read(keys, values, self._room - self.count)

    def _grow(self, room: int) -> None:
        parts = [allocate(room * size) for size in self._sizes]
        for part, old, size in zip(parts, self._parts, self._sizes, strict=False):
            part[: self.count * size] = old[: self.count * size]
        self._room = room
        self._parts = parts
        self._addresses = [address(part) for part in parts]

    @property
    def keys(self) -> memoryview:
        return memoryview(self._parts[0])[: self.count * self._sizes[0]]

    @property
    def values(self) -> memoryview:
        return memoryview(self._parts[1])[: self.count * self._sizes[1]]
