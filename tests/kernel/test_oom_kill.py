# SPDX-License-Identifier: Apache-2.0
"""The probe oom_kill on the running kernel: every variant it takes, on kills of our own children."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_probes.oom_kill import OomKill, OomKillConstraint, OomKillEvent, OomKillSource
from ebpf_runtime import AttachError, LoadError, MapError, OpenError, ProbeConfig, VariableError
from tests.support.kernel import assert_nothing_new, identifiers, kprobe_refusal, open_files, tracing_refusal
from tests.support.kills import LIMIT_BYTES, Kill, kill_one, victims_cgroup

pytestmark = pytest.mark.kernel

LIMIT_PAGES = LIMIT_BYTES // 4096
CO_RE_ONLY = ProbeConfig(allow_runtime_compiled_fallback=False)
REFUSALS: dict[str, Callable[[], str]] = {"fentry": tracing_refusal, "kprobe": kprobe_refusal, "raw_tp": str}


@pytest.fixture(params=REFUSALS)
def variant(request: pytest.FixtureRequest) -> str:
    """Each variant, unless the kernel itself says that it has no such hook."""
    name: str = request.param
    if reason := REFUSALS[name]():
        pytest.skip(reason)
    return name


def read(probe: OomKill, pids: set[int], timeout_s: float = 10) -> list[OomKillEvent]:
    """Return the events of our children, waiting until each has one."""
    events: list[OomKillEvent] = []
    deadline = time.monotonic() + timeout_s
    while {event.victim_tgid for event in events} < pids and time.monotonic() < deadline:
        events += [event for event in probe.maps.oom_events.poll(0.2) if event.victim_tgid in pids]
    return events


def load(variant: str) -> OomKill:
    opened = OomKill.open(CO_RE_ONLY)
    opened.select_variant(variant)
    return opened.load()


def test_each_variant_reports_every_kill_once(variant: str) -> None:
    with load(variant) as probe, victims_cgroup() as group:
        before_ns = time.monotonic_ns()
        probe.attach()
        planted = [kill_one(group, score_adj=10 * i, comm=f"victim{i}") for i in range(7)]
        after_ns = time.monotonic_ns()
        events = read(probe, {kill.pid for kill in planted})

        assert probe.variant == variant
        assert [Kill(e.victim_tgid, e.score_adj, e.victim_comm) for e in events] == planted
        for event in events:
            assert event.victim_pid == event.trigger_pid == event.trigger_tgid == event.victim_tgid
            assert event.trigger_comm == event.victim_comm
            assert before_ns < event.timestamp_ns < after_ns
            assert event.constraint is OomKillConstraint.MEMCG
            assert event.is_memcg
            assert not event.group_member
            assert event.victim_cgroup == event.trigger_cgroup == group.name
            assert event.victim_cgroup_id == event.trigger_cgroup_id == group.path.stat().st_ino
            assert event.total_pages == LIMIT_PAGES
            assert event.score_points > 0.8 * LIMIT_PAGES
            assert event.source is (OomKillSource.STACK if variant == "raw_tp" else OomKillSource.ARGUMENT)
            assert event.raw("pad0") == bytes(4)
        assert probe.maps.oom_lost[0] == (0,) * len(probe.maps.oom_lost[0])


def test_the_best_variant_that_works_is_chosen_by_trying() -> None:
    with OomKill.open_and_load() as probe:
        takes = [name for name, refusal in REFUSALS.items() if not refusal()]
        assert probe.variant == takes[0]
        assert [item.variant for item in probe.refused] == list(REFUSALS)[: list(REFUSALS).index(takes[0])]
        for item in probe.refused:
            assert item.errno > 0
            assert item.phase in ("load", "attach")
            assert item.reason


def test_a_selected_variant_that_the_kernel_refuses_says_so() -> None:
    refused = [name for name, refusal in REFUSALS.items() if refusal()]
    if not refused:
        pytest.skip("this kernel takes every variant")
    for name in refused:
        with pytest.raises((LoadError, AttachError)) as caught, load(name) as probe:
            probe.attach()
        assert f"oom_kill_{name}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.errno > 0


def test_without_the_stack_scan_events_are_recomputed() -> None:
    opened = OomKill.open()
    assert opened.rodata.scan_stack is True
    opened.rodata.scan_stack = False
    opened.select_variant("raw_tp")
    with opened.load() as probe, victims_cgroup() as group:
        assert probe.rodata.scan_stack is False
        probe.attach()
        kill = kill_one(group, score_adj=500)
        (event,) = read(probe, {kill.pid})
        assert event.source is OomKillSource.RECOMPUTED
        assert event.constraint is OomKillConstraint.UNKNOWN
        assert event.total_pages == 0
        # Resident memory: what the limit left of its own, and what the fork shares with us; no adjustment for 500.
        ours = int(Path("/proc/self/statm").read_text().split()[1])
        assert 0.8 * LIMIT_PAGES < event.score_points < 1.3 * LIMIT_PAGES + ours


def test_lost_events_are_counted() -> None:
    opened = OomKill.open()
    opened.select_variant("raw_tp")
    opened.resize("oom_events", 4096)
    with opened.load() as probe, victims_cgroup() as group:
        probe.attach()
        room = 4096 // (616 + 8)
        planted = [kill_one(group) for _ in range(room + 5)]
        events = read(probe, {kill.pid for kill in planted[:room]})
        assert [event.victim_tgid for event in events] == [kill.pid for kill in planted[:room]]
        assert sum(probe.maps.oom_lost[0]) == 5


def use_memory(group: MemoryCgroup, comm: str, size: int, score_adj: int, ready: int) -> None:
    """In a child: fill memory of *group*, say so, and wait for the end."""
    try:
        Path("/proc/self/comm").write_text(comm)
        Path("/proc/self/oom_score_adj").write_text(str(score_adj))
        group.add_self()
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
        os.write(ready, b"1")
        time.sleep(600)
    finally:
        os._exit(1)


def test_trigger_and_victim_are_told_apart() -> None:
    """A small process asks for memory in a group that a large one, easier to kill, has filled."""
    with load("raw_tp") as probe, victims_cgroup() as group:
        probe.attach()
        children = []
        reader, writer = os.pipe()
        try:
            for comm, size, score_adj in (("large", 16 << 20, 1000), ("small", 12 << 20, 0)):
                child = os.fork()
                if child == 0:
                    use_memory(group, comm, size, score_adj, writer)
                children.append(child)
                if comm == "large":  # the small one may be killed too, before the large one's memory is free
                    os.read(reader, 1)
            (event,) = read(probe, {children[0]})
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            os.close(reader)
            os.close(writer)
        victim, trigger = children
        assert (event.trigger_tgid, event.trigger_comm) == (trigger, "small")
        assert (event.victim_tgid, event.victim_comm, event.score_adj) == (victim, "large", 1000)
        assert event.source is OomKillSource.STACK


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Compare what the process and the kernel hold before and after the test."""
    OomKill.open_and_load().close()  # libbpf keeps what it learns of the kernel once
    files = open_files()
    before = identifiers()
    yield
    assert open_files() == files
    assert_nothing_new(before)


@pytest.mark.usefixtures("nothing_left")
def test_nothing_is_left_after_rounds_of_load_attach_close() -> None:
    for _ in range(5):
        with OomKill.open_and_load() as probe:
            probe.attach()
            assert list(probe.maps.oom_events.poll(0)) == []


@pytest.mark.usefixtures("nothing_left")
def test_nothing_is_left_after_failures() -> None:
    for name, refusal in REFUSALS.items():
        if refusal():
            with pytest.raises((LoadError, AttachError)), load(name) as probe:
                probe.attach()
    opened = OomKill.open(CO_RE_ONLY)
    opened.resize("oom_scan", (1 << 32) - 1)  # 64 TiB
    with pytest.raises(
        MapError, match=r"^create map 'oom_scan': E(NOMEM|2BIG), .*\. Make it smaller, by resize\(\) bef"
    ):
        opened.load()
    with pytest.raises(OpenError, match="resize map 'oom_scan': 0 is not from 1 to 4294967295"):
        opened.resize("oom_scan", 0)
    with pytest.raises(OpenError, match="resize map 'nosuch': there is none; there are oom_scan, "):
        opened.resize("nosuch", 1)


@pytest.mark.any_kernel
def test_phases() -> None:
    opened = OomKill.open()
    probe = opened.load()
    with pytest.raises(OpenError, match="it is closed, or was loaded before"):
        opened.load()
    with pytest.raises(
        OpenError,
        match=r"^select variant 'fentry' of 'oom_kill': the probe is loaded or closed\. Select it before load\.$",
    ):
        opened.select_variant("fentry")
    with pytest.raises(VariableError, match=r"set variable 'scan_stack': \.rodata is read-only once loaded"):
        probe.rodata.scan_stack = False
    assert probe.links.oom_kill_raw_tp is None
    probe.attach()
    attached = [name for name, link in probe.links if link is not None]
    assert attached == [name for name, _ in probe.programs]
    probe.detach()
    assert all(link is None for _, link in probe.links)
    probe.close()
    probe.close()
    with pytest.raises(VariableError, match="the probe is closed"):
        _ = probe.rodata.scan_stack
    with pytest.raises(AttachError, match="the probe is closed"):
        probe.attach()
    assert repr(probe).startswith("<OomKill closed")


@pytest.mark.any_kernel
def test_an_unclosed_probe_is_closed_with_a_warning() -> None:
    probe = OomKill.open_and_load()
    fd = probe.maps.oom_events.fd
    with pytest.warns(ResourceWarning, match="probe 'oom_kill' was never closed"):
        del probe
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
