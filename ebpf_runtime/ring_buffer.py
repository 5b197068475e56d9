# SPDX-License-Identifier: Apache-2.0
"""The ring buffer as a typed stream of records.

`poll()` and iteration copy each drained run once into an owned block; records are lazy views on it and stay valid as
long as anyone holds one. `read_array()` returns an owned array. `borrow()` is the only zero-copy form.

The buffer is read through its own mapping: a page with the consumer's position, one with the producer's, and the data
twice in a row, so that a run is contiguous even where it wraps. Source: Linux kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import MapError, RecordError
from .libbpf import SAMPLE_CALLBACK
from .maps import Map
from .signals import signals_held

if TYPE_CHECKING:
    import numpy

    from .records import Field

__all__ = ["RingBuffer"]

R = TypeVar("R")

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH = _DISCARDED - 1
_HEADER = 8
_PAUSE_S = 0.0005  # between looks at a record that is reserved and not yet committed

# x86 keeps loads in order, and a store behind earlier loads: plain accesses are the acquire and release that the
# protocol asks for. Other CPUs go through libbpf, whose compiled accesses are.
_ORDERED = os.uname().machine in ("x86_64", "i686")


class _Layout:
    """Where the records of a run are: where each starts, how long it is; discarded ones are left out.

    *uniform* is the size of all records where they fill the run one behind the other; else it is 0 and *sizes* counts.
    """

    __slots__ = ("sizes", "starts", "uniform")

    def __init__(self, starts: Sequence[int], sizes: Sequence[int], uniform: int = 0) -> None:
        self.starts = starts
        self.sizes = sizes
        self.uniform = uniform

    def sizes_from(self, first: int) -> set[int]:
        return {self.uniform} if self.uniform else set(self.sizes[first:])

    def pieces(self, block: bytes | memoryview, first: int = 0) -> Iterator[bytes | memoryview]:
        """Yield the bytes of each record from the *first* on."""
        for index in range(first, len(self.starts)):
            start = self.starts[index]
            yield block[start : start + (self.uniform or self.sizes[index])]


class _Run:
    """A drained run: an owned block, where its records are, and how many of them were delivered."""

    __slots__ = ("block", "delivered", "layout")

    def __init__(self, block: bytes, layout: _Layout) -> None:
        self.block = block
        self.layout = layout
        self.delivered = 0


def _walk(run: memoryview) -> tuple[_Layout, int]:
    """Return the layout of the committed records at the beginning of a run, and their length."""
    unpack = struct.Struct("=I").unpack_from
    end = len(run)
    if end >= _HEADER:
        # Most rings hold records of one size: then all headers are equal, which four strided comparisons show.
        (header,) = unpack(run, 0)
        step = (header + 15) & ~7
        if header <= _LENGTH and not end % step:
            count = end // step
            if all(run[byte::step] == bytes((header >> 8 * byte & 0xFF,)) * count for byte in range(4)):
                return _Layout(range(_HEADER, end, step), (), header), end
    starts: list[int] = []
    sizes: list[int] = []
    position = 0
    while position < end:
        (header,) = unpack(run, position)
        if header & _BUSY:
            break
        size = header & _LENGTH
        if not header & _DISCARDED:
            starts.append(position + _HEADER)
            sizes.append(size)
        position += (size + 15) & ~7
    return _Layout(starts, sizes), position


class _Mapped:
    """The consumer's side of the protocol over our own mapping."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self._mask = size - 1
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            self._producer_map = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except BaseException:
            self._consumer_map.close()
            raise
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._producer_map)[:8].cast("Q")
        self._data = memoryview(self._producer_map)[page:]

    def run(self) -> tuple[memoryview, _Layout, int]:
        """Return the committed bytes that wait, headers included, what is in them, and the position behind them."""
        start = self._consumer[0]
        first = start & self._mask
        layout, length = _walk(self._data[first : first + self._producer[0] - start])
        return self._data[first : first + length], layout, start + length

    def release(self, position: int) -> None:
        """Give everything before *position* back to the producers."""
        self._consumer[0] = position

    def close(self) -> None:
        for view in (self._consumer, self._producer, self._data):
            view.release()
        self._consumer_map.close()
        with suppress(BufferError):  # an array is still borrowed; the mapping goes when the array does
            self._producer_map.close()


class _Compiled:
    """The same through libbpf's consumer, which orders memory on every CPU; it hands over record by record."""

    def __init__(self, fd: int, library: Any) -> None:
        self._library = library
        self._block = bytearray()
        # Lifetime: libbpf calls it until ring_buffer__free, in close().
        self._callback = SAMPLE_CALLBACK(self._on_record)
        self._ring = library.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            raise OSError(ctypes.get_errno(), "ring_buffer__new")

    def _on_record(self, _context: int, data: int, size: int) -> int:
        self._block += struct.pack("=II", size, 0) + ctypes.string_at(data, size) + bytes(-size % 8)
        return 0

    def run(self) -> tuple[memoryview, _Layout, int]:
        with signals_held():  # what is raised in the callback cannot pass through libbpf, and would lose the record
            result = self._library.ring_buffer__consume(self._ring)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        block, self._block = self._block, bytearray()
        layout, _ = _walk(memoryview(block))
        return memoryview(block), layout, 0

    def release(self, position: int) -> None:
        """Do nothing: libbpf released each record as it handed it over."""

    def close(self) -> None:
        self._library.ring_buffer__free(self._ring)


class RingBuffer(Map, Generic[R]):
    """A stream of records.

    One consumer at a time: positions are shared by all who read the map.

    Kernel: 5.8.
    """

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        super().__init__(name, kind, fd, sizes, key, value)
        try:
            self._ring: _Mapped | _Compiled = _Mapped(fd, self.max_entries) if _ORDERED else _Compiled(fd, self._lib)
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or 0
            raise MapError(f"map ring buffer {name!r}: {error}.", name=name, errno=number) from error
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self._pending: deque[_Run] = deque()

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when records arrive."""
        return self.fd

    def poll(self, timeout: float | None = None) -> Iterator[R]:
        """Wait for records and yield those that are there.

        Args:
            timeout: Seconds to wait for the first record; 0 only drains, None waits without limit.
        Yields:
            Records in the order they were committed. When the consumer of the iterator stops early or raises, the
            records it has not seen are delivered by the next call.
        Raises:
            RecordError: A record is shorter than the bound type; it is dropped.
            MapError: The probe is closed.
        """
        if self._left():
            self._drain()
        else:
            self._wait(timeout)
        decode: Any = self._value.unpack if self._value is not None else None
        sized: Any = getattr(self._value, "unpack_sized", None)
        least = self._value.size if self._value is not None else 0
        pending = self._pending
        newest = pending[-1] if pending else None
        run = None
        # Another iterator may take records, or finish runs, between any two of ours.
        while pending and run is not newest:
            run = pending[0]
            block, starts, sizes, uniform = run.block, run.layout.starts, run.layout.sizes, run.layout.uniform
            while (index := run.delivered) < len(starts):
                run.delivered = index + 1
                start, size = starts[index], uniform or sizes[index]
                if size < least:
                    raise self._unfit(size)
                if sized is not None:
                    yield self._sized(sized, block, start, size)
                    continue
                record: Any = decode(block, start) if decode else block[start : start + size]
                yield record
            if pending and pending[0] is run:
                pending.popleft()

    def __iter__(self) -> Iterator[R]:
        """Yield records for ever, waiting for them."""
        while True:
            yield from self.poll()

    def _left(self) -> bool:
        """Return whether an iterator that stopped early left records; forget the runs that it finished."""
        while self._pending and self._pending[0].delivered == len(self._pending[0].layout.starts):
            self._pending.popleft()
        return bool(self._pending)

    def _sized(self, sized: Any, block: bytes, start: int, size: int) -> Any:
        """Return a record of one of several types."""
        try:
            return sized(block, start, size)
        except RecordError as error:
            raise RecordError(f"read ring buffer {self.name!r}: {error}", name=self.name) from error

    def _unfit(self, size: int) -> RecordError:
        field = self._value
        assert field is not None
        return RecordError(
            f"read ring buffer {self.name!r}: a record of {size} bytes is no {field.kind} of {field.size}. "
            "Bind the right record and run tools/regen.",
            name=self.name,
        )

    def _wait(self, timeout: float | None) -> None:
        """Wait until records were drained or the time is over.

        A record that is reserved but not committed makes the descriptor readable at once, so time decides, not the
        number of wake-ups.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        woken = False
        while True:
            if self.fd < 0:
                raise self._fail("poll", 0)
            if self._drain():
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if woken:
                time.sleep(_PAUSE_S if left is None else min(_PAUSE_S, left))
                woken = False
            else:
                woken = bool(self._epoll.poll(left))

    def _drain(self) -> bool:
        """Copy what waits into one owned block; return whether there are records in it."""
        if self.fd < 0:
            return False
        try:
            view, layout, end = self._ring.run()
        except OSError as error:
            raise self._fail("read", error.errno or 0) from error
        block = bytes(view)
        view.release()
        self._ring.release(end)
        if layout.starts:
            self._pending.append(_Run(block, layout))
        return bool(layout.starts)

    def read_array(self) -> numpy.ndarray[Any, Any]:
        """Return all records that wait as one owned structured array (needs numpy; does not wait).

        Raises:
            RecordError: A record has another size than the bound type.
        """
        with self.borrow() as array:
            return array.copy()

    @contextmanager
    def borrow(self) -> Iterator[numpy.ndarray[Any, Any]]:
        """Lend all records that wait as a structured array over the ring's own memory (needs numpy; does not wait).

        The array is invalid after the block, which gives the records back to the kernel; where the block raises, the
        next call sees them again. Discarded records make a copy necessary, and so do CPUs that may reorder memory.

        Raises:
            RecordError: A record has another size than the bound type; the records that wait are dropped.
        """
        from .arrays import structured

        if self.fd < 0:
            raise self._fail("read", 0)
        if self._value is None:
            raise RecordError(f"read ring buffer {self.name!r}: no record type is bound to it.", name=self.name)
        field = self._value
        if isinstance(self._ring, _Compiled):
            self._drain()  # libbpf has given the records back already, so they are kept here until the block ends
        if self._left():
            # What waits here comes before what waits in the ring.
            run = self._pending[0]
            try:
                self._check(run.layout, run.delivered)
            except RecordError:
                self._pending.popleft()
                raise
            yield structured(b"".join(run.layout.pieces(run.block, run.delivered)), field, 0)
            self._pending.popleft()
            return
        view, layout, end = self._ring.run()
        try:
            self._check(layout, 0)
        except RecordError:
            self._ring.release(end)
            raise
        if layout.uniform:
            yield structured(view, field, (field.size + _HEADER + 7) & ~7)
        else:
            yield structured(b"".join(layout.pieces(view)), field, 0)
        if self.fd >= 0:
            self._ring.release(end)

    def _check(self, layout: _Layout, first: int) -> None:
        for size in layout.sizes_from(first):
            if self._value is not None and size != self._value.size:
                raise self._unfit(size)

    def _close(self) -> None:
        self._epoll.close()
        self._ring.close()
        super()._close()
