# SPDX-License-Identifier: Apache-2.0
"""The buffers that the jobs of streams drain: filled here, drained by a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.probes import build
from benchmarks.race import Sample
from benchmarks.workers import Worker

__all__ = ["Feed", "feed", "opened", "walker_path"]

_GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
_BURST = 1000
_TARGETS = {"uniform": 1, "mixed": 2, "perf": 3}


@cache
def _module() -> ModuleType:
    return build(Path(tempfile.mkdtemp(prefix="ebpf-benchmarks-")), "stream_feed")


class Feed:
    """One buffer of a probe of its own."""

    def __init__(self, probe: Any, name: str) -> None:
        self._probe = probe
        self._target = _TARGETS[name]
        self.fd: int = getattr(probe.maps, name).fd

    def drained(self, worker: Worker, contender: str, records: int) -> Callable[[], Sample]:
        """Return a contender that has the buffer filled before the worker drains it."""

        def run() -> Sample:
            self._fill(records)
            sample = worker.run(contender)
            assert sample.check == records, (contender, sample, records)
            return sample

        return run

    def _fill(self, records: int) -> None:
        self._probe.bss.dropped = 0
        self._probe.bss.target = self._target
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})  # a perf buffer is that of the CPU that fills it
        for _ in range(records // _BURST):
            os.getppid()
        os.sched_setaffinity(0, before)
        self._probe.bss.target = 0
        assert self._probe.bss.dropped == 0, f"{self._probe.bss.dropped} records found no room"


@contextmanager
def feed(name: str, size_bytes: int = 0) -> Iterator[Feed]:
    """Load a probe for one of its buffers; the others stay small."""
    opened_probe = _module().StreamFeed.open()
    opened_probe.rodata.wanted_pid = os.getpid()
    opened_probe.rodata.wanted_call = _GETPPID
    for ring in ("uniform", "mixed"):
        if ring != name:
            opened_probe.resize(ring, 4096)
        elif size_bytes:
            opened_probe.resize(ring, size_bytes)
    with opened_probe.load() as probe:
        probe.attach()
        yield Feed(probe, name)


@cache
def walker_path() -> Path:
    """Return the compiled helper of the streams, made as for the wheels that have one."""
    library = Path(tempfile.mkdtemp(prefix="ebpf-benchmarks-"), "_walker.so")
    source = Path(__file__).resolve().parents[1] / "ebpf_runtime" / "_walker.c"
    options = ("-O2", "-fPIC", "-shared", "-nostdlib")
    command = [sys.executable, "-m", "ziglang", "cc", *options, str(source), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)
    return library


def opened(name: str, fd: int, size_bytes: int, helper: str) -> Any:
    """Return the stream over a map that another process made, with the compiled helper in a file or without."""
    from ebpf_runtime import PerfBuffer, RingBuffer, nested, one_of
    from ebpf_runtime.libbpf import load_walker
    from ebpf_runtime.streams import ring_buffer

    loaded = load_walker(helper) if helper else None
    vars(ring_buffer)["walker"] = lambda: loaded
    short, long = _records()
    if name == "perf":
        cpus = (os.cpu_count() or 1,)
        stream: PerfBuffer[Any] = PerfBuffer(name, "PERF_EVENT_ARRAY", fd, (4, 4, *cpus), None, nested(0, short))
        stream.open(8192)
        return stream
    record = nested(0, short) if name == "uniform" else one_of(nested(0, short), nested(0, long))
    return RingBuffer(name, "RINGBUF", fd, (0, 0, size_bytes), None, record)


def _records() -> tuple[Any, Any]:
    from ebpf_runtime import Record, array, nested, s32, text, u32, u64

    class FeedEvent(Record, c_name="struct feed_event", size=64):
        __slots__ = ()
        number: int = u64(0)
        pid: int = u32(8)
        cpu: int = u32(12)
        sent_bytes: int = u64(16)
        received_bytes: int = u64(24)
        cookie: int = u64(32)
        state: int = u32(40)
        result: int = s32(44)
        name: str = text(48, 16)

    class LongEvent(Record, c_name="struct long_event", size=88):
        __slots__ = ()
        event: FeedEvent = nested(0, FeedEvent)
        counters: tuple[int, ...] = array(64, u64(0), 3)

    return FeedEvent, LongEvent
