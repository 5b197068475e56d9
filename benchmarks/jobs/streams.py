# SPDX-License-Identifier: Apache-2.0
"""Draining records that are already in a ring buffer or a perf buffer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from typing import Any

from benchmarks.jobs import Options
from benchmarks.peers import bcc_notes, bcc_worker, c_worker
from benchmarks.race import Bar, Job, Sample, Yardstick
from benchmarks.streams import feed, opened, walker_path
from benchmarks.workers import Worker, python_worker

__all__ = ["growth", "mixed", "perf", "readers", "ring"]

_C_EMPTY = "C ring_buffer__consume, empty callback"
_C_COPY = "C ring_buffer__consume, memcpy"
_C_PERF_EMPTY = "C perf_buffer__consume, empty callback"
_C_PERF_COPY = "C perf_buffer__consume, memcpy"
_BORROW = "borrow()"
_ARRAY = "read_array()"
_BORROW_BATCH = "borrow_batch(), no numpy"
_BATCH = "read_batch(), no numpy"
_VIEWS = "poll(), a view of each record, no numpy"
_FIELD = "poll(), one field of each record, no numpy"
_TUPLES = "poll_tuples(), no numpy"
_BCC = "bcc, typed, nine fields"
_BCC_EMPTY = "bcc, empty callback"
_RING_BYTES = 1 << 24


@contextmanager
def ring(options: Options) -> Iterator[Job]:
    with ExitStack() as stack:
        buffer = stack.enter_context(feed("uniform"))
        files = (buffer.fd,)
        c = stack.enter_context(c_worker("streams", "ring", buffer.fd, files=files))
        arguments = ("uniform", buffer.fd, _RING_BYTES, "")
        with_numpy, without = (
            stack.enter_context(python_worker(readers, *arguments, files=files, numpy=numpy)) for numpy in (True, False)
        )
        workers: dict[str, tuple[Worker, str]] = {
            _C_EMPTY: (c, "ring empty"),
            _C_COPY: (c, "ring copy"),
            _BORROW: (with_numpy, "borrow"),
            _ARRAY: (with_numpy, "array"),
            _BORROW_BATCH: (without, "borrow batch"),
            _BATCH: (without, "batch"),
            _VIEWS: (without, "views"),
            _FIELD: (without, "field"),
            _TUPLES: (without, "tuples"),
        }
        contenders = {name: buffer.drained(*worker, options.records) for name, worker in workers.items()}
        contenders |= _bcc(stack, "ring", options)
        bars = (
            Bar(_BORROW, _C_EMPTY, 1.5),
            Bar(_ARRAY, _C_COPY, 2),
            Bar(_BORROW_BATCH, _C_EMPTY, 1.5),
            Bar(_BATCH, _C_COPY, 2),
            Bar(_BORROW, _BCC, 1 / 250),
            Bar(_ARRAY, _BCC, 1 / 120),
            Bar(_VIEWS, _BCC, 1 / 10),
            Bar(_TUPLES, _BCC, 1 / 4),
        )
        title = f"ring buffer, {options.records} records of 64 bytes"
        yield Job(title, _C_EMPTY, contenders, bars, Yardstick(_BCC, _C_EMPTY, 431), bcc_notes())


@contextmanager
def mixed(options: Options) -> Iterator[Job]:
    records = options.records * 4 // 5
    python, compiled = "borrow_batch(), pure Python", "borrow_batch(), compiled helper"
    with ExitStack() as stack:
        buffer = stack.enter_context(feed("mixed"))
        files = (buffer.fd,)
        c = stack.enter_context(c_worker("streams", "ring", buffer.fd, files=files))
        without, helped = (
            stack.enter_context(
                python_worker(readers, "mixed", buffer.fd, _RING_BYTES, helper, files=files, numpy=False)
            )
            for helper in ("", str(walker_path()))
        )
        workers: dict[str, tuple[Worker, str]] = {
            _C_EMPTY: (c, "ring empty"),
            _C_COPY: (c, "ring copy"),
            python: (without, "borrow batch"),
            compiled: (helped, "borrow batch"),
            "read_batch(), compiled helper": (helped, "batch"),
            "poll(), a typed record each, pure Python": (without, "views"),
            "poll(), a typed record each, compiled helper": (helped, "views"),
        }
        contenders = {name: buffer.drained(*worker, records) for name, worker in workers.items()}
        bars = (
            Bar(python, _C_EMPTY, 40),
            Bar(compiled, _C_EMPTY, 1.5),
            Bar("read_batch(), compiled helper", _C_COPY, 2),
        )
        yield Job(f"ring buffer, {records} records of 64 and 88 bytes in random order", _C_EMPTY, contenders, bars)


@contextmanager
def perf(options: Options) -> Iterator[Job]:
    with ExitStack() as stack:
        contenders: dict[str, Callable[[], Sample]] = {}
        # A perf buffer belongs to who opened it, so each worker has a map of its own.
        buffer = stack.enter_context(feed("perf"))
        c = stack.enter_context(c_worker("streams", "perf", buffer.fd, files=(buffer.fd,)))
        for name, run in ((_C_PERF_EMPTY, "perf empty"), (_C_PERF_COPY, "perf copy")):
            contenders[name] = buffer.drained(c, run, options.records)
        for numpy, names in ((True, {_ARRAY: "array"}), (False, {_BATCH: "batch", _VIEWS: "views", _TUPLES: "tuples"})):
            buffer = stack.enter_context(feed("perf"))
            python = stack.enter_context(
                python_worker(readers, "perf", buffer.fd, 0, "", files=(buffer.fd,), numpy=numpy)
            )
            for name, run in names.items():
                contenders[name] = buffer.drained(python, run, options.records)
        contenders |= _bcc(stack, "perf", options)
        bars = (
            Bar(_ARRAY, _C_PERF_COPY, 2.5),
            Bar(_BATCH, _C_PERF_COPY, 2.5),
            Bar(_ARRAY, _BCC, 1 / 80),
        )
        title = f"perf buffer, {options.records} records of 64 bytes on one CPU"
        yield Job(title, _C_PERF_EMPTY, contenders, bars, Yardstick(_BCC, _C_PERF_EMPTY, 423), bcc_notes())


@contextmanager
def growth(options: Options) -> Iterator[Job]:
    """The same ring with more and more records in it, up to five times those of the other jobs."""
    size = 1 << 27
    with ExitStack() as stack:
        buffer = stack.enter_context(feed("uniform", size))
        files = (buffer.fd,)
        c = stack.enter_context(c_worker("streams", "ring", buffer.fd, files=files))
        python = stack.enter_context(python_worker(readers, "uniform", buffer.fd, size, "", files=files))
        contenders: dict[str, Callable[[], Sample]] = {}
        bars = []
        sizes = [options.records // 20, options.records // 2, options.records * 5]
        for records in sizes:
            for name, worker, run in (
                ("C, empty callback", c, "ring empty"),
                ("borrow()", python, "borrow"),
                ("poll()", python, "views"),
            ):
                contenders[f"{name}, {records}"] = buffer.drained(worker, run, records)
        # A record of the largest run may take at most 1.5 times what one of a smaller takes.
        for name, records in product(("borrow()", "poll()"), sizes[:-1]):
            bars.append(Bar(f"{name}, {sizes[-1]}", f"{name}, {records}", 1.5 * sizes[-1] / records))
        bars += [Bar(f"borrow(), {records}", f"C, empty callback, {records}", 1.5) for records in sizes[1:]]
        yield Job(
            "the same ring with more records in it",
            f"C, empty callback, {sizes[0]}",
            contenders,
            tuple(bars),
            notes=[
                "Small runs fit the caches, and are cheaper a record for all",
                "The smallest run of borrow() is mostly what a call costs, however many records there are",
            ],
            checked=False,
        )


def _bcc(stack: ExitStack, kind: str, options: Options) -> dict[str, Callable[[], Sample]]:
    bcc = stack.enter_context(bcc_worker("streams_bcc", kind, options.records))
    return {_BCC: bcc.contender("typed"), _BCC_EMPTY: bcc.contender("empty")} if bcc else {}


def readers(name: str, fd: str, size_bytes: str, helper: str) -> dict[str, Callable[[], Sample]]:
    """Return the ways to drain a stream; each answers with the number of its records."""
    stream = opened(name, int(fd), int(size_bytes), helper)
    ways = {
        "array": _array, "borrow": _borrow, "batch": _batch, "borrow batch": _borrow_batch, "views": _views,
        "field": _field, "tuples": _tuples,
    }  # fmt: skip
    return {way: partial(_timed, function, stream) for way, function in ways.items()}


def _timed(way: Callable[[Any], int], stream: Any) -> Sample:
    started = time.perf_counter()
    count = way(stream)
    return Sample(time.perf_counter() - started, count)


def _array(stream: Any) -> int:
    return len(stream.read_array())


def _borrow(stream: Any) -> int:
    with stream.borrow() as array:
        return len(array)


def _batch(stream: Any) -> int:
    return len(stream.read_batch())


def _borrow_batch(stream: Any) -> int:
    with stream.borrow_batch() as batch:
        return len(batch)


def _views(stream: Any) -> int:
    count = 0
    for _ in stream.poll(0):
        count += 1
    return count


def _field(stream: Any) -> int:
    count = total = 0
    for record in stream.poll(0):
        count += 1
        total += record.number
    return count


def _tuples(stream: Any) -> int:
    count = 0
    for _ in stream.poll_tuples(0):
        count += 1
    return count
