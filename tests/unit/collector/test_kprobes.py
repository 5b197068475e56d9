# SPDX-License-Identifier: Apache-2.0
"""Counters of kprobes, put together by program."""

from typing import Any

from ebpf_collector.inventory import KprobeCounters
from ebpf_collector.inventory.kprobes import kprobe_counters, parse_profile
from ebpf_probes.ebpf_inventory import InventoryKprobe

PROFILE = """\
  rr                                                          17               0
  p_vfs_read_0                                             30011              12
  rr                                                           2               1
"""


def row(**changes: Any) -> InventoryKprobe:
    """Return a kprobe of program 7 that nobody named; *changes* are fields."""
    fields: dict[str, Any] = {
        "probe": 0xFFFF888000000000,
        "hits": 101,
        "nesting_misses": 5,
        "maxactive_misses": 3,
        "program_id": 7,
        "has_hits": True,
        "in_tracefs": False,
        "name": "p_do_it_0",
    }
    return InventoryKprobe(**(fields | changes))


def test_profile_is_hits_by_name() -> None:
    assert parse_profile(PROFILE) == {"rr": 19, "p_vfs_read_0": 30011}
    assert parse_profile("") == {}


def test_kprobes_of_a_program_are_added_up() -> None:
    rows = [row(), row(probe=2, hits=10, nesting_misses=20, maxactive_misses=30), row(program_id=8)]
    assert kprobe_counters(rows, {}) == {7: KprobeCounters(111, 25, 33), 8: KprobeCounters(101, 5, 3)}


def test_a_kprobe_that_two_file_descriptors_lead_to_counts_once() -> None:
    assert kprobe_counters([row(), row()], {}) == {7: KprobeCounters(101, 5, 3)}


def test_hits_that_cannot_be_read_are_not_known() -> None:
    assert kprobe_counters([row(has_hits=False, hits=0), row(probe=2)], {}) == {7: KprobeCounters(None, 10, 6)}


def test_kprobes_of_tracefs_are_in_its_profile_and_uprobes_are_not() -> None:
    rows = [row(in_tracefs=True, name="rr", has_hits=False, hits=0), row(in_tracefs=True, name="u", program_id=8)]
    assert kprobe_counters(rows, parse_profile(PROFILE)) == {7: KprobeCounters(19, 5, 3)}
    assert kprobe_counters([row(in_tracefs=True, name="rr")], {"rr": 99}) == {7: KprobeCounters(101, 5, 3)}


def test_no_kprobes() -> None:
    assert kprobe_counters([], {}) == {}
