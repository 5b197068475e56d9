# SPDX-License-Identifier: Apache-2.0
"""Walks over the records of a run: in Python, and by the compiled helper where the wheel has it.

Source: Linux kernel/bpf/ringbuf.c; perf_event_open(2), include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from itertools import repeat
from typing import Any

from ebpf_runtime.libbpf import Library
from ebpf_runtime.libbpf_structures import Walked

from .runs import Layout, even
from .sources import ALL

__all__ = ["PERF_HEAD", "RING_HEAD", "Room", "address", "compiled_ring_walk", "perf_walk", "ring_walk"]

RING_HEAD = 8  # bytes before the data of a record
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH = _DISCARDED - 1

PERF_HEAD = 12
_PERF_LOST = 2  # enum perf_event_type
_PERF_SAMPLE = 9

_LONG = 64  # records in a row that are worth a range
_PATIENCE = 1024  # records walked one by one before looking for the next such row


class Room:
    """Memory for what the compiled helper notes, used again by each walk: fresh memory costs more than the walk."""

    def __init__(self) -> None:
        self._words = memoryview(b"").cast("I")

    def words(self, count: int) -> memoryview:
        """Return room for that many 32-bit numbers; of mapped memory only what is written to is ever there."""
        if count > len(self._words):
            size = -(-4 * count // mmap.PAGESIZE) * mmap.PAGESIZE
            self._words = memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)).cast("I")
        return self._words


def ring_walk(run: memoryview, helper: Callable[[], Library | None], room: Room | None = None) -> Layout:
    """Return the layout of the committed records that begin in a ring buffer's run, the last one maybe longer than it.

    The compiled *helper* is asked for where records of several sizes are found; their starts stay right until the next
    walk with the same *room*.
    """
    words = run.cast("I")
    end = len(run)
    position = discarded = 0
    # Most runs hold records of one size: then all headers are equal, but for those of records still being written.
    while position < end:
        header = words[position >> 2]
        if header & _BUSY:
            break
        step = ((header & _LENGTH) + 15) & ~7
        behind = position + even(words[position >> 2 :: step >> 2]) * step
        if header & _DISCARDED:
            discarded += (behind - position) // step
            position = behind
            continue
        if behind < end and not words[behind >> 2] & _BUSY:
            compiled = helper()
            return _mixed_ring_walk(words, end) if compiled is None else compiled_ring_walk(compiled, run, room)
        return Layout(range(position + RING_HEAD, behind + 1, step), header & _LENGTH, behind, discarded=discarded)
    return Layout((), 0, position, discarded=discarded)


def _mixed_ring_walk(words: memoryview, length: int) -> Layout:
    """Do the same for records of several sizes, without help."""
    starts: list[int] = []
    append = starts.append
    steps: dict[int, int] = {}  # header of a record to keep -> bytes to the next
    start, end = RING_HEAD, length + RING_HEAD
    discarded = 0
    while start < end:
        header = words[(start >> 2) - 2]
        if header & _BUSY:
            break
        step = ((header & _LENGTH) + 15) & ~7
        count = even(words[(start >> 2) - 2 :: step >> 2])
        if header & _DISCARDED:
            discarded += count
            start += count * step
            continue
        steps[header] = step
        if count >= _LONG:
            starts.extend(range(start, start + count * step, step))
            start += count * step
            continue
        try:
            for _ in repeat(None, _PATIENCE):
                step = steps[words[(start >> 2) - 2]]
                append(start)
                start += step
        except (KeyError, IndexError):
            pass  # a size not seen yet, a flag, or the end
    return Layout(starts, None, start - RING_HEAD, different=steps.keys(), back=RING_HEAD >> 2, discarded=discarded)


def perf_walk(
    run: memoryview, helper: Callable[[], Library | None], room: Room | None = None, most: int = ALL
) -> Layout:
    """Return the layout of a perf buffer's samples that begin in the first *most* bytes, all of them whole.

    *helper* and *room* are as for `ring_walk`.
    """
    end = min(len(run), most)
    if not end:
        return Layout((), 0, 0)
    words, halves = run.cast("I"), run.cast("H")
    step = halves[3]
    if words[0] == _PERF_SAMPLE:
        behind = even(run[:end].cast("Q")[:: step >> 3]) * step
        if behind >= end:
            return Layout(range(PERF_HEAD, behind + 1, step), words[2], behind)
    compiled = helper()
    if compiled is not None:
        return _compiled(compiled.ebpf_walker_perf, run[:end], PERF_HEAD, 1, room)
    starts: list[int] = []
    different: set[int] = set()
    position = lost = 0
    while position < end:
        kind, step = words[position >> 2], halves[(position + 6) >> 1]
        if step < RING_HEAD:
            break  # no record of the kernel; the rest cannot be read
        if kind == _PERF_SAMPLE:
            starts.append(position + PERF_HEAD)
            different.add(words[(position + 8) >> 2])
        elif kind == _PERF_LOST:
            lost += int.from_bytes(run[position + 16 : position + 24], "little")
        position += step
    return Layout(starts, None, position, different=different, back=1, lost=lost)


def address(data: memoryview | bytes) -> int:
    """Return where bytes are in memory, which may be read-only; they must stay alive, and mapped, while it is used.

    One call, because what is raised between PyObject_GetBuffer() and PyBuffer_Release() would keep the memory mapped.
    Source: CPython's stable ABI, PyObject_AsReadBuffer().
    """
    pointer, size = ctypes.c_void_p(), ctypes.c_ssize_t()
    ctypes.pythonapi.PyObject_AsReadBuffer(ctypes.py_object(data), ctypes.byref(pointer), ctypes.byref(size))
    return pointer.value or 0


def _compiled(walk: Any, run: memoryview, least: int, back: int, room: Room | None) -> Layout:
    """Have the compiled helper walk; *least* bytes or more are before each record, *back* words its size."""
    words = (room or Room()).words(len(run) // RING_HEAD + 1)
    walked = Walked()
    walk(address(run), len(run), address(words), ctypes.byref(walked))
    count = walked.count
    step = (walked.largest + least + 7) & ~7
    if count and walked.smallest == walked.largest and count * step == walked.end:
        return Layout(range(least, walked.end + 1, step), walked.largest, walked.end)
    return Layout(
        words[:count],
        None,
        walked.end,
        different={walked.smallest, walked.largest} if count else (),
        back=back,
        discarded=walked.discarded,
        lost=walked.lost,
    )


def compiled_ring_walk(helper: Library, run: memoryview, room: Room | None = None) -> Layout:
    """Do the same as `ring_walk`; each header is read so that its data is seen after it, on every CPU."""
    return _compiled(helper.ebpf_walker_ring, run, RING_HEAD, RING_HEAD >> 2, room)
