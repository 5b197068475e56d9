# SPDX-License-Identifier: Apache-2.0
"""Every variant of oom_kill that the kernel takes at once, on the same kills; run inside a guest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_probes.oom_kill import OomKill, OomKillConstraint, OomKillEvent, OomKillSource
from tests.support.kernel import tracing_refusal
from tests.support.kills import LIMIT_BYTES, Kill, kill_one, victims_cgroup
from tests.vm.matrix import note_equal

pytestmark = pytest.mark.kernel

SOURCES = {
    "fentry": OomKillSource.ARGUMENT,
    "kprobe": OomKillSource.ARGUMENT,
    "raw_tp": OomKillSource.STACK,
}
if tracing_refusal():  # arm64 before 6.4 has no trampolines; whoever boots the guest knows what must be there
    del SOURCES["fentry"]


def load(variant: str) -> OomKill:
    opened = OomKill.open()
    opened.select_variant(variant)
    return opened.load()


@pytest.fixture
def probes() -> Iterator[dict[str, OomKill]]:
    """One attached probe of each variant."""
    with ExitStack() as cleanup:
        loaded = {variant: cleanup.enter_context(load(variant)) for variant in SOURCES}
        for probe in loaded.values():
            probe.attach()
        yield loaded


@pytest.mark.parametrize("variant", SOURCES)
def test_variant_loads(variant: str) -> None:
    with load(variant) as probe:
        assert probe.variant == variant
        assert probe.refused == ()


@pytest.mark.parametrize("variant", SOURCES)
def test_variant_attaches(variant: str) -> None:
    with load(variant) as probe:
        probe.attach()
        attached = [name for name, link in probe.links if link is not None]
        assert f"oom_kill_{variant}" in attached
        assert attached == [name for name, _ in probe.programs]


def read(probe: OomKill, planted: list[Kill]) -> list[OomKillEvent]:
    """Return the events of our children, waiting until each has one, and then for those that must not come."""
    pids = {kill.pid for kill in planted}
    events: list[OomKillEvent] = []
    deadline = time.monotonic() + 20
    while {event.victim_tgid for event in events} < pids and time.monotonic() < deadline:
        events += [event for event in probe.maps.oom_events.poll(0.5) if event.victim_tgid in pids]
    events += [event for event in probe.maps.oom_events.poll(0.5) if event.victim_tgid in pids]
    assert set(probe.maps.oom_lost[0]) == {0}
    return events


def compared(event: OomKillEvent) -> dict[str, Any]:
    """Return the fields that must not depend on the variant."""
    return {name: value for name, value in event.asdict().items() if name not in ("timestamp_ns", "source")}


def assert_equal(streams: dict[str, list[OomKillEvent]], planted: list[Kill]) -> None:
    """Fail unless each variant tells the same of every planted kill."""
    for variant, events in streams.items():
        assert {event.source for event in events} == {SOURCES[variant]}
        found = sorted((event.victim_tgid, event.score_adj, event.victim_comm) for event in events)
        assert found == sorted((kill.pid, kill.score_adj, kill.comm) for kill in planted), variant
        for event in events:
            assert event.constraint is OomKillConstraint.MEMCG
            assert event.total_pages == LIMIT_BYTES // 4096
    reference = [compared(event) for event in streams["raw_tp"]]
    for variant, events in streams.items():
        assert [compared(event) for event in events] == reference, variant


def test_kills_are_equal_in_all_variants(probes: dict[str, OomKill]) -> None:
    with victims_cgroup() as group:
        planted = [kill_one(group, score_adj=100 * i - 200, comm=f"victim-{i}") for i in range(5)]
        streams = {variant: read(probe, planted) for variant, probe in probes.items()}
        assert_equal(streams, planted)
        for event in streams["raw_tp"]:
            assert event.victim_cgroup == group.name
            assert not event.group_member
    note_equal("oom_kill", streams, "kills")


@contextmanager
def bystander(group: MemoryCgroup, *, score_adj: int, comm: str) -> Iterator[Kill]:
    """A small process in *group* that only waits; it is gone after the block."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            Path("/proc/self/comm").write_text(comm)
            Path("/proc/self/oom_score_adj").write_text(str(score_adj))
            group.add_self()
            os.write(writer, b"1")
            time.sleep(600)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"1"
        yield Kill(pid, score_adj, comm)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_group_kill_is_equal_in_all_variants(probes: dict[str, OomKill]) -> None:
    with victims_cgroup() as group:
        switch = group.path / "memory.oom.group"
        if not switch.exists():
            pytest.skip("cgroup version 1 has no memory.oom.group")
        switch.write_text("1")
        with (
            bystander(group, score_adj=-300, comm="bystander-1") as first,
            bystander(group, score_adj=-400, comm="bystander-2") as second,
        ):
            hog = kill_one(group, score_adj=500, comm="hog")
            planted = [hog, first, second]
            streams = {variant: read(probe, planted) for variant, probe in probes.items()}
            for kill in (first, second):  # the group's counter is no witness: the kernel counts its first victim twice
                ended = os.waitid(os.P_PID, kill.pid, os.WEXITED | os.WNOWAIT)
                assert ended is not None
                assert ended.si_status == signal.SIGKILL
        assert_equal(streams, planted)
        for events in streams.values():
            assert {e.victim_tgid: e.group_member for e in events} == {
                hog.pid: False,
                first.pid: True,
                second.pid: True,
            }
            assert {e.trigger_tgid for e in events} == {hog.pid}
            assert len({e.score_points for e in events}) == 1
