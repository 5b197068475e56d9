# SPDX-License-Identifier: Apache-2.0
"""What the kernel has counted at the kprobes of each program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ebpf_collector.inventory import KprobeCounters

if TYPE_CHECKING:
    from ebpf_probes.ebpf_inventory import InventoryKprobe

__all__ = ["event_type", "kprobe_counters", "parse_profile", "read_profile"]

_EVENT_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")
_PROFILES = (Path("/sys/kernel/tracing/kprobe_profile"), Path("/sys/kernel/debug/tracing/kprobe_profile"))


def event_type() -> int:
    """Return the type of perf events that are kprobes, 0 if this kernel has none.

    Kernel: 4.17. Source: sysfs, event_source/devices.
    """
    try:
        return int(_EVENT_TYPE.read_text())
    except OSError:
        return 0


def parse_profile(text: str) -> dict[str, int]:
    """Return the hits of the kprobes that were made in tracefs, by the name of their event.

    Args:
        text: Contents of kprobe_profile: lines of name, hits, misses.
    """
    hits: dict[str, int] = {}
    for line in text.splitlines():
        name, _, numbers = line.strip().partition(" ")
        # Two groups may each have an event of one name; there is no telling which is meant.
        hits[name] = hits.get(name, 0) + int(numbers.split()[0])
    return hits


def read_profile() -> dict[str, int]:
    """Return what `parse_profile()` does of the running kernel; nothing where tracefs is not mounted."""
    for path in _PROFILES:
        with suppress(OSError):
            return parse_profile(path.read_text())
    return {}


def kprobe_counters(rows: Iterable[InventoryKprobe], profile: Mapping[str, int]) -> dict[int, KprobeCounters]:
    """Return the counters by the program's id: the sum over the kprobes that it is attached to.

    Args:
        rows: As the probe tells them; a kprobe that several file descriptors lead to stands there several times.
        profile: Hits of the kprobes in tracefs by name; what is not there is an uprobe.
    """
    found: dict[int, KprobeCounters] = {}
    for row in {(row.program_id, row.probe): row for row in rows}.values():
        if row.in_tracefs and row.name not in profile:
            continue
        before = found.get(row.program_id, KprobeCounters(0, 0, 0))
        hits = row.hits if row.has_hits else profile.get(row.name) if row.in_tracefs else None
        found[row.program_id] = KprobeCounters(
            hits=None if hits is None or before.hits is None else before.hits + hits,
            nesting_misses=before.nesting_misses + row.nesting_misses,
            maxactive_misses=before.maxactive_misses + row.maxactive_misses,
        )
    return found
