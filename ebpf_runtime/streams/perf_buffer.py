# SPDX-License-Identifier: Apache-2.0
"""The perf buffer as a typed stream of records.

One buffer for each online CPU, made when the stream is opened or the CPU comes online: a page with the positions, and
the data behind it, which wraps, so that a run is copied in two pieces at most.

Source: perf_event_open(2), Linux kernel/events/ring_buffer.c.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ebpf_runtime.errors import MapError, PermissionDeniedError, describe
from ebpf_runtime.handles import signals_held
from ebpf_runtime.libbpf import Library, walker
from ebpf_runtime.libbpf_structures import PERF_LOST_CALLBACK, PERF_SAMPLE_CALLBACK

from .runs import Layout
from .sources import Join, Source
from .stream import Stream
from .walks import PERF_HEAD, Room, address, perf_walk

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["PerfBuffer"]

R = TypeVar("R")

_ORDERED = os.uname().machine in ("x86_64", "i686")  # as in ring_buffer
_NR_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_ATTR_BYTES = 112  # PERF_ATTR_SIZE_VER5; all that is set here is in the first 64
_SOFTWARE = 1  # PERF_TYPE_SOFTWARE
_BPF_OUTPUT = 10  # PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_RAW = 1 << 10  # PERF_SAMPLE_RAW
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
_HEAD_WORD = 1024 // 8  # data_head of struct perf_event_mmap_page, in words
_TAIL_WORD = 1032 // 8
_LARGEST = 1 << 16  # bytes of a record: its size is in 16 bits
_PAGES = 64

_libc = ctypes.CDLL(None, use_errno=True)


def _online_cpus() -> list[int]:
    """Return the CPUs that are online, from a list like `0-3,6`."""
    found: list[int] = []
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _open_event(cpu: int, wakeup_events: int) -> int:
    """Return the perf event of one CPU that bpf_perf_event_output() writes to."""
    attributes = struct.pack("=IIQQQQQI", _SOFTWARE, _ATTR_BYTES, _BPF_OUTPUT, 1, _SAMPLE_RAW, 0, 0, wakeup_events)
    buffer = ctypes.create_string_buffer(attributes, _ATTR_BYTES)
    number = _NR_PERF_EVENT_OPEN[os.uname().machine]
    fd: int = _libc.syscall(number, buffer, -1, cpu, -1, ctypes.c_ulong(_CLOSE_ON_EXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


class _Mapped(Source):
    """One CPU's buffer, by plain loads and stores."""

    def __init__(self, cpu: int, pages: int, wakeup_events: int) -> None:
        self._room = Room()
        self.fd = _open_event(cpu, wakeup_events)
        try:
            self._size = pages * mmap.PAGESIZE
            self._map = mmap.mmap(
                self.fd, mmap.PAGESIZE + self._size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
            )
            fcntl.ioctl(self.fd, _ENABLE, 0)
        except BaseException:
            os.close(self.fd)
            raise
        self._words = memoryview(self._map)[: mmap.PAGESIZE].cast("Q")
        self._data = memoryview(self._map)[mmap.PAGESIZE :]

    def written(self) -> int:
        """Return the kernel's position; what is before it can be read after that."""
        return self._words[_HEAD_WORD]

    def copy(self, join: Join, most: int) -> tuple[Any, Layout, int]:
        start = max(self._words[_TAIL_WORD], self.position)
        end = min(self.written(), start + most + _LARGEST)
        first, last = start % self._size, end % self._size
        if end == start:
            parts: tuple[memoryview, ...] = (self._data[:0],)
        elif first < last:
            parts = (self._data[first:last],)
        else:
            parts = (self._data[first:], self._data[:last])
        block = join(parts)
        layout = perf_walk(memoryview(block), walker, self._room, most)
        # What cannot be read is passed over.
        return block, layout, start + layout.end if layout.end >= most else end

    def release(self) -> None:
        self._words[_TAIL_WORD] = self.position

    def close(self) -> None:
        self._words.release()
        self._data.release()
        with suppress(BufferError):  # a copy was interrupted; its exception still holds the memory
            self._map.close()
        del self._map
        os.close(self.fd)


class _Acquiring(_Mapped):
    """The same by the compiled helper's loads and stores, which order memory on every CPU."""

    def __init__(self, cpu: int, pages: int, wakeup_events: int, helper: Library) -> None:
        super().__init__(cpu, pages, wakeup_events)
        self._helper = helper
        self._page = address(self._words)

    def written(self) -> int:
        head: int = self._helper.ebpf_walker_load(self._page + 8 * _HEAD_WORD)
        return head

    def release(self) -> None:
        self._helper.ebpf_walker_store(self._page + 8 * _TAIL_WORD, self.position)


class _Libbpf:
    """All CPUs' buffers through libbpf's consumer, which orders memory on every CPU."""

    def __init__(self, fd: int, entries: int, pages: int, library: Any) -> None:
        self._library = library
        self._process = os.getpid()
        self.sources: dict[int, _FromLibbpf] = {}
        # Lifetime: libbpf calls them until perf_buffer__free, in close().
        self._callbacks = (PERF_SAMPLE_CALLBACK(self._on_record), PERF_LOST_CALLBACK(self._on_lost))
        # libbpf makes one for each CPU that is online and has room in the map, in order, and does not say which.
        while True:
            online = _online_cpus()
            self._buffer = library.perf_buffer__new(fd, pages, *self._callbacks, None, None)
            if not self._buffer:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if _online_cpus() == online:
                break
            library.perf_buffer__free(self._buffer)
        cpus = (cpu for cpu in online if cpu < entries)
        self.sources = {cpu: _FromLibbpf(self, index) for index, cpu in enumerate(cpus)}
        self.fd: int = library.perf_buffer__epoll_fd(self._buffer)

    def _on_record(self, _context: int, cpu: int, data: int, size: int) -> None:
        self.sources[cpu].block += struct.pack("=IHHI", 9, 0, PERF_HEAD + size, size) + ctypes.string_at(data, size)

    def _on_lost(self, _context: int, cpu: int, count: int) -> None:
        self.sources[cpu].block += struct.pack("=IHHQQ", 2, 0, 24, 0, count)

    def consume(self, index: int) -> None:
        with signals_held():  # what is raised in a callback cannot pass through libbpf, and would lose the record
            result = self._library.perf_buffer__consume_buffer(self._buffer, index)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def close(self) -> None:
        # libbpf would empty the map and stop the events, of the parent, too, where a forked child frees them.
        if self._buffer and os.getpid() == self._process:
            buffer, self._buffer = self._buffer, None
            self._library.perf_buffer__free(buffer)


class _FromLibbpf(Source):
    """What libbpf handed over of one CPU; it stays here until it is released."""

    def __init__(self, consumer: _Libbpf, index: int) -> None:
        self._consumer = consumer
        self._index = index
        self._start = 0
        self.block = bytearray()

    def copy(self, join: Join, most: int) -> tuple[Any, Layout, int]:
        self.release()
        self._consumer.consume(self._index)
        with memoryview(self.block) as waiting:
            block = join((waiting,))
        return block, perf_walk(memoryview(block), walker), self._start + len(block)

    def written(self) -> int:
        return self._start + len(self.block)  # libbpf does not tell of more before it hands it over

    def release(self) -> None:
        self.block = self.block[self.position - self._start :]
        self._start = self.position

    def close(self) -> None:
        self._consumer.close()


class PerfBuffer(Stream[R]):
    """A stream of records, from a map of type PERF_EVENT_ARRAY.

    It has no buffers until `open` or the first reading makes them, so that a map which serves another purpose, such as
    reading counters of the hardware, is left alone. What programs send before, the kernel refuses them with ENOENT: it
    is gone, and not in `lost`. Who wants it calls `open` before programs are attached. Records of one CPU are in order;
    those of several are not sorted. The kernel rounds sizes up: a record may have up to seven bytes more than its type.

    Kernel: 4.4.
    """

    _HEAD = PERF_HEAD
    _SLACK = 7
    _NOUN = "perf buffer"
    _LOOK_S = 0.2

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        super().__init__(name, kind, fd, sizes, key, value)
        self._cpus: dict[int, Source] = {}
        self._fds: tuple[int, ...] = ()
        self._retired: tuple[tuple[int, Source], ...] = ()  # of CPUs that went offline and are back
        self._seen: list[int] = []  # the CPUs that were online at the last look
        self._next_look = 0.0
        self._make_later: Callable[[int], _Mapped | None] | None = None

    def open(self, pages: int = _PAGES, *, wakeup_events: int = 1) -> None:
        """Make one buffer for each online CPU; does nothing where they are made.

        Before programs are attached, for no record of theirs to be refused.

        A CPU that comes online later gets one when the stream is read or waited on, which looks at most every 0.2
        seconds; what programs send there before is refused with ENOENT. Where only libbpf can order memory there is no
        looking. The buffer of a CPU that goes offline stays, also beside the new one when the CPU is back.

        Args:
            pages: Size of each buffer in pages, a power of two.
            wakeup_events: Records after which a reader that waits is woken; 1 where only libbpf can order memory.
        Raises:
            PermissionDeniedError: CAP_PERFMON is missing.
            MapError: The kernel refused, or *pages* is no power of two.
        Source: perf_event_open(2), PERF_COUNT_SW_BPF_OUTPUT.
        """
        self._check_usable("open")
        if self._cpus:
            return
        if pages < 1 or pages & (pages - 1):
            raise MapError(f"open map {self.name!r}: {pages} pages are no power of two.", name=self.name)
        try:
            with signals_held():
                self._cpus, self._fds = self._make(pages, wakeup_events)
        except OSError as error:
            number = error.errno or 0
            if number in (errno.EPERM, errno.EACCES):
                raise PermissionDeniedError(
                    f"open map {self.name!r}: {describe(number)}; this process lacks CAP_PERFMON. Run as root, or "
                    "grant the capability (setcap, AmbientCapabilities=).",
                    name=self.name,
                    errno=number,
                ) from error
            hint = " Ask for fewer pages, or raise RLIMIT_MEMLOCK." if number == errno.ENOMEM else ""
            raise MapError(
                f"open map {self.name!r}: {describe(number)}.{hint}", name=self.name, errno=number
            ) from error

    def _make(self, pages: int, wakeup_events: int) -> tuple[dict[int, Source], tuple[int, ...]]:
        helper = None if _ORDERED else walker()
        if not _ORDERED and helper is None:
            consumer = _Libbpf(self.fd, self.max_entries, pages, self._lib)
            return dict(consumer.sources), (consumer.fd,)
        made: dict[int, Source] = {}
        fds: list[int] = []
        self._seen = _online_cpus()
        self._next_look = time.monotonic() + self._LOOK_S
        try:
            for cpu in self._seen:
                source = self._make_one(cpu, pages, wakeup_events, helper)
                if source is not None:
                    made[cpu] = source
                    fds.append(source.fd)
        except BaseException:
            for opened in made.values():
                opened.close()
            raise
        self._make_later = lambda cpu: self._make_one(cpu, pages, wakeup_events, helper)
        return made, tuple(fds)

    def _make_one(self, cpu: int, pages: int, wakeup_events: int, helper: Library | None) -> _Mapped | None:
        """Return one CPU's buffer; None where the map has no room for the CPU, or it has gone offline meanwhile."""
        if cpu >= self.max_entries:
            return None
        try:
            source = (
                _Mapped(cpu, pages, wakeup_events) if helper is None else _Acquiring(cpu, pages, wakeup_events, helper)
            )
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None
        key, value = ctypes.c_uint32(cpu), ctypes.c_uint32(source.fd)
        result = self._lib.bpf_map_update_elem(self.fd, ctypes.byref(key), ctypes.byref(value), 0)
        if result:
            source.close()
            raise OSError(-result, os.strerror(-result))
        return source

    def _look(self) -> None:
        """Make the buffers of CPUs that came online since the last look.

        The kernel stops the event of a CPU that goes offline for good: when it is back it gets another buffer, and
        what the old one holds can still be read.
        """
        now = time.monotonic()
        if self._make_later is None or now < self._next_look:
            return
        self._next_look = now + self._LOOK_S
        with signals_held():
            seen, self._seen = self._seen, _online_cpus()
            for cpu in self._seen:
                if cpu not in seen:
                    self._add(cpu)

    def _add(self, cpu: int) -> None:
        assert self._make_later is not None
        try:
            source = self._make_later(cpu)
        except OSError as error:
            number = error.errno or 0
            raise MapError(
                f"open map {self.name!r} on CPU {cpu}, which came online: {describe(number)}. "
                "The other CPUs can still be read.",
                name=self.name,
                errno=number,
            ) from error
        if source is None:
            return
        if cpu in self._cpus:
            self._retired = (*self._retired, (cpu, self._cpus[cpu]))
        self._cpus = {**self._cpus, cpu: source}
        self._fds = (*self._fds, source.fd)
        for waiter in (self._waiter, *self._watchers):
            if waiter is not None:
                waiter.add(source.fd)

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that have a buffer; none before `open`."""
        return tuple(self._cpus)

    @property
    def lost(self) -> int:
        """Records so far that found no room in their CPU's buffer, as the kernel reports them between the others.

        Those that were sent where no buffer was are not among them: their program alone is told.
        """
        return sum(source.lost for source in self._opened())

    @property
    def lost_by_cpu(self) -> Mapping[int, int]:
        """The same for each CPU."""
        lost = {cpu: source.lost for cpu, source in self._cpus.items()}
        for cpu, source in self._retired:
            lost[cpu] += source.lost
        return lost

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when records arrive."""
        self.open()
        return self._await().fileno()

    def _descriptors(self) -> Sequence[int]:
        self.open()
        return self._fds

    def _sources(self) -> Sequence[Source]:
        self.open()
        self._look()
        return self._opened()

    def _opened(self) -> Sequence[Source]:
        return (*(source for _, source in self._retired), *self._cpus.values())
