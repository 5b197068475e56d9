# SPDX-License-Identifier: Apache-2.0
"""Perf buffers: one buffer on each CPU, opened when it is read."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import MapError, Poller, dtype
from ebpf_runtime.streams import perf_buffer
from tests.support.kernel import open_files
from tests.support.sources import make_module, write_source
from tests.support.streams import GETPPID, WAYS, burst, call, open_feed, read_by

pytestmark = pytest.mark.kernel

ONLINE = sorted(os.sched_getaffinity(0))
SAMPLE = 48  # header, size, 32 bytes, and what fills them up to a multiple of eight

MIXED = """
struct mixed {
	union {
		__u64 number;
		struct {
			__u32 low;
			__u32 high;
		};
	};
	__u32 small : 4;
	__u32 large : 12;
	__u16 cpu;
	__u32 zero;
};

const volatile __u32 wanted_pid = 0;
__u32 sent = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");
PERF_RECORD(perf, struct mixed);

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct mixed record = {};

	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx->args[1] != NUMBER)
		return 0;
	sent++;
	record.low = sent;
	record.high = 2 * sent;
	record.small = sent;
	record.large = 3 * sent;
	record.cpu = bpf_get_smp_processor_id();
	bpf_perf_event_output(ctx, &perf, 0xffffffffULL, &record, sizeof(record));
	return 0;
}
"""


@contextmanager
def on(cpu: int) -> Iterator[None]:
    """Run on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(params=WAYS)
def probe(feed: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    read_by(request.param, monkeypatch)
    with open_feed(feed) as loaded, on(ONLINE[0]):
        loaded.bss.target = 2
        yield loaded


def test_records_come_once_and_in_order_around_the_end(probe: Any) -> None:
    perf = probe.maps.perf
    perf.open(8)
    found: list[int] = []
    for _ in range(11):
        burst(probe, 397)
        found += [event.number for event in perf.poll(0)]
        burst(probe, 211)
        found += [item[0] for item in perf.poll_tuples(0)]
        burst(probe, 199)
        found += [event.number for event in perf.read_batch()]
    assert found == list(range(1, 11 * (397 + 211 + 199) + 1))
    assert (perf.lost, probe.bss.dropped) == (0, 0)


def test_arrays_own_the_records_of_all_cpus(probe: Any) -> None:
    pytest.importorskip("numpy")
    perf = probe.maps.perf
    perf.open(8)
    found: dict[int, list[int]] = {}
    total = 0
    for _ in range(9):
        for cpu in ONLINE:
            with on(cpu):
                burst(probe, 173)
                total += 173
        array = perf.read_array()
        assert array.flags.writeable
        assert (array["twice"] == 2 * array["number"]).all()
        for cpu in ONLINE:
            found.setdefault(cpu, []).extend(array["number"][array["cpu"] == cpu].tolist())
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sorted(chain(*found.values())) == list(range(1, total + 1))
    assert perf.read_array().size == 0


def test_arrays_of_records_with_unions_and_bitfields_have_one_layout(tmp_path: Path) -> None:
    """From one CPU, and from all of them."""
    pytest.importorskip("numpy")
    source = write_source(tmp_path, "perf_mixed", MIXED.replace("NUMBER", str(GETPPID)))
    made = make_module(tmp_path, source)
    opened = made.PerfMixed.open()
    opened.rodata.wanted_pid = os.getpid()
    sent = 0
    with opened.load() as probe:
        probe.attach()
        perf = probe.maps.perf
        perf.open(8)
        for cpus in (ONLINE[:1], ONLINE):
            expected = []
            for cpu in cpus:
                with on(cpu):
                    call(3)
                for number in range(sent + 1, sent + 4):
                    expected.append((number, 2 * number, number | 2 * number << 32, number % 16, 3 * number, cpu))
                sent += 3
            array = perf.read_array()
            assert array.dtype == dtype(made.Mixed)
            assert array.flags.writeable
            found = zip(
                array["low"].tolist(),
                array["high"].tolist(),
                array["number"].tolist(),
                (array["small"] & 15).tolist(),
                (array["large"] >> 4 & 0xFFF).tolist(),
                array["cpu"].tolist(),
                strict=True,
            )
            assert sorted(found) == expected


def test_a_full_buffer_reports_what_it_lost_on_each_cpu(probe: Any) -> None:
    perf = probe.maps.perf
    perf.open(2)
    assert perf.lost_by_cpu == dict.fromkeys(perf.cpus, 0)
    burst(probe, 1000)
    kept = [event.number for event in perf.poll(0)]
    assert kept == list(range(1, 2 * 4096 // SAMPLE + 1))
    assert probe.bss.dropped == 1000 - len(kept)
    call()  # the kernel reports between two records
    assert [event.number for event in perf.poll(0)] == [1001]
    assert perf.lost_by_cpu[ONLINE[0]] == perf.lost == 1000 - len(kept)
    burst(probe, 3)
    assert [event.number for event in perf.poll(0)] == [1002, 1003, 1004]


def test_no_buffer_is_made_before_one_reads(probe: Any) -> None:
    perf = probe.maps.perf
    before = open_files()
    assert (perf.cpus, perf.lost, perf.lost_by_cpu) == ((), 0, {})
    call(3)
    assert probe.bss.dropped == 3  # ENOENT: there is nowhere to write
    assert list(perf.poll(0)) == []
    assert perf.cpus == tuple(ONLINE)
    assert len(open_files() - before) >= len(ONLINE)
    call()
    assert [event.number for event in perf.poll(0)] == [4]
    perf.open(1)  # does nothing: they are made
    call()
    assert [event.number for event in perf.poll(0)] == [5]
    assert perf.lost == 0  # which is of buffers that were full


def test_what_is_opened_before_programs_are_attached_has_every_record(feed: ModuleType) -> None:
    opened = feed.Feed.open()
    opened.rodata.wanted_pid, opened.rodata.wanted_call = os.getpid(), GETPPID
    opened.bss.target = 2
    with opened.load() as probe, on(ONLINE[0]):
        perf = probe.maps.perf
        perf.open()
        probe.attach()
        call(3)
        assert [event.number for event in perf.poll(0)] == [1, 2, 3]
        assert (perf.lost, probe.bss.dropped) == (0, 0)


def test_a_cpu_that_is_offline_is_left_out(feed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = max(ONLINE) + 1
    monkeypatch.setattr(perf_buffer, "_online_cpus", lambda: [*ONLINE, absent])
    refused: list[tuple[int, int]] = []
    open_event = perf_buffer._open_event

    def note(cpu: int, wakeup_events: int) -> int:
        try:
            return open_event(cpu, wakeup_events)
        except OSError as error:
            refused.append((cpu, error.errno or 0))
            raise OSError(19, "ENODEV, as for a CPU that is there and offline") from error

    monkeypatch.setattr(perf_buffer, "_open_event", note)
    opened = feed.Feed.open()
    opened.resize("perf", absent + 1)
    with opened.load() as probe:
        probe.maps.perf.open()
        assert probe.maps.perf.cpus == tuple(ONLINE)
    assert [cpu for cpu, _ in refused] == [absent]


def test_a_map_with_less_room_than_cpus_uses_what_there_is(feed: ModuleType) -> None:
    opened = feed.Feed.open()
    opened.resize("perf", 1)
    with opened.load() as probe:
        probe.maps.perf.open()
        assert probe.maps.perf.cpus == (0,)


@pytest.mark.any_kernel
def test_what_cannot_be_opened_says_why(probe: Any) -> None:
    with pytest.raises(MapError) as caught:
        probe.maps.perf.open(3)
    assert str(caught.value) == "open map 'perf': 3 pages are no power of two."
    before = open_files()
    with pytest.raises(MapError) as caught:
        probe.maps.perf.open(1 << 40)
    assert str(caught.value).startswith("open map 'perf': ")
    assert open_files() == before


def test_closing_frees_every_buffer(feed: ModuleType) -> None:
    gc.collect()  # what exceptions of other tests hold on to
    before = open_files()
    for _ in range(20):
        with open_feed(feed) as probe:
            probe.bss.target = 2
            probe.maps.perf.open(1)
            call(3)
            assert len(list(probe.maps.perf.poll(1))) == 3
    assert open_files() == before
    with pytest.raises(MapError, match=r"^poll map 'perf': the probe is closed\.$"):
        list(probe.maps.perf.poll(0))
    with pytest.raises(MapError, match=r"^open map 'perf': the probe is closed\.$"):
        probe.maps.perf.open()


SWITCH = Path("/sys/devices/system/cpu/cpu1/online")


@contextmanager
def offline() -> Iterator[None]:
    """Keep CPU 1 offline; it is back afterwards, whatever happens."""
    try:
        try:
            SWITCH.write_text("0")
        except OSError as error:
            pytest.skip(f"CPU 1 cannot be switched off here: {error.strerror}")
        yield
    finally:
        if SWITCH.exists():
            SWITCH.write_text("1")


@pytest.fixture
def on_first(feed: ModuleType) -> Iterator[Any]:
    """A probe that writes to its perf buffer, which has no buffers yet; its work is done on CPU 0."""
    before = open_files()
    with open_feed(feed) as probe, on(0):
        probe.bss.target = 2
        yield probe
    assert open_files() == before


def test_a_poller_and_a_task_that_wait_see_a_cpu_that_comes_online(on_first: Any) -> None:
    """No other record wakes them."""

    async def first_number(perf: Any, wait: float) -> int:
        async def first() -> int:
            async for event in perf:
                return int(event.number)
            raise AssertionError

        task = asyncio.create_task(first())
        await asyncio.sleep(0)  # it waits
        SWITCH.write_text("1")
        await asyncio.sleep(wait)
        with on(1):
            burst(on_first, 1)
        return await asyncio.wait_for(task, 5)

    perf = on_first.maps.perf
    with offline():
        perf.open(8)
        assert asyncio.run(first_number(perf, 0.5)) == 1
    with offline(), Poller(perf) as poller:
        assert list(poller.poll(0.25)) == []
        SWITCH.write_text("1")
        assert list(poller.poll(0.25)) == []
        with on(1):
            burst(on_first, 1)
        # What is readable ends the wait, where no slice of it does.
        assert poller._waiter._epoll.poll(5)
        assert [event.number for _, event in poller.poll(5)] == [2]


def test_a_cpu_that_comes_online_gets_a_buffer_and_one_that_goes_keeps_it(on_first: Any) -> None:
    perf = on_first.maps.perf
    with offline():
        perf.open(8)
        assert 1 not in perf.cpus
        assert list(perf.poll(0.01)) == []  # makes the epoll that the CPU's buffer joins
    time.sleep(0.25)
    assert list(perf.poll(0)) == []
    assert 1 in perf.cpus
    with on(1):
        burst(on_first, 5)
    assert [event.number for event in perf.poll(5)] == [1, 2, 3, 4, 5]
    with on(1):
        burst(on_first, 3)
    with offline():
        time.sleep(0.25)
        assert [event.number for event in perf.poll(5)] == [6, 7, 8]
        assert 1 in perf.cpus
    time.sleep(0.25)
    assert list(perf.poll(0)) == []
    with on(1):
        burst(on_first, 2)
    assert [event.number for event in perf.poll(5)] == [9, 10]
    assert (perf.lost, perf.lost_by_cpu[1], on_first.bss.dropped) == (0, 0, 0)
