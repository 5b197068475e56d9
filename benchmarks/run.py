#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Side by side with the way Python people go without this project: hand-written ctypes over libbpf.

Contenders of a job run in turn, round by round, in one process or as fresh processes, so that a machine that slows
down slows all of them. Ratios are of the fastest rounds; the table shows medians beside them.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
BURST = 1000
Contenders = dict[str, Callable[[], float]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Compare with hand-written ctypes.")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each job, default 9")
    parser.add_argument("--records", type=int, default=200_000, help="records of the ring buffer job")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    if os.geteuid():
        print("benchmarks/run.py: loading programs needs root. Run it with sudo.", file=sys.stderr)
        return 3
    for job in (start_up, ring_buffer):
        with job(options) as (title, reference, contenders):
            report(title, reference, race(contenders, options.rounds), options.json)
    return 0


def race(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round; one more round warms up, and each begins with another contender."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken = contenders[name]()
            if number:
                seconds[name].append(taken)
    return seconds


def report(title: str, reference: str, seconds: dict[str, list[float]], as_json: bool) -> None:
    base = min(seconds[reference])
    if not as_json:
        print(f"\n{title}\n  {'':44} {'min ms':>9} {'median ms':>10} {'x min of reference':>20}")
    for name, values in seconds.items():
        row = {"min_ms": 1e3 * min(values), "median_ms": 1e3 * statistics.median(values), "ratio": min(values) / base}
        if as_json:
            print(json.dumps({"job": title, "contender": name, "reference": reference, **row}))
        else:
            mark = "  (reference)" if name == reference else ""
            print(f"  {name:44} {row['min_ms']:9.2f} {row['median_ms']:10.2f} {row['ratio']:20.3f}{mark}")


@contextmanager
def start_up(_options: argparse.Namespace) -> Iterator[tuple[str, str, Contenders]]:
    """From the start of a process to its end."""
    programs = {
        "python -c pass": "pass",
        "import the generated module": "import ebpf_probes.oom_kill",
        "import numpy": "import numpy",
        "load and attach oom_kill": (
            "from ebpf_probes.oom_kill import OomKill\nwith OomKill.open_and_load() as probe: probe.attach()"
        ),
    }

    def timed(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", code], check=True)
        return time.perf_counter() - started

    yield "start-up, whole process", "python -c pass", {name: partial(timed, code) for name, code in programs.items()}


@contextmanager
def ring_buffer(options: argparse.Namespace) -> Iterator[tuple[str, str, Contenders]]:
    """Draining records of 64 bytes that are already in the ring."""
    with tempfile.TemporaryDirectory() as scratch:
        module = build(Path(scratch))
        opened = module.RingFeed.open()
        opened.rodata.wanted_pid = os.getpid()
        opened.rodata.wanted_call = GETPPID
        with opened.load() as probe:
            probe.attach()
            yield (
                f"ring buffer, {options.records} records",
                "ctypes callback, from_buffer_copy, one field",
                {
                    "poll(), one field of each record": refilled(probe, options.records, by_poll),
                    "read_array(), sum of one field": refilled(probe, options.records, by_array),
                    "borrow(), sum of one field": refilled(probe, options.records, by_borrowing),
                    "ctypes callback, from_buffer_copy, one field": refilled(probe, options.records, by_callback),
                    "ctypes callback, empty": refilled(probe, options.records, by_empty_callback),
                },
            )


def build(scratch: Path) -> ModuleType:
    """Build benchmarks/bpf/ring_feed.bpf.c into a package in *scratch* and import its module."""
    from ebpf_codegen.compiler import find_compiler
    from ebpf_codegen.pipeline import build_probe, write_probe

    built = build_probe(ROOT / "benchmarks" / "bpf" / "ring_feed.bpf.c", find_compiler(), [ROOT / "bpf" / "include"])
    package = scratch / "ring_feed_package"
    package.mkdir()
    (package / "__init__.py").touch()
    write_probe(built, package, embedded=True)
    sys.path.insert(0, str(scratch))
    return importlib.import_module("ring_feed_package.ring_feed")


def refilled(probe: Any, records: int, drain: Callable[[Any], int]) -> Callable[[], float]:
    """Return a contender that fills the ring, then times *drain*, and checks its sum."""

    def run() -> float:
        first = probe.bss.written
        for _ in range(records // BURST):
            os.getppid()
        count = probe.bss.written - first
        assert count == records
        assert probe.bss.dropped == 0
        started = time.perf_counter()
        total = drain(probe)
        taken = time.perf_counter() - started
        expected = sum(range(first, first + count))
        assert drain is by_empty_callback or total == expected, (total, expected)
        return taken

    return run


def by_poll(probe: Any) -> int:
    return sum(event.number for event in probe.maps.feed.poll(0))


def by_array(probe: Any) -> int:
    return int(probe.maps.feed.read_array()["number"].sum())


def by_borrowing(probe: Any) -> int:
    with probe.maps.feed.borrow() as array:
        return int(array["number"].sum())


class FeedEvent(ctypes.Structure):
    """The record as a user of ctypes would write it by hand."""

    _fields_ = (
        ("number", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("zero", ctypes.c_uint32),
        ("ballast", ctypes.c_uint64 * 6),
    )


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def consume(probe: Any, callback: Any) -> None:
    """Drain the ring with libbpf's consumer, as hand-written code does."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    libbpf.ring_buffer__new.restype = ctypes.c_void_p
    libbpf.ring_buffer__new.argtypes = (ctypes.c_int, CALLBACK, ctypes.c_void_p, ctypes.c_void_p)
    libbpf.ring_buffer__consume.argtypes = libbpf.ring_buffer__free.argtypes = (ctypes.c_void_p,)
    ring = libbpf.ring_buffer__new(probe.maps.feed.fd, callback, None, None)
    libbpf.ring_buffer__consume(ring)
    libbpf.ring_buffer__free(ring)


def by_callback(probe: Any) -> int:
    numbers: list[int] = []

    def on_record(_context: int, data: int, size: int) -> int:
        numbers.append(FeedEvent.from_buffer_copy(ctypes.string_at(data, size)).number)
        return 0

    consume(probe, CALLBACK(on_record))
    return sum(numbers)


def by_empty_callback(probe: Any) -> int:
    consume(probe, CALLBACK(lambda _context, _data, _size: 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
