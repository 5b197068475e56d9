# SPDX-License-Identifier: Apache-2.0
"""Ring buffers: every way to read them, whatever their records' sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import unpack_from
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import MapError, RecordError
from tests.support.streams import (
    BY_NUMBER,
    MIXED_SIZES,
    RING,
    WAYS,
    Eight,
    Seventeen,
    SixtyFour,
    TwentyFour,
    burst,
    call,
    open_feed,
    read_by,
    typed,
)

pytestmark = pytest.mark.kernel


@pytest.fixture(params=WAYS)
def probe(feed: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    read_by(request.param, monkeypatch)
    with open_feed(feed) as loaded:
        yield loaded


def numbers_of(records: Any) -> list[int]:
    """Return the running numbers of mixed records, each checked for the size that goes with it."""
    found = [unpack_from("<Q", record)[0] for record in records]
    assert [len(record) for record in records] == [MIXED_SIZES[number % 4] for number in found]
    return found


def test_records_of_one_size_come_once_and_in_order_around_the_end(probe: Any) -> None:
    ring = probe.maps.uniform
    found: list[int] = []
    for _ in range(17):
        burst(probe, 499)
        found += [event.number for event in ring.poll(0)]
    assert found == list(range(1, 17 * 499 + 1))
    assert probe.bss.dropped == ring.discarded == ring.unread_bytes == 0


def test_every_field_of_a_record_is_its_own(probe: Any) -> None:
    burst(probe, 3)
    events = list(probe.maps.uniform.poll(0))
    assert [(event.number, event.twice, event.pid, event.name) for event in events] == [
        (number, 2 * number, os.getpid(), "feed") for number in (1, 2, 3)
    ]


def test_records_of_mixed_sizes_come_once_and_in_order_around_the_end(probe: Any) -> None:
    probe.bss.target = 1
    ring = probe.maps.mixed
    found: list[int] = []
    for _ in range(13):
        burst(probe, 601)
        found += numbers_of(list(ring.poll(0)))
        burst(probe, 97)
        found += numbers_of(ring.read_batch())
        burst(probe, 89)
        with ring.borrow_batch() as batch:
            found += numbers_of(batch)
    assert found == list(range(1, 13 * (601 + 97 + 89) + 1))
    assert probe.bss.dropped == 0


def test_records_of_several_types_come_each_as_its_own(probe: Any) -> None:
    with typed(probe) as ring:
        found: list[Any] = []
        for _ in range(7):
            burst(probe, 601)
            for record in ring.poll(0):
                found.append(record)
                if len(found) % 100 == 0:
                    break
            burst(probe, 211)
            found += ring.poll(0)
        assert [type(record) for record in found] == [BY_NUMBER[record.number % 4] for record in found]
        assert [record.number for record in found] == list(range(1, 7 * (601 + 211) + 1))
        assert {record.pid for record in found if isinstance(record, TwentyFour)} == {os.getpid()}
        assert {record.twice - 2 * record.number for record in found if isinstance(record, SixtyFour)} == {0}
        assert {record.first for record in found if isinstance(record, Seventeen)} == {ord("f")}


@pytest.mark.any_kernel
def test_records_of_several_types_that_happen_to_be_of_one(probe: Any) -> None:
    with typed(probe) as ring:
        found: list[Any] = []
        for _ in range(9):
            burst(probe, 1)
            found += ring.poll(0)
        assert found == [BY_NUMBER[number % 4].from_bytes(bytes(found[number - 1])) for number in range(1, 10)]
        assert [record.number for record in found] == list(range(1, 10))


@pytest.mark.any_kernel
def test_a_record_of_none_of_several_types_is_dropped_and_told_of(probe: Any) -> None:
    with typed(probe, SixtyFour, Seventeen, TwentyFour) as ring:
        burst(probe, 6)
        found: list[Any] = []
        with pytest.raises(RecordError) as caught:
            ring.consume(found.append)
        assert str(caught.value) == (
            "read ring buffer 'typed': a record of 8 bytes is no SixtyFour | Seventeen | TwentyFour of 17. "
            "Bind the right record and run tools/regen."
        )
        assert [record.number for record in found] == [1, 2, 3]
        assert [record.number for record in ring.poll(0)] == [5, 6]
    with typed(probe, Eight, SixtyFour, TwentyFour) as ring:
        burst(probe, 3)
        with pytest.raises(RecordError) as caught:
            list(ring.poll(0))
        assert str(caught.value) == (
            "read ring buffer 'typed': a record of 17 bytes is none of Eight (8), SixtyFour (64), TwentyFour (24). "
            "Rebuild the probe."
        )
        assert [(type(record), record.number) for record in ring.poll(0)] == [(Eight, 8), (TwentyFour, 9)]


@pytest.mark.any_kernel
def test_a_batch_is_a_sequence_over_its_block(probe: Any) -> None:
    probe.bss.target = 1
    burst(probe, 6)
    batch = probe.maps.mixed.read_batch()
    assert (len(batch), list(batch.sizes)) == (6, [24, 64, 17, 8, 24, 64])
    assert bytes(batch.data[batch.starts[2] : batch.starts[2] + batch.sizes[2]]) == batch[2]
    assert numbers_of(batch[1:5:2]) == [2, 4]
    assert batch[-1] == batch[5]
    assert repr(batch) == f"<RecordBatch of 6 records in {len(batch.data)} bytes>"
    with pytest.raises(IndexError):
        batch[6]
    probe.bss.target = 0
    burst(probe, 2)
    batch = probe.maps.uniform.read_batch()
    assert [event.number for event in batch] == [7, 8]
    assert list(batch.sizes) == [32, 32]
    assert list(probe.maps.uniform.read_batch()) == []
    with probe.maps.uniform.borrow_batch() as batch:
        assert list(batch) == []


@pytest.mark.parametrize("every", [2, 7, 64])
def test_discarded_records_are_left_out_and_counted(probe: Any, every: int) -> None:
    pytest.importorskip("numpy")
    ring = probe.maps.uniform
    probe.bss.discard_every = every
    found: list[int] = []
    for _ in range(6):
        burst(probe, 331)
        found += [event.number for event in ring.poll(0)]
        burst(probe, 101)
        found += ring.read_array()["number"].tolist()
        burst(probe, 103)
        with ring.borrow() as array:
            found += array["number"].tolist()
        burst(probe, 107)
        found += [event.number for event in ring.read_batch()]
    total = 6 * (331 + 101 + 103 + 107)
    assert found == [number for number in range(1, total + 1) if number % every]
    if type(ring._ring).__name__ != "_Libbpf":  # libbpf passes over them without a word
        assert ring.discarded == total // every


def test_a_full_ring_drops_what_comes_and_keeps_what_is_there(probe: Any) -> None:
    room = RING // 40  # 32 bytes and a header
    burst(probe, 4000)
    assert probe.bss.dropped in (4000 - room, 4000 - room + 1)
    kept = 4000 - probe.bss.dropped
    assert probe.maps.uniform.unread_bytes == kept * 40
    assert [event.number for event in probe.maps.uniform.poll(0)] == list(range(1, kept + 1))
    burst(probe, 5)
    assert [event.number for event in probe.maps.uniform.poll(0)] == list(range(4001, 4006))


@pytest.mark.any_kernel
def test_what_an_iterator_left_comes_first_in_every_form(probe: Any) -> None:
    pytest.importorskip("numpy")
    ring = probe.maps.uniform

    def leave(first: int) -> None:
        """Send four records and take one of them."""
        burst(probe, 4)
        assert next(ring.poll(0)).number == first
        burst(probe, 2)

    leave(1)
    assert ring.read_array()["number"].tolist() == [2, 3, 4, 5, 6]
    leave(7)
    with ring.borrow() as array:
        assert array["number"].tolist() == [8, 9, 10, 11, 12]
    leave(13)
    assert [event.number for event in ring.read_batch()] == [14, 15, 16, 17, 18]
    leave(19)
    with ring.borrow_batch() as batch:
        assert [event.number for event in batch] == [20, 21, 22, 23, 24]
    leave(25)
    assert [item[0] for item in ring.poll_tuples(0)] == [26, 27, 28, 29, 30]
    leave(31)
    taken: list[Any] = []
    assert ring.consume(taken.append) == 5
    assert [event.number for event in taken] == [32, 33, 34, 35, 36]
    assert list(ring.poll(0)) == []
    assert ring.read_array().size == 0


@pytest.mark.any_kernel
def test_tuples_have_an_item_for_each_field(probe: Any) -> None:
    burst(probe, 3)
    found = list(probe.maps.uniform.poll_tuples(0))
    cpus = [cpu for _, _, cpu, _, _ in found]
    assert found == [
        (number, os.getpid(), cpu, b"feed\0\0\0\0", 2 * number) for number, cpu in zip((1, 2, 3), cpus, strict=True)
    ]
    with pytest.raises(RecordError) as caught:
        list(probe.maps.mixed.poll_tuples(0))
    assert str(caught.value) == "read ring buffer 'mixed' as tuples: no record type is bound to it. Use poll()."


@pytest.mark.any_kernel
def test_a_callback_that_raises_loses_no_record(probe: Any) -> None:
    seen: list[int] = []

    def note(event: Any) -> None:
        seen.append(event.number)
        if event.number % 3 == 0:
            raise ZeroDivisionError

    burst(probe, 8)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            probe.maps.uniform.consume(note)
    assert probe.maps.uniform.consume(note) == 2
    assert seen == list(range(1, 9))
    assert probe.maps.uniform.consume(note, timeout=0.01) == 0


@pytest.mark.any_kernel
def test_a_block_that_raises_sees_the_borrowed_records_again(probe: Any) -> None:
    pytest.importorskip("numpy")
    ring = probe.maps.uniform
    burst(probe, 5)
    for borrow in (ring.borrow, ring.borrow_batch):
        with pytest.raises(ZeroDivisionError), borrow():
            1 / 0  # noqa: B018
    burst(probe, 1)
    with ring.borrow() as array:
        assert array["number"].tolist() == [1, 2, 3, 4, 5, 6]
    assert list(ring.poll(0)) == []


@pytest.mark.any_kernel
def test_nothing_else_reads_while_records_are_lent(probe: Any) -> None:
    numpy = pytest.importorskip("numpy")
    ring = probe.maps.uniform
    burst(probe, 3)
    readings = {
        "poll": lambda: list(ring.poll(0)),
        "read": ring.read_array,
        "borrow from": lambda: ring.borrow().__enter__(),
    }
    with ring.borrow() as array:
        for action, read in readings.items():
            with pytest.raises(MapError) as caught:
                read()
            assert str(caught.value) == (
                f"{action} map 'uniform': it is being read; a ring buffer has one consumer at a time. "
                "Read it in one thread, and not inside a block of borrow()."
            )
        assert numpy.array_equal(array["number"], [1, 2, 3])
    call()
    assert [event.number for event in ring.poll(0)] == [4]


@pytest.mark.any_kernel
def test_an_untyped_ring_gives_no_array(probe: Any) -> None:
    pytest.importorskip("numpy")
    for read in (probe.maps.mixed.read_array, lambda: probe.maps.mixed.borrow().__enter__()):
        with pytest.raises(RecordError) as caught:
            read()
        assert str(caught.value) == "read ring buffer 'mixed': no record type is bound to it."


def test_arrays_and_batches_outlive_the_probe(feed: ModuleType) -> None:
    pytest.importorskip("numpy")
    with open_feed(feed) as probe:
        burst(probe, 3)
        array = probe.maps.uniform.read_array()
        burst(probe, 2)
        batch = probe.maps.uniform.read_batch()
        burst(probe, 3)
        borrowed = probe.maps.uniform.borrow()
        with borrowed as lent:
            probe.close()
            assert lent["number"].tolist() == [6, 7, 8]
        array["number"] += 1
    assert array["number"].tolist() == [2, 3, 4]
    assert [event.number for event in batch] == [4, 5]
    with pytest.raises(MapError, match=r"^read map 'uniform': the probe is closed\.$"):
        probe.maps.uniform.read_batch()
    with pytest.raises(MapError, match=r"^ask map 'uniform': the probe is closed\.$"):
        probe.maps.uniform.unread_bytes  # noqa: B018
