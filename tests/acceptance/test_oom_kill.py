# SPDX-License-Identifier: Apache-2.0
"""The probe oom_kill against witnesses outside the project: the planted children, the kernel log, the cgroup's counter.

Each comparison is also run on a probe with one line changed for the worse, and must then fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ebpf_probes.oom_kill import OomKill
from tests.support.kernel_log import KernelLog, LoggedKill
from tests.support.kills import Kill, kill_one, victims_cgroup
from tests.support.sources import BPF, make_module

pytestmark = pytest.mark.acceptance

_PAUSE_S = 0.55  # the kernel dumps the task list at most ten times in five seconds
_CONSTRAINTS = {"MEMCG": "CONSTRAINT_MEMCG", "NONE": "CONSTRAINT_NONE"}


@dataclass
class Observation:
    """The same kills as seen by the probe and by each witness."""

    planted: list[Kill]
    logged: list[LoggedKill]
    counted: int | None
    events: list[Any]


def observe(probe_class: Any, kills: int) -> Observation:
    """Cause kills in a cgroup of our own and collect what everybody says of them."""
    opened = probe_class.open()
    opened.select_variant("raw_tp")  # the variant every supported kernel takes, and the one that must search
    with opened.load() as probe, victims_cgroup() as group, KernelLog() as log:
        probe.attach()
        planted = []
        for i in range(kills):
            planted.append(kill_one(group, score_adj=(37 * i) % 1000, comm=f"accept{i}"))
            time.sleep(_PAUSE_S)
        events = [event for event in probe.maps.oom_events.poll(5) if event.victim_cgroup == group.name]
        pids = {kill.pid for kill in planted}
        logged = [kill for kill in log.kills() if kill.pid in pids]
        return Observation(planted, logged, group.oom_kills(), events)


def same_count(seen: Observation) -> None:
    assert len(seen.events) == len(seen.planted)
    assert seen.counted is None or len(seen.events) == seen.counted


def same_children(seen: Observation) -> None:
    assert [event.victim_tgid for event in seen.events] == [kill.pid for kill in seen.planted]
    assert [event.victim_comm for event in seen.events] == [kill.comm for kill in seen.planted]


def same_adjusts(seen: Observation) -> None:
    assert [event.score_adj for event in seen.events] == [kill.score_adj for kill in seen.planted]


def dumped(seen: Observation) -> list[tuple[Any, LoggedKill]]:
    """Pair events with log entries that have numbers; a silent log would prove nothing."""
    by_pid = {kill.pid: kill for kill in seen.logged if kill.points is not None}
    pairs = [(event, by_pid[event.victim_tgid]) for event in seen.events if event.victim_tgid in by_pid]
    # Kills of others take from the kernel's allowance, which is the whole machine's.
    assert len(pairs) >= 0.4 * len(seen.planted), "the kernel log dumped too few kills; is vm.oom_dump_tasks 1?"
    return pairs


def same_totals(seen: Observation) -> None:
    assert [e.total_pages for e, _ in dumped(seen)] == [logged.total_pages for _, logged in dumped(seen)]


def same_points(seen: Observation) -> None:
    assert [e.score_points for e, _ in dumped(seen)] == [logged.points for _, logged in dumped(seen)]


def same_constraint(seen: Observation) -> None:
    pairs = dumped(seen)
    assert [_CONSTRAINTS.get(e.constraint.name) for e, _ in pairs] == [logged.constraint for _, logged in pairs]
    assert all(str(logged.cgroup).endswith(f"/{event.victim_cgroup}") for event, logged in pairs)


COMPARISONS = (same_count, same_children, same_adjusts, same_totals, same_points, same_constraint)

# comparison -> a change of the source that it must notice
MUTATIONS: dict[Callable[[Observation], None], tuple[str, str]] = {
    same_count: ("\tif (!first_report(victim))", "\tif (!first_report(victim) || BPF_CORE_READ(victim, tgid) % 2)"),
    same_children: ("event->victim_tgid = BPF_CORE_READ(victim, tgid);", "event->victim_tgid = 1;"),
    same_adjusts: ("event->score_adj = BPF_CORE_READ(victim, signal, oom_score_adj);", "event->score_adj = 0;"),
    same_totals: ("BPF_CORE_READ(control, totalpages);", "BPF_CORE_READ(control, totalpages) + 1;"),
    same_points: ("BPF_CORE_READ(control, chosen_points);", "BPF_CORE_READ(control, chosen_points) - 1;"),
    same_constraint: ("event->constraint = (__u32)BPF_CORE_READ(control, constraint);", "event->constraint = 0;"),
}


@pytest.fixture(scope="module")
def seen() -> Observation:
    return observe(OomKill, 23)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_23_kills_are_as_the_witnesses_say(seen: Observation, comparison: Callable[[Observation], None]) -> None:
    assert len(seen.planted) == len(seen.logged) == 23
    comparison(seen)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_a_wrong_probe_is_noticed(comparison: Callable[[Observation], None], tmp_path: Path) -> None:
    right, wrong = MUTATIONS[comparison]
    text = (BPF / "oom_kill.bpf.c").read_text()
    assert text.count(right) == 1
    mutant = tmp_path / "oom_kill.bpf.c"
    mutant.write_text(text.replace(right, wrong))
    (tmp_path / "oom_kill.h").write_text((BPF / "oom_kill.h").read_text())
    seen = observe(make_module(tmp_path, mutant).OomKill, 5)
    with pytest.raises(AssertionError) as caught:
        comparison(seen)
    assert "dumped too few" not in str(caught.value)
