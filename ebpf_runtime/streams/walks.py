# SPDX-License-Identifier: Apache-2.0
"""Walks over the records of a run: in Python, and by the compiled helper where the wheel has it.

Source: Linux kernel/bpf/ringbuf.c; perf_event_open(2), include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from ebpf_runtime.libbpf import Walked

from .runs import Layout, Segments, even

__all__ = ["PERF_HEAD", "RING_HEAD", "address", "compiled_ring_walk", "perf_walk", "ring_walk"]

RING_HEAD = 8  # bytes before the data of a record
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH = _DISCARDED - 1

PERF_HEAD = 12
_PERF_LOST = 2  # enum perf_event_type
_PERF_SAMPLE = 9

_LONG = 8  # records in a row that are worth a range
_PATIENCE = 64  # records walked one by one before looking for the next such row


def ring_walk(run: memoryview, helper: Callable[[], ctypes.CDLL | None]) -> Layout:
    """Return the layout of the committed records at the beginning of a ring buffer's run.

    The compiled *helper* is asked for where records of several sizes are found.
    """
    words = run.cast("I")
    end = len(run)
    found = Segments()
    position = patience = 0
    compiled = None
    while position < end:
        header = words[position >> 2]
        if header & _BUSY:
            break
        size = header & _LENGTH
        step = (size + 15) & ~7
        if not patience:
            count = even(words[position >> 2 :: step >> 2])
            behind = position + count * step
            whole = behind == end or bool(words[behind >> 2] & _BUSY)
            if not whole and compiled is None and (compiled := helper()) is not None:
                return compiled_ring_walk(compiled, run)
            if whole or count >= _LONG:
                if header & _DISCARDED:
                    found.discarded += count
                else:
                    found.add_even(range(position + RING_HEAD, behind, step), size)
                position = behind
                continue
            patience = _PATIENCE
        patience -= 1
        if header & _DISCARDED:
            found.discarded += 1
        else:
            found.add(position + RING_HEAD, size)
        position += step
    return found.layout(position)


def perf_walk(run: memoryview, helper: Callable[[], ctypes.CDLL | None]) -> Layout:
    """Return the layout of the samples of a perf buffer's run of whole records; *helper* as for `ring_walk`."""
    words, halves = run.cast("I"), run.cast("H")
    end = len(run)
    found = Segments()
    position = patience = 0
    compiled = None
    while position < end:
        kind, step = words[position >> 2], halves[(position + 6) >> 1]
        if step < RING_HEAD:
            break  # no record of the kernel; the rest cannot be read
        if kind != _PERF_SAMPLE:
            if kind == _PERF_LOST:
                found.lost += int.from_bytes(run[position + 16 : position + 24], "little")
            position += step
            continue
        size = words[(position + 8) >> 2]
        if not patience:
            count = min(
                even(words[position >> 2 :: step >> 2]),
                even(halves[(position + 6) >> 1 :: step >> 1]),
                even(words[(position + 8) >> 2 :: step >> 2]),
            )
            behind = position + count * step
            if behind != end and compiled is None and (compiled := helper()) is not None:
                return _compiled(compiled.ebpf_walker_perf, run, PERF_HEAD)
            if behind == end or count >= _LONG:
                found.add_even(range(position + PERF_HEAD, behind, step), size)
                position = behind
                continue
            patience = _PATIENCE
        patience -= 1
        found.add(position + PERF_HEAD, size)
        position += step
    return found.layout(position)


class _Buffer(ctypes.Structure):
    """Py_buffer of the stable ABI, the only way to the address of memory that may not be written."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def address(data: memoryview | bytes) -> int:
    """Return where bytes are in memory; they must stay alive, and mapped, while it is used."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(buffer), 0)
    found: int = buffer.buf or 0
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return found


def _compiled(walk: Any, run: memoryview, least: int) -> Layout:
    room = len(run) // least
    starts, sizes = (ctypes.c_uint32 * room)(), (ctypes.c_uint32 * room)()
    walked = Walked()
    walk(address(run), len(run), starts, sizes, ctypes.byref(walked))
    count = walked.count
    return Layout(
        memoryview(starts).cast("B").cast("I")[:count],
        memoryview(sizes).cast("B").cast("I")[:count],
        walked.end,
        discarded=walked.discarded,
        lost=walked.lost,
    )


def compiled_ring_walk(helper: ctypes.CDLL, run: memoryview) -> Layout:
    """Do the same as `ring_walk`; each header is read so that its data is seen after it, on every CPU."""
    return _compiled(helper.ebpf_walker_ring, run, RING_HEAD)
