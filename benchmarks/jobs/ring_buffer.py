# SPDX-License-Identifier: Apache-2.0
"""Draining records of 64 bytes that are already in the ring."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.jobs import Options
from benchmarks.probes import build
from benchmarks.race import Job, Sample

__all__ = ["drain"]

_GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
_BURST = 1000


@contextmanager
def drain(options: Options) -> Iterator[Job]:
    with tempfile.TemporaryDirectory() as scratch:
        module = build(Path(scratch), "ring_feed")
        opened = module.RingFeed.open()
        opened.rodata.wanted_pid = os.getpid()
        opened.rodata.wanted_call = _GETPPID
        with opened.load() as probe:
            probe.attach()
            drains = {
                "poll(), one field of each record": _by_poll,
                "read_array(), sum of one field": _by_array,
                "borrow(), sum of one field": _by_borrowing,
                "ctypes callback, from_buffer_copy, one field": _by_callback,
                "ctypes callback, empty": _by_empty_callback,
            }
            yield Job(
                f"ring buffer, {options.records} records",
                "ctypes callback, from_buffer_copy, one field",
                {name: _refilled(probe, options.records, function) for name, function in drains.items()},
            )


def _refilled(probe: Any, records: int, drain: Callable[[Any], int]) -> Callable[[], Sample]:
    """Return a contender that fills the ring, then times *drain*, and checks its sum."""

    def run() -> Sample:
        first = probe.bss.written
        for _ in range(records // _BURST):
            os.getppid()
        count = probe.bss.written - first
        assert count == records
        assert probe.bss.dropped == 0
        started = time.perf_counter()
        total = drain(probe)
        taken = time.perf_counter() - started
        expected = sum(range(first, first + count))
        assert drain is _by_empty_callback or total == expected, (total, expected)
        return Sample(taken)

    return run


def _by_poll(probe: Any) -> int:
    return sum(event.number for event in probe.maps.feed.poll(0))


def _by_array(probe: Any) -> int:
    return int(probe.maps.feed.read_array()["number"].sum())


def _by_borrowing(probe: Any) -> int:
    with probe.maps.feed.borrow() as array:
        return int(array["number"].sum())


class _FeedEvent(ctypes.Structure):
    """The record as a user of ctypes would write it by hand."""

    _fields_ = (
        ("number", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("zero", ctypes.c_uint32),
        ("ballast", ctypes.c_uint64 * 6),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def _consume(probe: Any, callback: Any) -> None:
    """Drain the ring with libbpf's consumer, as hand-written code does."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    libbpf.ring_buffer__new.restype = ctypes.c_void_p
    libbpf.ring_buffer__new.argtypes = (ctypes.c_int, _CALLBACK, ctypes.c_void_p, ctypes.c_void_p)
    libbpf.ring_buffer__consume.argtypes = libbpf.ring_buffer__free.argtypes = (ctypes.c_void_p,)
    ring = libbpf.ring_buffer__new(probe.maps.feed.fd, callback, None, None)
    libbpf.ring_buffer__consume(ring)
    libbpf.ring_buffer__free(ring)


def _by_callback(probe: Any) -> int:
    numbers: list[int] = []

    def on_record(_context: int, data: int, size: int) -> int:
        numbers.append(_FeedEvent.from_buffer_copy(ctypes.string_at(data, size)).number)
        return 0

    _consume(probe, _CALLBACK(on_record))
    return sum(numbers)


def _by_empty_callback(probe: Any) -> int:
    _consume(probe, _CALLBACK(lambda _context, _data, _size: 0))
    return 0
