# SPDX-License-Identifier: Apache-2.0
"""What both schemes of the check `ebpf` need: the metrics they share, and the form of a point."""

from __future__ import annotations

from typing import TypeAlias

from ebpf_collector.checks.base import Metric

__all__ = ["ENTRY_COUNT", "MAXACTIVE_HELP", "MAX_ENTRIES", "NESTING_HELP", "VERIFIED_HELP", "Point"]

Point: TypeAlias = tuple[Metric, float, list[str]]
"""A metric, its value and its tags."""

MAX_ENTRIES = Metric("ebpf.maps.max_entries", "gauge", "entry", "Most entries the map can hold.")
ENTRY_COUNT = Metric("ebpf.maps.entry_count", "gauge", "entry", "Entries in the map.")
NESTING_HELP = "Calls left out because a kprobe was being handled on that CPU already."
MAXACTIVE_HELP = "Returns left out because too many calls were under way."
VERIFIED_HELP = "Instructions the verifier looked at when the program was loaded."
