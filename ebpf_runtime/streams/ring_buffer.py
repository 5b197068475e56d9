# SPDX-License-Identifier: Apache-2.0
"""The ring buffer as a typed stream of records.

The buffer is read through its own mapping: a page with the consumer's position, one with the producer's, and the data
twice in a row, so that a run is contiguous even where it wraps. `borrow()` and `borrow_batch()` are the only zero-copy
forms.

Source: Linux kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from ebpf_runtime.errors import MapError
from ebpf_runtime.handles import signals_held
from ebpf_runtime.libbpf import Library, walker
from ebpf_runtime.libbpf_structures import SAMPLE_CALLBACK

from .runs import Layout, RecordBatch
from .sources import ALL, Join, Source
from .stream import Stream
from .walks import RING_HEAD, Room, address, compiled_ring_walk, ring_walk

if TYPE_CHECKING:
    import numpy

    from ebpf_runtime.records import Field

__all__ = ["RingBuffer"]

R = TypeVar("R")
_T = TypeVar("_T")

# x86 keeps loads in order, and a store behind earlier loads: plain accesses are the acquire and release that the
# protocol asks for. On other CPUs the compiled helper's are, or where there is none, libbpf's.
_ORDERED = os.uname().machine in ("x86_64", "i686")

_ENOUGH = errno.ENOBUFS  # what the callback has libbpf stop with


class _Mapped(Source):
    """The consumer's side of the protocol over our own mapping, by plain loads and stores."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self._mask = size - 1
        self._room = Room()
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            self._producer_map = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except BaseException:
            self._consumer_map.close()
            raise
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._producer_map)[:8].cast("Q")
        self._data = memoryview(self._producer_map)[page:]

    def _start(self) -> int:
        """Return where the next run starts."""
        return max(self._consumer[0], self.position)

    def written(self) -> int:
        """Return the producers' position; what is before it, and committed, can be read after that."""
        return self._producer[0]

    def _walk(self, run: memoryview) -> Layout:
        return ring_walk(run, walker, self._room)

    def unread_bytes(self) -> int:
        return max(self.written() - self._start(), 0)

    def run(self, most: int = ALL) -> tuple[memoryview, Layout, int]:
        """Return committed bytes that wait, headers included, what is in them, and the position behind them.

        The last record may be longer than *most* bytes have room for: a walk looks at headers alone.
        """
        start = self._start()
        first = start & self._mask
        layout = self._walk(self._data[first : first + min(self.written() - start, most)])
        return self._data[first : first + layout.end], layout, start + layout.end

    def copy(self, join: Join, most: int) -> tuple[Any, Layout, int]:
        run, layout, end = self.run(most)
        return join((run,)), layout, end

    def release(self) -> None:
        self._consumer[0] = self.position

    def close(self) -> None:
        for view in (self._consumer, self._producer, self._data):
            view.release()
        self._consumer_map.close()
        with suppress(BufferError):  # an array is still borrowed; the mapping goes when the array does
            self._producer_map.close()
        del self._producer_map


class _Acquiring(_Mapped):
    """The same by the compiled helper's loads and stores, which order memory on every CPU."""

    def __init__(self, fd: int, size: int, helper: Library) -> None:
        super().__init__(fd, size)
        self._helper = helper
        self._consumer_address = address(self._consumer)
        self._producer_address = address(self._producer)

    def written(self) -> int:
        position: int = self._helper.ebpf_walker_load(self._producer_address)
        return position

    def _walk(self, run: memoryview) -> Layout:
        return compiled_ring_walk(self._helper, run, self._room)

    def release(self) -> None:
        self._helper.ebpf_walker_store(self._consumer_address, self.position)


class _Libbpf(Source):
    """The same through libbpf's consumer, which orders memory on every CPU; it hands over record by record.

    What it handed over it gave back to the producers already, so it stays here until it is released. Positions here
    leave out the records that were discarded, of which libbpf says nothing; a program that discards all of its records,
    faster than libbpf passes over them, keeps it for as long.
    """

    def __init__(self, fd: int, library: Any) -> None:
        self._library = library
        self._block = bytearray()
        self._start = 0
        self._most = self._until = 0
        # They tell how much waits, and nothing is read by them: in which order memory is seen does not matter.
        self._maps = [mmap.mmap(fd, 8, mmap.MAP_SHARED, mmap.PROT_READ, offset=page) for page in (0, mmap.PAGESIZE)]
        self._consumer, self._producer = (memoryview(positions).cast("Q") for positions in self._maps)
        # Lifetime: libbpf calls it until ring_buffer__free, in close().
        self._callback = SAMPLE_CALLBACK(self._on_record)
        self._ring = library.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            number = ctypes.get_errno()
            self._unmap()
            raise OSError(number, "ring_buffer__new")

    def _on_record(self, _context: int, data: int, size: int) -> int:
        self._block += struct.pack("=II", size, 0) + ctypes.string_at(data, size) + bytes(-size % 8)
        behind = self._consumer[0] + RING_HEAD + size + -size % 8
        return 0 if len(self._block) < self._most and behind < self._until else -_ENOUGH

    def unread_bytes(self) -> int:
        taken = self.position  # first: another thread may take more meanwhile
        return max(self.written() - taken, 0)

    def copy(self, join: Join, most: int) -> tuple[Any, Layout, int]:
        self.release()
        # libbpf goes on for as long as records come, and a busy program would keep it for ever.
        self._most, self._until = most, self._producer[0]
        if len(self._block) < most:
            with signals_held():  # what is raised in the callback cannot pass through libbpf, and would lose the record
                result = self._library.ring_buffer__consume(self._ring)
            if result < 0 and result != -_ENOUGH:
                raise OSError(-result, os.strerror(-result))
        with memoryview(self._block) as waiting:
            block = join((waiting,))
        layout = ring_walk(memoryview(block), walker)
        return block, layout, self._start + layout.end

    def written(self) -> int:
        return self._start + len(self._block) + max(self._producer[0] - self._consumer[0], 0)

    def release(self) -> None:
        self._block = self._block[self.position - self._start :]
        self._start = self.position

    def close(self) -> None:
        self._library.ring_buffer__free(self._ring)
        self._unmap()

    def _unmap(self) -> None:
        for positions in (self._consumer, self._producer):
            positions.release()
        for mapping in self._maps:
            mapping.close()


class RingBuffer(Stream[R]):
    """A stream of records.

    One consumer at a time: positions are shared by all who read the map. The kernel counts no records that found no
    room; programs do, where bpf_ringbuf_reserve() or bpf_ringbuf_output() fails.

    Kernel: 5.8.
    """

    _HEAD = RING_HEAD
    _NOUN = "ring buffer"

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        super().__init__(name, kind, fd, sizes, key, value)
        try:
            self._ring = self._source()
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or 0
            raise MapError(f"map ring buffer {name!r}: {error}.", name=name, errno=number) from error

    def _source(self) -> _Mapped | _Libbpf:
        if _ORDERED:
            return _Mapped(self.fd, self.max_entries)
        helper = walker()
        return _Libbpf(self.fd, self._lib) if helper is None else _Acquiring(self.fd, self.max_entries, helper)

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when records arrive."""
        return self.fd

    @property
    def unread_bytes(self) -> int:
        """Bytes in use by records that were not read, headers and records being written included.

        Raises:
            MapError: As for `poll`.
        """
        try:
            self._guests += 1
            self._check_usable("ask")
            return self._ring.unread_bytes()
        finally:
            self._guests -= 1
            if self.fd < 0:
                self._free()

    def _descriptors(self) -> Sequence[int]:
        self._check_usable("poll")
        return (self.fd,)

    def _sources(self) -> Sequence[Source]:
        return (self._ring,)

    @contextmanager
    def borrow(self) -> Iterator[numpy.ndarray[Any, Any]]:
        """Lend all records that wait as a structured array over the ring's own memory (needs numpy; does not wait).

        The array is invalid after the block, which gives the records back to the kernel; where the block raises, the
        next call sees them again. The array is a copy where discarded records stand between the others, where an
        iterator left records, and where only libbpf can order memory.

        Raises:
            RecordError: A record has another size than the bound type; such are dropped, the others come with the
                next call.
            MapError: As for `poll`; other readings are refused during the block.
        """
        from ebpf_runtime.arrays import strided

        field = self._field()

        def lend(block: Any, layout: Layout) -> numpy.ndarray[Any, Any] | None:
            if not isinstance(layout.starts, range) or not self._all_fit(layout.sizes_in(block)):
                return None
            return strided(block, field, layout.starts)

        with self._lent(lend, self._pending_array) as array:
            yield array

    @contextmanager
    def borrow_batch(self) -> Iterator[RecordBatch[R]]:
        """Lend all records that wait, of whatever sizes, as a sequence over the ring's own memory (does not wait).

        As with `borrow`, nothing of the batch is valid after the block but the records taken from it, which own their
        bytes.

        Raises:
            MapError: As for `poll`; other readings are refused during the block.
        """

        def lend(block: Any, layout: Layout) -> RecordBatch[R]:
            return RecordBatch(block, layout.starts, layout.sizes_in(block), self._value)

        with self._lent(lend, self._pending_batch) as batch:
            yield batch

    @contextmanager
    def _lent(self, lend: Callable[[Any, Layout], _T | None], of_pending: Callable[[], _T]) -> Iterator[_T]:
        """Lend what *lend* makes of the ring's memory, else what *of_pending* has."""
        token = [get_ident()]
        try:
            if self._reader is None:
                self._reader = token
            if self._reader is not token:
                self._refuse_second("borrow from")
            self._check_usable("borrow from")
            ring = self._ring
            if isinstance(ring, _Mapped) and not any(run.left() for run in self._pending):
                view, layout, end = ring.run()
                lent = lend(view, layout)
                if lent is not None:
                    yield lent
                    self._count(ring, layout)
                    ring.position = end
                    if self.fd >= 0:
                        ring.release()
                    return
            self._drain()
            yield of_pending()
            for run in self._pending:
                run.finish()
        finally:
            if self._reader is token:
                self._reader = None
            if self.fd < 0:
                self._free()
