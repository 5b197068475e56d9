# SPDX-License-Identifier: Apache-2.0
"""The metrics of the check `ebpf` in the scheme `datadog`, with the rules of the Datadog Agent's check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from ebpf_collector.checks.base import PROBE_INFO, Metric
from ebpf_collector.inventory import NO_PREALLOC, UNKNOWN_MODULE, MapState, ProgramState
from ebpf_collector.inventory.datadog_maps import MAP_TYPES, PROGRAM_TYPES, map_memory
from ebpf_collector.inventory.points import (
    ENTRY_COUNT,
    MAX_ENTRIES,
    MAXACTIVE_HELP,
    NESTING_HELP,
    VERIFIED_HELP,
    Point,
)

if TYPE_CHECKING:
    from ebpf_collector.inventory import Inventory

__all__ = ["METRICS", "DatadogPoints"]

State = TypeVar("State", MapState, ProgramState)

_MEMORY_MAX = Metric("ebpf.maps.memory_max", "gauge", "byte", "Most memory the map can take, estimated.")
_MEMORY_RSS = Metric("ebpf.maps.memory_rss", "gauge", "byte", "Memory the map takes, estimated.")
_OCCUPATION = Metric("ebpf.maps.occupation", "gauge", "fraction", "Entries by the most the map can hold.")
_INCREASE = Metric("ebpf.maps.occupation_increase", "gauge", "fraction", "Change of the occupation since before.")
_MAX_TOTAL = Metric("ebpf.maps.memory_max_total", "gauge", "byte", "Sum of memory_max over all maps.")
_RSS_TOTAL = Metric("ebpf.maps.memory_rss_total", "gauge", "byte", "Sum of memory_rss over all maps.")
_MAX_MODULE = Metric("ebpf.maps.memory_max_permodule_total", "gauge", "byte", "Sum of memory_max by module.")
_RSS_MODULE = Metric("ebpf.maps.memory_rss_permodule_total", "gauge", "byte", "Sum of memory_rss by module.")
_XLATED = Metric("ebpf.programs.xlated_instruction_len", "gauge", "byte", "Instructions after the verifier.")
_VERIFIED = Metric("ebpf.programs.verified_instruction_count", "gauge", "instruction", VERIFIED_HELP)
_PROGRAM_RSS = Metric("ebpf.programs.memory_rss", "gauge", "byte", "The instructions, in whole pages.")
_RUN_TIME = Metric("ebpf.programs.runtime_ns", "monotonic_count", "nanosecond", "Time in the program.")
_RUN_COUNT = Metric("ebpf.programs.run_count", "monotonic_count", "run", "Runs of the program.")
_MISSES = Metric("ebpf.programs.recursion_misses", "monotonic_count", "run", "Runs left out by recursion.")
_PROGRAM_TOTAL = Metric("ebpf.programs.memory_rss_total", "gauge", "byte", "Sum of memory_rss over all programs.")
_PROGRAM_MODULE = Metric("ebpf.programs.memory_rss_permodule_total", "gauge", "byte", "Sum of memory_rss by module.")
_XLATED_MODULE = Metric(
    "ebpf.programs.xlated_instruction_len_permodule_total", "gauge", "byte", "Sum of xlated_instruction_len by module."
)
_VERIFIED_MODULE = Metric(
    "ebpf.programs.verified_instruction_count_permodule_total",
    "gauge",
    "instruction",
    "Sum of verified_instruction_count by module.",
)
_HITS = Metric("ebpf.kprobes.kprobe_hits", "monotonic_count", "call", "Calls that reached the program's kprobes.")
_NESTING_MISSES = Metric("ebpf.kprobes.kprobe_nesting_misses", "monotonic_count", "call", NESTING_HELP)
_MAXACTIVE_MISSES = Metric("ebpf.kprobes.kretprobe_maxactive_misses", "monotonic_count", "call", MAXACTIVE_HELP)
METRICS = (
    _MEMORY_MAX, _MEMORY_RSS, MAX_ENTRIES, ENTRY_COUNT, _OCCUPATION, _INCREASE, _MAX_TOTAL,
    _RSS_TOTAL, _MAX_MODULE, _RSS_MODULE, _XLATED, _VERIFIED, _PROGRAM_RSS, _RUN_TIME,
    _RUN_COUNT, _MISSES, _PROGRAM_TOTAL, _PROGRAM_MODULE, _XLATED_MODULE, _VERIFIED_MODULE,
    _HITS, _NESTING_MISSES, _MAXACTIVE_MISSES, PROBE_INFO,
)  # fmt: skip

# Upstream counts the entries of these alone.
_COUNTED = frozenset({"HASH", "LRU_HASH", "HASH_OF_MAPS"})
# Of these alone upstream says, since 2026-09, whether their entries take memory only when they are there.
_MARKED = frozenset({"HASH", "PERCPU_HASH"})
# The module names that differ from upstream's.
_MODULES = {"ebpf_inventory": "ebpf_check"}


class DatadogPoints:
    """Makes points of inventories, and remembers the entry counts of the previous one."""

    def __init__(self, possible_cpus: int, page_bytes: int) -> None:
        self._possible_cpus = possible_cpus
        self._page_bytes = page_bytes
        # By name alone: maps of one name in two modules share it, as upstream's do.
        self._entries_before: dict[str, int] = {}

    def points(self, inventory: Inventory) -> Iterator[Point]:
        """Yield the points of all maps and programs, and their sums."""
        yield from self._map_points(inventory.maps)
        yield from self._program_points(inventory.programs)

    def _map_points(self, maps: Iterable[MapState]) -> Iterator[Point]:
        totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for state in _numbered(_relabelled(maps)):
            memory = map_memory(state, self._possible_cpus, self._page_bytes)
            if memory is None:
                continue
            known = state.module != UNKNOWN_MODULE
            for module in ("", *([state.module] if known else [])):
                totals[module][0] += memory.max_bytes
                totals[module][1] += memory.rss_bytes
            if not known:
                continue
            tags = [
                f"map_name:{state.name}",
                f"map_type:{MAP_TYPES.get(state.type.name, state.type.name)}",
                f"module:{state.module}",
            ]
            yield _MEMORY_MAX, memory.max_bytes, tags
            if memory.rss_bytes > 0:
                yield _MEMORY_RSS, memory.rss_bytes, tags
            marked = state.type.name in _MARKED and state.flags & NO_PREALLOC
            yield MAX_ENTRIES, state.max_entries, [*tags, *(["no-prealloc"] if marked else [])]
            if state.entry_count is not None and state.type.name in _COUNTED:
                before = self._entries_before.get(state.name, 0)
                self._entries_before[state.name] = state.entry_count
                yield ENTRY_COUNT, state.entry_count, tags
                yield _OCCUPATION, state.entry_count / state.max_entries, tags
                yield _INCREASE, (state.entry_count - before) / state.max_entries, tags
        overall = totals.pop("", [0, 0])
        yield from _positive((_MAX_TOTAL, overall[0], []), (_RSS_TOTAL, overall[1], []))
        for module, (max_bytes, rss_bytes) in totals.items():
            yield _MAX_MODULE, max_bytes, [f"module:{module}"]
            yield _RSS_MODULE, rss_bytes, [f"module:{module}"]

    def _program_points(self, programs: Iterable[ProgramState]) -> Iterator[Point]:
        total = 0
        modules: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        seen = set()
        for state in _relabelled(programs):
            # Of programs that share all three, the oldest is reported, and the others not at all.
            identity = (state.name, state.type, state.module)
            if identity in seen:
                continue
            seen.add(identity)
            rss_bytes = -(-state.xlated_bytes // self._page_bytes) * self._page_bytes
            total += rss_bytes
            if state.module == UNKNOWN_MODULE:
                continue
            sums = modules[state.module]
            sums[0] += rss_bytes
            sums[1] += state.xlated_bytes
            sums[2] += state.verified_instructions
            tags = [
                f"program_name:{state.name}",
                f"program_type:{PROGRAM_TYPES.get(state.type.name, state.type.name)}",
                f"module:{state.module}",
            ]
            yield from _positive(
                (_XLATED, state.xlated_bytes, tags),
                (_VERIFIED, state.verified_instructions, tags),
                (_PROGRAM_RSS, rss_bytes, tags),
                (_RUN_TIME, state.run_time_ns or 0, tags),
                (_RUN_COUNT, state.run_count or 0, tags),
                (_MISSES, state.recursion_misses or 0, tags),
            )
            if state.kprobes is not None:
                yield from _positive(
                    (_NESTING_MISSES, state.kprobes.nesting_misses, tags),
                    (_MAXACTIVE_MISSES, state.kprobes.maxactive_misses, tags),
                    (_HITS, state.kprobes.hits or 0, tags),
                )
        yield from _positive((_PROGRAM_TOTAL, total, []))
        for module, (rss_bytes, xlated_bytes, verified) in modules.items():
            tags = [f"module:{module}"]
            yield _PROGRAM_MODULE, rss_bytes, tags
            yield from _positive((_XLATED_MODULE, xlated_bytes, tags), (_VERIFIED_MODULE, verified, tags))


def _positive(*points: Point) -> Iterator[Point]:
    return (point for point in points if point[1] > 0)


def _relabelled(states: Iterable[State]) -> Iterator[State]:
    return (replace(state, module=_MODULES.get(state.module, state.module)) for state in states)


def _numbered(maps: Iterable[MapState]) -> Iterator[MapState]:
    """Tell maps of the same name and module apart, all of them, by a number behind the name."""
    ordered = sorted(maps, key=lambda state: (state.name, state.module, state.id))
    for _, group in groupby(ordered, key=lambda state: (state.name, state.module)):
        alike = list(group)
        if len(alike) == 1:
            yield from alike
        else:
            yield from (replace(state, name=f"{state.name}_{n}") for n, state in enumerate(alike, 1))
