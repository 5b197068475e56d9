# SPDX-License-Identifier: Apache-2.0
"""Buffers of many megabytes are read piece by piece, and the memory for that does not grow with them."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import poll_all
from ebpf_runtime.streams import ring_buffer
from tests.support.streams import LOOP_REFUSAL, RING, WAYS, burst, on_one_cpu, open_feed, read_by

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(LOOP_REFUSAL), reason=LOOP_REFUSAL)]

BYTES = 1 << 23
RECORDS = 150_001
PIECE = 1 << 18  # bytes
PIECES = 5 * PIECE  # two pieces, the one before and the next, and the lists of where records of mixed sizes start


@contextmanager
def filled(feed: ModuleType, name: str) -> Iterator[tuple[Any, Any]]:
    """Lend a probe with many records in one of its streams, and the stream."""
    with open_feed(feed, ring_bytes=BYTES) as probe, on_one_cpu():
        probe.bss.target = {"uniform": 0, "mixed": 1, "perf": 2}[name]
        stream = getattr(probe.maps, name)
        if name == "perf":
            stream.open(BYTES >> 12)
        burst(probe, RECORDS)
        assert probe.bss.dropped == 0
        yield probe, stream


def numbers(records: Iterator[Any]) -> Iterator[int]:
    for record in records:
        yield int.from_bytes(record[:8], "little") if isinstance(record, bytes) else record.number


async def awaited(stream: Any) -> list[int]:
    found = []
    async for record in stream:
        found.append(record.number)
        if len(found) == RECORDS:
            break
    return found


READINGS: dict[str, Callable[[Any], Iterator[int]]] = {
    "poll": lambda stream: numbers(stream.poll(0)),
    "for": lambda stream: islice(numbers(iter(stream)), RECORDS),
    "tuples": lambda stream: (record[0] for record in stream.poll_tuples(0)),
    "poller": lambda stream: (record.number for _, record in poll_all([stream], 0)),
    "next": lambda stream: (next(numbers(stream.poll(0))) for _ in range(RECORDS)),
}
FORMS = (
    ("uniform", "poll"), ("uniform", "for"), ("uniform", "tuples"), ("uniform", "poller"), ("uniform", "next"),
    ("mixed", "poll"), ("perf", "poll"), ("perf", "tuples"),
)  # fmt: skip
# Of a perf buffer libbpf hands over all that is in it.
BOUNDED = [(*form, way) for way in WAYS for form in FORMS if (form[0], way) != ("perf", "libbpf")]


@pytest.mark.any_kernel  # the memory is Python's
@pytest.mark.parametrize(("name", "form", "way"), BOUNDED)
def test_memory_is_bounded_by_the_piece(
    feed: ModuleType, name: str, form: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by(way, monkeypatch)
    with filled(feed, name) as (_, stream):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            wrong = sum(number != wanted for wanted, number in enumerate(READINGS[form](stream), 1))
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert wrong == 0
        assert list(stream.poll(0)) == []
        assert peak < PIECES + PIECE * (way == "libbpf")  # and what it handed over


def test_tasks_read_piece_by_piece(feed: ModuleType) -> None:
    with filled(feed, "uniform") as (_, stream):
        assert asyncio.run(awaited(stream)) == list(range(1, RECORDS + 1))


@pytest.mark.parametrize("name", ["uniform", "perf"])
def test_records_that_are_kept_outlive_their_piece_and_the_stream(feed: ModuleType, name: str) -> None:
    with filled(feed, name) as (_, stream):
        kept = [record for record in stream.poll(0) if record.number % 1000 == 1]
    assert [(record.number, record.twice) for record in kept] == [
        (number, 2 * number) for number in range(1, RECORDS + 1, 1000)
    ]


@pytest.mark.parametrize("name", ["uniform", "perf"])
@pytest.mark.parametrize("way", WAYS)
def test_a_poll_ends_where_it_began_to_read(
    feed: ModuleType, way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while records are delivered is for the next call, else a busy program would keep a poll for ever."""
    read_by(way, monkeypatch)
    with filled(feed, name) as (probe, stream):  # the perf buffers of other CPUs stay empty
        found = 0
        for _ in stream.poll(0):
            found += 1
            if found % 1000 == 0:
                burst(probe, 2000)
        assert RECORDS <= found < RECORDS + (1 << 18) // 40
        assert len(list(stream.poll(0))) == probe.bss.calls - found - probe.bss.dropped


@pytest.mark.parametrize("discard_every", [0, 3])
@pytest.mark.parametrize("form", ["poll", "read_batch"])
def test_a_reading_by_libbpf_ends_though_records_come(
    feed: ModuleType, form: str, discard_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two come for each that it hands over, so that it never finds the ring empty."""
    read_by("libbpf", monkeypatch)
    handed_over = ring_buffer._Libbpf._on_record
    left = 0

    def hand_over(source: Any, context: int, data: int, size: int) -> int:
        nonlocal left
        if left:
            left -= 1
            burst(probe, 2)
        return handed_over(source, context, data, size)

    monkeypatch.setattr(ring_buffer._Libbpf, "_on_record", hand_over)
    with open_feed(feed) as probe:
        probe.bss.discard_every = discard_every
        burst(probe, 1000)
        left = 50_000
        stream = probe.maps.uniform
        found = list(stream.poll(0)) if form == "poll" else stream.read_batch()
        # What is there, what comes before that is copied, and what comes before the last piece is, and lies between
        # records that are discarded: each time as much as there is room for.
        assert 600 < len(found) <= 4 * RING // 40
        left = 0
        assert len(list(stream.poll(0))) > 0


@pytest.mark.parametrize("name", ["uniform", "mixed", "perf"])
def test_the_kernel_has_its_memory_back_after_each_piece(feed: ModuleType, name: str) -> None:
    """Records that are left for later do not wait in memory of this process."""
    with filled(feed, name) as (probe, stream):
        records = stream.poll(0)
        next(records)
        assert sum(len(run.block) for run in stream._pending) < PIECES
        burst(probe, 1000)
        assert probe.bss.dropped == 0
        assert len(list(records)) + len(list(stream.poll(0))) == RECORDS + 1000 - 1
