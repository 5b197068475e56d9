# SPDX-License-Identifier: Apache-2.0
"""The user ring buffer: records from Python to a BPF program.

Source: libbpf user_ring_buffer__new(), Linux kernel/bpf/ringbuf.c bpf_user_ringbuf_drain().
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ebpf_runtime.errors import MapError, RecordError, describe
from ebpf_runtime.handles import signals_held
from ebpf_runtime.maps import Map
from ebpf_runtime.rare_errors import MapFullError

from .waiting import SLICE_S

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["UserRingBuffer"]

R = TypeVar("R")

_HEAD = 8  # bytes before each record
_NO_ROOM = (errno.ENOSPC, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR)  # not yet, for whatever reason it stopped waiting


class _Ring:
    """libbpf's producer, and the memory that it writes to, mapped once more: a view of that keeps it mapped.

    Attributes:
        pointer: The producer.
        producer: The position behind the last record, in a view of one number.
        data: The records, twice in a row, so that each is contiguous.
    """

    def __init__(self, fd: int, size: int, library: Any) -> None:
        page = mmap.PAGESIZE
        self._map = mmap.mmap(fd, page + 2 * size, offset=page)
        self.pointer: Any = library.user_ring_buffer__new(fd, None)
        if not self.pointer:
            number = ctypes.get_errno()
            self._map.close()
            raise OSError(number, os.strerror(number))
        self._library = library
        self.producer = memoryview(self._map)[:8].cast("Q")
        self.data = memoryview(self._map)[page:]

    def close(self) -> None:
        self._library.user_ring_buffer__free(self.pointer)
        self.producer.release()
        self.data.release()
        with suppress(BufferError):  # a view is still held; the mapping goes when the view does
            self._map.close()
        del self._map


class UserRingBuffer(Map, Generic[R]):
    """Records that this process writes and a BPF program drains, by bpf_user_ringbuf_drain().

    One producer at a time: threads of this process take turns, and a forked child is refused. Closing the probe waits
    for no thread that writes; the ring is freed when that leaves.

    Kernel: 6.1.
    """

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        super().__init__(name, kind, fd, sizes, key, value)
        self._ring: _Ring | None = None
        self._process = os.getpid()
        self._turn = Lock()
        self._writers: set[int] = set()  # threads that have the turn or wait for it

    def submit(self, record: R, timeout: float | None = 0) -> None:
        """Write one record.

        Args:
            record: Of the bound type; bytes of any length where none is bound.
            timeout: Seconds to wait for room; 0 does not wait, None waits without limit. A program that drains wakes
                who waits. The turn of another thread is waited for as long, but 0.2 seconds at least.
        Raises:
            MapFullError: There was no room in time; errno ENOSPC.
            RecordError: It does not fit its type.
            MapError: The probe is closed, this is a forked child, the kernel refused, or a block of `reserve` is open,
                of this thread, or of another one and did not end in time; errno EBUSY.
        """
        data = self._encode(record)
        with self.reserve(len(data), timeout) as memory:
            memory[:] = data

    @contextmanager
    def reserve(self, size: int | None = None, timeout: float | None = 0) -> Iterator[memoryview]:
        """Lend memory of the ring to write one record into; it is submitted when the block ends.

        Where the block raises, the record is discarded. The memory is invalid after the block: what is kept of it, such
        as an array, looks at memory that later records use.

        Args:
            size: Bytes, from 0 to those of the ring less 8; by default those of the bound type.
            timeout: As for `submit`.
        Raises:
            MapFullError: There was no room in time; errno ENOSPC.
            MapError: As for `submit`, or that many bytes never fit.
        """
        if size is None:
            if self._value is None:
                raise RecordError(
                    f"write user ring buffer {self.name!r}: no record type is bound to it. Say how many bytes.",
                    name=self.name,
                )
            size = self._value.size
        elif not isinstance(size, int) or size < 0:
            raise MapError(
                f"write user ring buffer {self.name!r}: size {size!r} is not from 0 to {self.max_entries - _HEAD}.",
                name=self.name,
            )
        self._check_usable()
        deadline = None if timeout is None else time.monotonic() + timeout
        me = get_ident()
        if me in self._writers:
            raise self._busy("this thread is in a block of reserve(). Write before or after it")
        taken: list[bool] = []
        try:
            self._writers.add(me)
            self._take_turn(taken, deadline)
            ring = self._open()
            start = (ring.producer[0] + _HEAD) & (self.max_entries - 1)
            # Lifetime: libbpf's mapping of the ring, until user_ring_buffer__free, in _free().
            pointer = self._reserved(ring.pointer, size, deadline)
            memory = ring.data[start : start + size]
            submitted = False
            try:
                yield memory
                submitted = True
            finally:
                try:
                    memory.release()
                except BufferError:
                    pass  # an array is made of it, and keeps the mapping
                finally:
                    finish = self._lib.user_ring_buffer__submit if submitted else self._lib.user_ring_buffer__discard
                    if os.getpid() == self._process:  # a child that was forked in the block leaves it to its parent
                        finish(ring.pointer, pointer)
        finally:
            try:
                self._writers.discard(me)
            finally:
                if True in taken:
                    self._turn.release()
            if self.fd < 0:
                self._free()

    def _check_usable(self) -> None:
        if self.fd < 0:
            raise self._fail("write", 0)
        if os.getpid() != self._process:
            raise MapError(
                f"write user ring buffer {self.name!r}: it belongs to process {self._process}, and a forked child must "
                "not write it. Open the probe in the child.",
                name=self.name,
            )

    def _busy(self, why: str) -> MapError:
        return MapError(
            f"write user ring buffer {self.name!r}: {describe(errno.EBUSY)}; {why}.", name=self.name, errno=errno.EBUSY
        )

    def _take_turn(self, taken: list[bool], deadline: float | None) -> None:
        """Take the turn, and note that; where this is interrupted it is noted all the same."""
        # Nothing runs between acquire() and the note, as it would where an assignment follows a call.
        taken += map(self._turn.acquire, (False,))
        if True in taken:
            return
        until = None if deadline is None else max(deadline, time.monotonic() + SLICE_S)
        while True not in taken:
            self._check_usable()
            left = SLICE_S if until is None else min(until - time.monotonic(), SLICE_S)
            if left <= 0:
                raise self._busy("another thread is in a block of reserve(). Have it end the block, or wait longer")
            taken += map(self._turn.acquire, (True,), (left,))

    def _encode(self, record: object) -> bytes:
        if self._value is None:
            if not isinstance(record, bytes | bytearray | memoryview):
                raise RecordError(f"write user ring buffer {self.name!r}: {record!r} is not bytes.", name=self.name)
            return bytes(record)
        block = bytearray(self._value.size)
        self._value.pack(block, 0, record)
        return bytes(block)

    def _open(self) -> _Ring:
        if self.fd < 0:
            raise self._fail("write", 0)
        if self._ring is None:
            try:
                with signals_held():
                    self._ring = _Ring(self.fd, self.max_entries, self._lib)
            except OSError as error:
                raise self._fail("open", error.errno or 0) from error
        return self._ring

    def _reserved(self, ring: Any, size: int, deadline: float | None) -> int:
        """Return the address of reserved memory."""
        # libbpf takes 32 bits of it; as many bytes as the ring has never fit, either.
        asked = size if size < self.max_entries else self.max_entries
        pointer: Any = self._lib.user_ring_buffer__reserve(ring, asked)
        while not pointer:
            number = ctypes.get_errno()
            left = SLICE_S if deadline is None else min(deadline - time.monotonic(), SLICE_S)
            if number not in _NO_ROOM or left <= 0:
                break
            self._check_usable()
            pointer = self._lib.user_ring_buffer__reserve_blocking(ring, asked, max(1, round(left * 1000)))
        else:
            return int(pointer)
        if number in _NO_ROOM:
            raise MapFullError(
                f"write user ring buffer {self.name!r}: {describe(errno.ENOSPC)}; it has no room for {size} bytes. "
                "Have the program drain it, wait longer, or make it larger before load.",
                name=self.name,
                errno=errno.ENOSPC,
            )
        reason = f"a record of {size} bytes never fits" if number == errno.E2BIG else describe(number)
        raise MapError(f"write user ring buffer {self.name!r}: {reason}.", name=self.name, errno=number)

    def _close(self) -> None:
        super()._close()
        if os.getpid() != self._process:
            self._writers &= {get_ident()}  # the others are threads of the parent
        self._free()

    def _free(self) -> None:
        """Free the ring of a closed probe as soon as nobody writes: called by who closes, and by who leaves."""
        with signals_held():
            if self._writers:
                return
            ring, self._ring = self._ring, None
            if ring is not None:
                ring.close()
