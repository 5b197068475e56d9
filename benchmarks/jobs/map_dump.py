# SPDX-License-Identifier: Apache-2.0
"""Reading all of a hash map: to columns, and to Python objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.jobs import Options
from benchmarks.maps import BIG, KINDS, PER_CPU, SMALL, Kind, made, opened
from benchmarks.peers import bcc_notes, bcc_worker, c_worker
from benchmarks.race import Bar, Job, Sample, Yardstick
from benchmarks.workers import python_worker

__all__ = ["big", "per_cpu", "readers", "small"]

_C = "C bpf_map_lookup_batch"
_COLUMNS = "to_numpy()"
_FAST = "to_numpy(fast=True)"
_PLAIN_COLUMNS = "columns(), no numpy"
_OBJECTS = "list(items())"
_PLAIN_OBJECTS = "list(items()), no numpy"
_BCC_ITEMS = "bcc items()"
_BCC_BATCH = "bcc items_lookup_batch()"


@contextmanager
def small(options: Options) -> Iterator[Job]:
    bars = (
        Bar(_COLUMNS, _C, 1.15),
        Bar(_PLAIN_COLUMNS, _C, 1.15),
        Bar(_FAST, _C, 0.5),
        Bar(_COLUMNS, _BCC_ITEMS, 1 / 15),
        Bar(_OBJECTS, _C, 2),
        Bar(_PLAIN_OBJECTS, _C, 2),
    )
    with _dump(SMALL, options, bars, Yardstick(_BCC_ITEMS, _C, 26.1)) as job:
        yield job


@contextmanager
def big(options: Options) -> Iterator[Job]:
    bars = (
        Bar(_COLUMNS, _C, 1.15),
        Bar(_PLAIN_COLUMNS, _C, 1.15),
        Bar(_FAST, _C, 0.5),
        Bar(_COLUMNS, _BCC_ITEMS, 1 / 15),
        Bar(_OBJECTS, _C, 3.5),
        Bar(_PLAIN_OBJECTS, _C, 3.5),
    )
    with _dump(BIG, options, bars, Yardstick(_BCC_ITEMS, _C, 20.9)) as job:
        yield job


@contextmanager
def per_cpu(options: Options) -> Iterator[Job]:
    bars = (Bar(_COLUMNS, _C, 1.25), Bar(_COLUMNS, _BCC_BATCH, 0.5))
    with _dump(PER_CPU, options, bars, Yardstick(_BCC_ITEMS, _C, 15.7)) as job:
        yield job


@contextmanager
def _dump(kind: Kind, options: Options, bars: tuple[Bar, ...], yardstick: Yardstick) -> Iterator[Job]:
    with ExitStack() as stack:
        fd = stack.enter_context(made(kind, options.entries))
        numbers = (kind.key_size, kind.value_size, kind.cells, options.entries, 0)
        c = stack.enter_context(c_worker("maps", fd, *numbers, files=(fd,)))
        c.run("fill")
        with_numpy, without = (
            stack.enter_context(
                python_worker(readers, kind.name, fd, options.entries, files=(fd,), numpy=numpy)
            )
            for numpy in (True, False)
        )  # fmt: skip
        bcc = stack.enter_context(bcc_worker("maps_bcc", kind.name, options.entries, 0))
        contenders = {_C: c.contender("dump"), _COLUMNS: with_numpy.contender("columns")}
        if not kind.per_cpu:
            contenders[_FAST] = with_numpy.contender("fast")
        contenders |= {
            _PLAIN_COLUMNS: without.contender("plain columns"),
            _OBJECTS: with_numpy.contender("objects"),
            _PLAIN_OBJECTS: without.contender("objects"),
        }
        if bcc:
            contenders |= {_BCC_ITEMS: bcc.contender("items"), _BCC_BATCH: bcc.contender("batch")}
        title = f"all {options.entries} entries of {kind.key_size} + {kind.value_size} bytes"
        if kind.per_cpu:
            title += f" on {kind.cells} possible CPUs, summed in the arrays"
        known = yardstick if options.entries == Options.entries else None
        yield Job(title, _C, contenders, bars, known, bcc_notes())


def readers(kind_name: str, fd: str, entries: str) -> dict[str, Callable[[], Sample]]:
    """Return the ways to read a map; each is checked by the sum of the values' first words."""
    kind = KINDS[kind_name]
    entries_map = opened(kind, int(fd), int(entries))
    ways = {"columns": _columns, "fast": _fast, "plain columns": _plain_columns, "objects": _objects}
    return {name: partial(_timed, way, entries_map, kind) for name, way in ways.items()}


def _timed(way: Callable[[Any, Kind], Any], entries: Any, kind: Kind) -> Sample:
    started = time.perf_counter()
    read = way(entries, kind)
    seconds = time.perf_counter() - started
    return Sample(seconds, _total(read, kind))


def _columns(entries: Any, kind: Kind) -> Any:
    return entries.to_numpy(reduce="sum") if kind.per_cpu else entries.to_numpy()


def _fast(entries: Any, _kind: Kind) -> Any:
    return entries.to_numpy(fast=True)


def _plain_columns(entries: Any, _kind: Kind) -> Any:
    return entries.columns()


def _objects(entries: Any, _kind: Kind) -> Any:
    return list(entries.items())


def _total(read: Any, kind: Kind) -> int:
    """Return the sum of the values' first words."""
    if isinstance(read, list):
        if kind is BIG:
            return sum(value.number for _, value in read)
        return sum(sum(value) if kind.per_cpu else value for _, value in read)
    _keys, values = read
    if isinstance(values, memoryview):
        return sum(values.cast("B").cast("Q")[:: 8 if kind is BIG else 1])
    return int((values["number"] if kind is BIG else values).sum())
