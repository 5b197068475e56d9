# SPDX-License-Identifier: Apache-2.0
"""What ring buffers and perf buffers share: waiting, delivering each record once, and who may read.

`poll()` and iteration copy what waits piece by piece, each once into an owned block; records are lazy views on it and
stay valid as long as anyone holds one. `read_array()` and `read_batch()` return owned memory.

No record is lost or delivered twice, whatever is raised where. It rests on this: CPython runs signal handlers and
other threads at calls, at the start of functions and at backward jumps, so what must happen together stands in
neighbouring statements without any of these.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import repeat
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

from ebpf_runtime.errors import MapError, RecordError
from ebpf_runtime.handles import signals_held
from ebpf_runtime.maps import Map
from ebpf_runtime.records import _Nested

from .runs import Layout, RecordBatch, Run, Sizes, unpacker
from .sources import ALL, Join, Source
from .waiting import Waiter

if TYPE_CHECKING:
    import numpy

    from ebpf_runtime.records import Field, Record

__all__ = ["Stream"]

R = TypeVar("R")
_T = TypeVar("_T")

_PIECE = 1 << 18  # bytes of one buffer to copy at once: memory that the caches hold, and that is used again


class Stream(Map, Generic[R]):
    """A stream of records that one consumer reads.

    A second thread that reads while another one waits or reads is refused, and so is a forked child; records that were
    drained are delivered to whichever iterator asks next, each to one. Closing the probe waits for no thread that reads
    or is in a block of `borrow()`: the memory it looks at is freed when it leaves.

    Attributes:
        discarded: Records seen so far that their program discarded.
    """

    _HEAD = 0  # bytes before the data of each record
    _SLACK = 0  # bytes that a record may be longer than its type, because the kernel rounds
    _NOUN = "stream"
    _LOOK_S: ClassVar[float | None] = None  # after which there may be other memory to wait for

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        super().__init__(name, kind, fd, sizes, key, value)
        self.discarded = 0
        self._pending: deque[Run] = deque()
        self._waiter: Waiter | None = None
        self._watchers: set[Waiter] = set()  # of pollers
        self._reader: list[int] | None = None  # of the call that waits, drains or lends: its thread
        self._guests = 0  # calls that look at the memory beside the reader
        self._freed = False
        self._process = os.getpid()
        self._unpack = unpacker(value)
        self._least = value.size if value is not None else 0
        # The type of records that are made here, without a call for each; other fields are asked one by one.
        self._record: Any = value.type if isinstance(value, _Nested) and not value.offset else None
        self._types = _types_by_size(value)
        self._tuples: Any = None

    # Reading record by record

    def poll(self, timeout: float | None = None) -> Iterator[R]:
        """Wait for records and yield those that are there.

        Args:
            timeout: Seconds to wait for the first record; 0 only drains, None waits without limit.
        Yields:
            Records in the order they were committed, on one CPU. When the consumer of the iterator stops early or
            raises, the records it has not seen are delivered by the next call.
        Raises:
            RecordError: A record is shorter than the bound type; it is dropped.
            MapError: The probe is closed, another thread is reading, or this is a forked child.
        """
        return self._deliver(timeout)

    def __iter__(self) -> Iterator[R]:
        """Yield records for ever, waiting for them."""
        return self._deliver(None, forever=True)

    def poll_tuples(self, timeout: float | None = None) -> Iterator[tuple[Any, ...]]:
        """Do the same as `poll`, and yield each record as a plain tuple with one item for each field.

        Numbers and enums are numbers, everything else is its bytes; padding is left out. The fastest way to look at
        all fields of every record in Python.

        Raises:
            RecordError: Besides the reasons of `poll`: no record type is bound, or it has fields that share bytes.
        """
        if self._tuples is None:
            from .tuples import tuple_unpacker

            self._tuples = tuple_unpacker(self._NOUN, self.name, self._value)
        return self._deliver(timeout, tuples=self._tuples)

    def consume(self, callback: Callable[[R], object], timeout: float | None = 0) -> int:
        """Call *callback* with each record that is there, waiting for the first one; return how many there were.

        What it raises propagates, and the records after the failing one come with the next call.
        """
        count = 0
        for record in self.poll(timeout):
            count += 1
            callback(record)
        return count

    def __aiter__(self) -> AsyncIterator[R]:
        """Yield records for ever, waiting for them on the running loop of asyncio.

        A cancelled task takes no record away; what it has not seen is delivered by the next reading.
        """
        return _Awaited(self)

    def _deliver(
        self, timeout: float | None, *, forever: bool = False, tuples: Callable[..., Any] | None = None
    ) -> Iterator[Any]:
        """Yield what is there once records were fetched, piece by piece; not what comes or is fetched meanwhile."""
        record: Any
        while True:
            more = ends = self._fetch("poll", timeout)
            while more:
                pending = self._pending
                newest = pending[-1] if pending else None
                run = None
                # Another iterator may take records, or finish runs, between any two of ours.
                while pending and run is not newest:
                    run = pending[0]
                    kind: Any = self._record or self._types.get(run.sizes if isinstance(run.sizes, int) else 0)
                    if tuples is None and self._types and (headers := run.headers()):
                        yield from self._by_size(run, *headers)
                    elif run.smallest() < self._least or (tuples is None and kind is None):
                        yield from self._one_by_one(run, tuples)
                    elif tuples is not None:
                        yield from map(tuples, repeat(run.block), run.cursor)
                    else:
                        block = run.block
                        # As the field's unpack() does. There is no call between taking a base and yielding its record.
                        blank = kind._blank_
                        record = blank()
                        for record._base in run.cursor:
                            record._block = block
                            yield record
                            record = blank()
                    if pending and pending[0] is run:
                        del pending[0]
                more = self._fetch("poll", 0) if any(source.position < end for source, end in ends) else []
            if not forever:
                return

    def _by_size(self, run: Run, words: Sequence[int] | memoryview, back: int) -> Iterator[Any]:
        """Yield the records of a run, each of the type that its size tells."""
        block, types = run.block, self._types
        record: Any
        # As in _deliver(): no call between taking a base and yielding its record, so the type comes last.
        blank = next(iter(types.values()))._blank_
        record = blank()
        for record._base in run.cursor:
            base = record._base
            try:
                record.__class__ = types[words[(base >> 2) - back]]
            except KeyError:
                record = self._checked(block, base, words[(base >> 2) - back])
            record._block = block
            record._base = base
            yield record
            record = blank()

    def _checked(self, block: bytes, start: int, size: int) -> Any:
        """Return one record, and name the stream where it is none."""
        if size < self._least:
            raise self._unfit(size)
        try:
            return self._unpack(block, start, size)
        except RecordError as error:
            raise RecordError(f"read {self._NOUN} {self.name!r}: {error}", name=self.name) from error

    def _one_by_one(self, run: Run, tuples: Callable[..., Any] | None) -> Iterator[Any]:
        """Yield the records of a run; each is made first and taken then, so nothing can be raised in between."""
        total = len(run.starts)
        while (index := run.next_index()) < total:
            start, size = run.starts[index], run.size(index)
            if size < self._least:
                for _ in run.cursor:
                    raise self._unfit(size)
            try:
                record = tuples(run.block, start) if tuples else self._unpack(run.block, start, size)
            except RecordError as error:
                for _ in run.cursor:
                    raise RecordError(f"read {self._NOUN} {self.name!r}: {error}", name=self.name) from error
            for taken in run.cursor:
                if taken != start:  # another thread was faster with the one made
                    size = run.size(run.next_index() - 1)
                    record = tuples(run.block, taken) if tuples else self._unpack(run.block, taken, size)
                yield record
                break

    # Waiting and draining

    def _fetch(self, action: str, timeout: float | None) -> list[tuple[Source, int]]:
        """Wait until records are pending or the time is over; return how far each source is written where any are."""
        token = [get_ident()]
        try:
            if self._reader is None:
                self._reader = token
            if self._reader is not token:
                self._refuse_second(action)
            if not self._ready(action) and timeout != 0:
                self._await().wait(lambda: self._ready(action), timeout)
            return [(source, source.written()) for source in self._opened()] if self._pending else []
        finally:
            if self._reader is token:
                self._reader = None
            if self.fd < 0:
                self._free()

    def _ready(self, action: str) -> bool:
        """Return whether records are pending, after draining a piece of what waits where none were."""
        self._check_usable(action)
        # Forget the runs that an iterator finished without having the time to say so.
        while self._pending and not self._pending[0].left():
            del self._pending[0]
        if not self._pending:
            self._drain(_PIECE)
        return bool(self._pending)

    def _ready_to_read(self) -> bool:
        return bool(self._fetch("poll", 0))

    def _await(self) -> Waiter:
        if self._waiter is None:
            self._waiter = Waiter(self._descriptors())
        return self._waiter

    def _check_usable(self, action: str) -> None:
        if self.fd < 0:
            raise self._fail(action, 0)
        if os.getpid() != self._process:
            raise MapError(
                f"{action} map {self.name!r}: this {self._NOUN} belongs to process {self._process}, and a forked child "
                "must not read it. Open the probe in the child.",
                name=self.name,
            )

    def _refuse_second(self, action: str) -> NoReturn:
        self._check_usable(action)
        raise MapError(
            f"{action} map {self.name!r}: it is being read; a {self._NOUN} has one consumer at a time. "
            "Read it in one thread, and not inside a block of borrow().",
            name=self.name,
        )

    def _descriptors(self) -> Sequence[int]:
        """Return the file descriptors that become readable when records arrive."""
        raise NotImplementedError  # each kind of buffer has its own

    def _sources(self) -> Sequence[Source]:
        """Return the memory that records arrive in, opened where it is not yet."""
        raise NotImplementedError  # each kind of buffer has its own

    def _opened(self) -> Sequence[Source]:
        """Return the memory that is open."""
        return self._sources()

    def _drain(self, most: int = ALL) -> None:
        """Copy what waits, of each source about *most* bytes, into owned blocks and append them to the pending."""
        for source in self._sources():
            self._keep(source, *self._copy(source, b"".join, most))
            source.release()

    def _copy(self, source: Source, join: Join, most: int = ALL) -> tuple[Any, Layout, int]:
        try:
            return source.copy(join, most)
        except OSError as error:
            raise self._fail("read", error.errno or 0) from error

    def _keep(self, source: Source, block: bytes, layout: Layout, end: int) -> None:
        """Make a copied run pending; it is taken then, whether the kernel has its memory back or not."""
        layout.own()
        runs = (Run(block, layout.starts, layout.sizes_in(block)),) if layout.starts else ()
        self._count(source, layout)
        self._pending += runs
        source.position = end

    def _count(self, source: Source, layout: Layout) -> None:
        """Add what the layout counted to the totals, once."""
        discarded, lost = layout.discarded, layout.lost
        layout.discarded = layout.lost = 0
        self.discarded += discarded
        source.lost += lost

    # Reading in bulk

    def read_array(self) -> numpy.ndarray[Any, Any]:
        """Return all records that wait as one owned structured array (needs numpy; does not wait).

        Raises:
            RecordError: A record has another size than the bound type; such are dropped, the others come with the
                next call.
            MapError: As for `poll`.
        """
        from ebpf_runtime.arrays import joined, strided

        field = self._field()

        def of_copied(taken: list[tuple[Any, Layout]]) -> numpy.ndarray[Any, Any] | None:
            if not all(
                isinstance(layout.starts, range) and self._all_fit(layout.sizes_in(block)) for block, layout in taken
            ):
                return None
            arrays = [strided(block, field, layout.starts) for block, layout in taken]
            return arrays[0] if len(arrays) == 1 else joined(arrays)

        return self._read_all(joined, of_copied, self._pending_array)

    def read_batch(self) -> RecordBatch[R]:
        """Return all records that wait, of whatever sizes, as a sequence over one owned block (does not wait).

        Raises:
            MapError: As for `poll`.
        """

        def of_copied(taken: list[tuple[Any, Layout]]) -> RecordBatch[R] | None:
            if len(taken) > 1:
                return None
            block, layout = taken[0]
            layout.own()
            return RecordBatch(block, layout.starts, layout.sizes_in(block), self._value)

        return self._read_all(b"".join, of_copied, self._pending_batch)

    def _read_all(
        self, join: Join, of_copied: Callable[[list[tuple[Any, Layout]]], _T | None], of_pending: Callable[[], _T]
    ) -> _T:
        """Return all records that wait: in one copy where *of_copied* can, else from what is pending."""
        token = [get_ident()]
        try:
            if self._reader is None:
                self._reader = token
            if self._reader is not token:
                self._refuse_second("read")
            self._check_usable("read")
            if not any(run.left() for run in self._pending):
                copied = [(source, *self._copy(source, join)) for source in self._sources()]
                taken = [(block, layout) for _, block, layout, _ in copied if layout.starts]
                result = of_copied(taken) if taken else None
                if result is not None:
                    return self._handed_out(copied, result)
            self._drain()
            return self._emptied(of_pending())
        finally:
            if self._reader is token:
                self._reader = None
            if self.fd < 0:
                self._free()

    def _handed_out(self, copied: list[tuple[Source, Any, Layout, int]], result: _T) -> _T:
        """Return *result*, which has all that was copied; where this is interrupted the next call has it."""
        try:
            for source, _, layout, end in copied:
                self._count(source, layout)
                source.position = end
                source.release()
            return result
        except BaseException:
            for source, block, layout, end in copied:
                self._keep(source, bytes(block), layout, end)
            raise

    def _emptied(self, result: _T) -> _T:
        """Return *result*, which has all that is pending; where this is interrupted the next call has it."""
        runs = list(self._pending)
        rests = [(run.block, *run.rest()) for run in runs]
        try:
            for run in runs:
                run.finish()
            return result
        except BaseException:
            self._pending = deque(Run(*rest) for rest in rests)
            raise

    def _pending_array(self) -> numpy.ndarray[Any, Any]:
        """Return an owned array of what is pending."""
        from ebpf_runtime.arrays import structured

        self._keep_fitting()
        field = self._field()
        pieces = [run.block[start : start + field.size] for run in self._pending for start in run.rest()[0]]
        return structured(memoryview(bytearray().join(pieces)), field, 0)

    def _pending_batch(self) -> RecordBatch[R]:
        """Return a batch of what is pending."""
        starts: list[int] = []
        sizes: list[int] = []
        offset = 0
        for run in self._pending:
            run_starts, run_sizes = run.rest()
            starts += [offset + start for start in run_starts]
            sizes += repeat(run_sizes, len(run_starts)) if isinstance(run_sizes, int) else run_sizes
            offset += len(run.block)
        block = b"".join(run.block for run in self._pending)
        return RecordBatch(block, starts, Sizes(sizes, set(sizes)), self._value)

    def _field(self) -> Field:
        if self._value is None:
            raise RecordError(f"read {self._NOUN} {self.name!r}: no record type is bound to it.", name=self.name)
        if hasattr(self._value, "unpack_sized"):
            raise RecordError(
                f"read {self._NOUN} {self.name!r} as an array: its records are of several types, {self._value.kind}. "
                "Use poll().",
                name=self.name,
            )
        return self._value

    def _fits(self, size: int) -> bool:
        return self._least <= size <= self._least + self._SLACK

    def _all_fit(self, sizes: int | Sizes) -> bool:
        return all(map(self._fits, (sizes,) if isinstance(sizes, int) else sizes.different))

    def _keep_fitting(self) -> None:
        """Drop pending records that do not fit the bound type, and tell of the first."""
        kept: list[Run] = []
        unfit: list[int] = []
        for run in self._pending:
            starts, sizes = run.rest()
            pairs = list(zip(starts, repeat(sizes) if isinstance(sizes, int) else sizes, strict=False))
            fitting = [pair for pair in pairs if self._fits(pair[1])]
            unfit += (size for _, size in pairs if not self._fits(size))
            fitting_sizes = [size for _, size in fitting]
            kept.append(Run(run.block, [start for start, _ in fitting], Sizes(fitting_sizes, set(fitting_sizes))))
        if unfit:
            for run in self._pending:
                run.finish()
            self._pending = deque(kept)
            raise self._unfit(unfit[0])

    def _unfit(self, size: int) -> RecordError:
        field = self._value
        assert field is not None
        return RecordError(
            f"read {self._NOUN} {self.name!r}: a record of {size} bytes is no {field.kind} of {field.size}. "
            "Bind the right record and run tools/regen.",
            name=self.name,
        )

    def _close(self) -> None:
        super()._close()
        if os.getpid() != self._process:
            self._reader, self._guests = None, 0  # threads of the parent
        try:
            for waiter in (self._waiter, *self._watchers):
                if waiter is not None:
                    waiter.wake()
        finally:
            self._free()

    def _free(self) -> None:
        """Free the memory of a closed stream as soon as nobody is inside: called by who closes, and by who leaves."""
        with signals_held():
            if self._freed or self._guests or self._reader is not None:
                return
            self._freed = True
            for source in self._opened():
                source.close()
            if self._waiter is not None:
                self._waiter.close()


def _types_by_size(field: Field | None) -> dict[int, type[Record]]:
    """Return the record types that a record's size tells; none where it does not, or their objects differ in layout."""
    types: dict[int, type[Record]] = getattr(field, "types_by_size", dict)()
    try:
        for record in types.values():
            next(iter(types.values()))._blank_().__class__ = record
    except TypeError:
        return {}
    return types


class _Awaited(AsyncIterator[R]):
    """Records one by one for `async for`."""

    def __init__(self, stream: Stream[R]) -> None:
        self._stream = stream
        self._records: Iterator[R] = iter(())

    async def __anext__(self) -> R:
        stream = self._stream
        while True:
            for record in self._records:
                return record
            await stream._await().wait_async(stream._ready_to_read, stream._LOOK_S)
            self._records = stream.poll(0)
