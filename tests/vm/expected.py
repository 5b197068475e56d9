# SPDX-License-Identifier: Apache-2.0
"""What a guest must have found, whatever it said of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.vm.matrix import Answers
from tests.vm.results import Outcomes

__all__ = [
    "assert_compared",
    "assert_passed",
    "assert_variants_equal",
    "numbers",
    "works_on",
]

_FLOOR = re.compile(r"\((?:before|from) (?:Linux )?(\d+)\.(\d+)")


def numbers(series: str) -> tuple[int, ...]:
    """Return a kernel series as numbers that can be compared."""
    return tuple(map(int, series.split(".")))


def works_on(series: str, architecture: str = "amd64") -> dict[str, set[str]]:
    """Return the variants of each probe that a kernel takes, as was proven once and for all."""
    entry = {"fentry"} if architecture == "amd64" or numbers(series) >= (6, 4) else set()
    since_6_3 = {"tp_btf_send_length"} if numbers(series) >= (6, 3) else set()
    since_5_12 = {"task_vma"} if numbers(series) >= (5, 12) else set()
    return {
        "oom_kill": entry | {"kprobe", "raw_tp"},
        "tcp_queue_length": entry | {"kprobe", "kprobe_only", "tp_btf_probe", "iter"} | since_6_3,
        "ebpf_inventory": {"task_file"} | since_5_12,
    }


def assert_passed(
    outcomes: Outcomes, columns: Iterable[str], skipped: set[str], series: str, variants: Iterable[str]
) -> None:
    """Fail if a test failed, was skipped though the kernel is new enough, or one of those behind *columns* did not run.

    Args:
        columns: Of the table, which must have a test passed for each of *variants* of `oom_kill`.
        skipped: Tests that may be skipped whatever the kernel's age.
    """
    assert not outcomes.names("failed") | outcomes.names("error")
    for name in outcomes.names("skipped") - skipped:
        floor = _FLOOR.search(outcomes.reasons.get(name, ""))
        assert floor, f"{name} was skipped, and no kernel is named that need not be: {outcomes.reasons.get(name)}"
        assert numbers(series) < tuple(map(int, floor.groups())), f"{name}: {floor[0]}"
    wanted = [(variant, column) for column in columns for variant in variants]
    cells = {f"{variant} {column}": outcomes.cell(column, variant) for variant, column in wanted}
    assert cells == dict.fromkeys(cells, "passed")


def assert_variants_equal(outcomes: Outcomes) -> None:
    """Fail if a test that compares variants, or one that reads by the best of them, did not pass."""
    assert {
        "test_every_variant_is_tried",
        "test_kills_are_equal_in_all_variants",
        "test_tcp_variants_are_equal",
        "test_tcp_variants_poll_the_same",
        "test_what_loads_by_default_reads_and_what_does_not_says_why",
    } <= outcomes.names("passed")


def assert_compared(answers: Answers, cgroup: str) -> None:
    """Fail unless the readings of every variant that works were compared with those of another."""
    for probe in answers.variants:
        for variant in answers.works(probe):
            assert answers.compared(probe, variant) != "not compared", (probe, variant)
    calls = {name for name, of in answers.equal["tcp_queue_length"].items() if "calls" in of}
    unseen = {"iter"} if cgroup == "v2" else {"iter", "tp_btf_probe"}
    assert calls == answers.works("tcp_queue_length") - unseen
