# SPDX-License-Identifier: Apache-2.0
"""The ring buffer as a typed stream of records.

`poll()` and iteration copy each drained run once into an owned block; records are lazy views on it and stay valid as
long as anyone holds one. `read_array()` returns an owned array. `borrow()` is the only zero-copy form.

The buffer is read through its own mapping: a page with the consumer's position, one with the producer's, and the data
twice in a row, so that a run is contiguous even where it wraps. Source: Linux kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import MapError, RecordError
from .libbpf import SAMPLE_CALLBACK
from .maps import Map

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

    def run(self) -> tuple[memoryview, int]:
        """Return the committed bytes that wait, headers included, and the position behind them."""
        start = self._consumer[0]
        end = position = start
        produced = self._producer[0]
        unpack = struct.Struct("=I").unpack_from
        while position < produced:
            (header,) = unpack(self._data, position & self._mask)
            if header & _BUSY:
                break
            position += ((header & _LENGTH) + _HEADER + 7) & ~7
            end = position
        return self._data[start & self._mask : (start & self._mask) + (end - start)], end

    def release(self, position: int) -> None:
        """Give everything before *position* back to the producers."""
        self._consumer[0] = position

    def has_data(self) -> bool:
        return self._consumer[0] != self._producer[0]

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
        self._interrupt: BaseException | None = None
        # Lifetime: libbpf calls it until ring_buffer__free, in close().
        self._callback = SAMPLE_CALLBACK(self._on_record)
        self._ring = library.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            raise OSError(ctypes.get_errno(), "ring_buffer__new")

    def _on_record(self, _context: int, data: int, size: int) -> int:
        try:
            self._block += struct.pack("=II", size, 0) + ctypes.string_at(data, size) + bytes(-size % 8)
        except BaseException as error:  # nothing can be raised through libbpf; a negative result ends its walk
            self._interrupt = error
            return -errno.EINTR
        return 0

    def run(self) -> tuple[memoryview, int]:
        self._library.ring_buffer__consume(self._ring)
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt
        block, self._block = self._block, bytearray()
        return memoryview(block), 0

    def release(self, position: int) -> None:
        """Do nothing: libbpf released each record as it handed it over."""

    def has_data(self) -> bool:
        return False

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
        self._pending: deque[tuple[bytes, int, int]] = deque()

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
        if self._pending:
            self._drain()
        else:
            self._wait(timeout)
        for _ in range(len(self._pending)):
            yield self._record(*self._pending.popleft())

    def __iter__(self) -> Iterator[R]:
        """Yield records for ever, waiting for them."""
        while True:
            yield from self.poll()

    def _record(self, block: bytes, start: int, size: int) -> R:
        if self._value is None:
            return block[start : start + size]  # type: ignore[return-value]
        if size < self._value.size:
            raise RecordError(
                f"read ring buffer {self.name!r}: a record of {size} bytes is no {self._value.kind} "
                f"of {self._value.size}. Bind the right record and run tools/regen.",
                name=self.name,
            )
        return self._value.unpack(block, start)  # type: ignore[no-any-return]

    def _wait(self, timeout: float | None) -> None:
        """Wait until records were drained or the time is over.

        A record that is reserved but not committed makes the descriptor readable at once, so time decides, not the
        number of wake-ups.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self.fd < 0:
                raise self._fail("poll", 0)
            if self._drain():
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if self._ring.has_data():
                time.sleep(_PAUSE_S if left is None else min(_PAUSE_S, left))
            else:
                self._epoll.poll(left)

    def _drain(self) -> bool:
        """Copy what waits into one owned block and note its records; return whether there are any."""
        if self.fd < 0:
            return False
        view, end = self._ring.run()
        block = bytes(view)
        view.release()
        self._ring.release(end)
        self._pending.extend((block, start, size) for start, size in _records(block))
        return bool(self._pending)

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
        next call sees them again. Discarded records make a copy necessary.

        Raises:
            RecordError: A record has another size than the bound type.
        """
        from .arrays import structured

        if self.fd < 0:
            raise self._fail("read", 0)
        if self._value is None:
            raise RecordError(f"read ring buffer {self.name!r}: no record type is bound to it.", name=self.name)
        field = self._value
        if self._pending:
            # Left over by an iterator that stopped early: these come first, and are already ours.
            parts = list(self._pending)
            self._check_sizes((size for _, _, size in parts), field)
            yield structured(b"".join(block[start : start + size] for block, start, size in parts), field, 0)
            self._pending.clear()
            return
        view, end = self._ring.run()
        positions = list(_records(view))
        step = (field.size + _HEADER + 7) & ~7
        try:
            self._check_sizes((size for _, size in positions), field)
        except RecordError:
            self._ring.release(end)
            raise
        if len(positions) * step == len(view):
            yield structured(view, field, step)
        else:
            yield structured(b"".join(view[start : start + size] for start, size in positions), field, 0)
        self._ring.release(end)

    def _check_sizes(self, sizes: Iterator[int], field: Field) -> None:
        for size in sizes:
            if size != field.size:
                raise RecordError(
                    f"read ring buffer {self.name!r}: a record of {size} bytes is no {field.kind} of {field.size}. "
                    "Use poll(), or bind the right record and run tools/regen.",
                    name=self.name,
                )

    def _close(self) -> None:
        self._epoll.close()
        self._ring.close()
        super()._close()


def _records(block: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Yield (start, size) of each record of a run, discarded ones left out."""
    unpack = struct.Struct("=I").unpack_from
    position = 0
    end = len(block)
    while position < end:
        (header,) = unpack(block, position)
        size = header & _LENGTH
        if not header & _DISCARDED:
            yield position + _HEADER, size
        position += (size + _HEADER + 7) & ~7
