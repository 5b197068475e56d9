# SPDX-License-Identifier: Apache-2.0
"""The metrics of the check `ebpf` in the scheme `native`: every map and program, with its real memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ebpf_collector.checks.base import PROBE_INFO, Metric
from ebpf_collector.inventory.points import (
    ENTRY_COUNT,
    MAX_ENTRIES,
    MAXACTIVE_HELP,
    NESTING_HELP,
    VERIFIED_HELP,
    Point,
)

if TYPE_CHECKING:
    from ebpf_collector.inventory import Inventory, MapState, ProgramState

__all__ = ["METRICS", "points"]

_MAP_MEMORY = Metric(
    "ebpf.maps.memory_bytes", "gauge", "byte", "Memory of the map itself, without perf buffers in its slots."
)
_BUFFER = Metric("ebpf.maps.buffer_bytes", "gauge", "byte", "Memory of ring buffers, and of perf buffers in a map.")
_UNREAD = Metric("ebpf.maps.unread_bytes", "gauge", "byte", "Written to a ring buffer and not read yet.")
_OCCUPANCY = Metric("ebpf.maps.occupancy_ratio", "gauge", "fraction", "Entries in the map by the most it can hold.")
_MAP_HOLDERS = Metric(
    "ebpf.maps.holders", "gauge", "process", "Processes with a file descriptor or a mapping of the map."
)
_MAPS = Metric("ebpf.maps.count", "gauge", "map", "Maps of the module.")
_UNMEASURED = Metric("ebpf.maps.unmeasured", "gauge", "map", "Maps of the module whose memory is not known.")
_MODULE_MAPS = Metric(
    "ebpf.maps.module_memory_bytes", "gauge", "byte", "Memory of the module's maps, perf buffers included."
)
_PROGRAM_MEMORY = Metric(
    "ebpf.programs.memory_bytes", "gauge", "byte", "Memory of the instructions and of the machine code made from them."
)
_XLATED = Metric("ebpf.programs.xlated_bytes", "gauge", "byte", "Instructions as the verifier left them.")
_JITED = Metric("ebpf.programs.jited_bytes", "gauge", "byte", "Machine code made from the instructions.")
_VERIFIED = Metric("ebpf.programs.verified_instructions", "gauge", "instruction", VERIFIED_HELP)
_MISSES = Metric(
    "ebpf.programs.recursion_misses_total",
    "monotonic_count",
    "run",
    "Runs left out because the program was running on that CPU already.",
)
_RUN_TIME_RATIO = Metric(
    "ebpf.programs.run_time_ratio", "gauge", "fraction", "CPU time in the program by time, in the sampled window."
)
_RUN_RATE = Metric("ebpf.programs.runs_per_second", "gauge", "run", "Runs by time, in the sampled window.")
_PROGRAM_HOLDERS = Metric(
    "ebpf.programs.holders", "gauge", "process", "Processes with a file descriptor of the program."
)
_PROGRAM_PINNED = Metric(
    "ebpf.programs.pinned", "gauge", "file", "Always 1; the tag `path` says which file of bpffs holds the program."
)
_MAP_PINNED = Metric("ebpf.maps.pinned", "gauge", "file", "Always 1; `path` says which file of bpffs holds the map.")
_UNREAD_PINS = Metric(
    "ebpf.pins.unread", "gauge", "file", "Always 1; `path` is what of bpffs could not be looked at, and `reason` why."
)
_HITS = Metric("ebpf.kprobes.hits_total", "monotonic_count", "call", "Calls that reached the program's kprobes.")
_NESTING_MISSES = Metric("ebpf.kprobes.nesting_misses_total", "monotonic_count", "call", NESTING_HELP)
_MAXACTIVE_MISSES = Metric("ebpf.kprobes.maxactive_misses_total", "monotonic_count", "call", MAXACTIVE_HELP)
_PROGRAMS = Metric("ebpf.programs.count", "gauge", "program", "Programs of the module.")
_MODULE_PROGRAMS = Metric("ebpf.programs.module_memory_bytes", "gauge", "byte", "Memory of the module's programs.")
METRICS = (
    _MAP_MEMORY, _BUFFER, _UNREAD, MAX_ENTRIES, ENTRY_COUNT, _OCCUPANCY, _MAP_HOLDERS, _MAPS, _UNMEASURED,
    _MODULE_MAPS, _PROGRAM_MEMORY, _XLATED, _JITED, _VERIFIED, _MISSES, _RUN_TIME_RATIO, _RUN_RATE,
    _PROGRAM_HOLDERS, _PROGRAMS, _MODULE_PROGRAMS, _MAP_PINNED, _PROGRAM_PINNED, _UNREAD_PINS,
    _HITS, _NESTING_MISSES, _MAXACTIVE_MISSES, PROBE_INFO,
)  # fmt: skip

_RINGS = frozenset({"RINGBUF", "USER_RINGBUF"})


def points(inventory: Inventory) -> Iterator[Point]:
    """Yield the points of all maps and programs, and their sums by module."""
    yield from _map_points(inventory.maps)
    yield from _program_points(inventory.programs)
    for pins in inventory.unread_pins:
        yield _UNREAD_PINS, 1, [f"path:{pins.path}", f"reason:{pins.reason}"]


def _map_points(maps: Iterable[MapState]) -> Iterator[Point]:
    modules: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for state in maps:
        kind = state.type.name
        tags = [
            f"map_name:{state.name}",
            f"map_type:{kind.lower()}",
            f"map_id:{state.id}",
            f"module:{state.module}",
        ]
        sums = modules[state.module]
        sums[0] += 1
        if state.memory_bytes is None:
            sums[1] += 1
        else:
            sums[2] += state.memory_bytes
            yield _MAP_MEMORY, state.memory_bytes, tags
        if kind == "PERF_EVENT_ARRAY":
            sums[2] += state.buffer_bytes
        if kind in _RINGS or state.buffer_bytes:
            yield _BUFFER, state.buffer_bytes, tags
        if kind in _RINGS:
            yield _UNREAD, state.unread_bytes, tags
        else:
            yield MAX_ENTRIES, state.max_entries, tags
        if state.entry_count is not None:
            yield ENTRY_COUNT, state.entry_count, tags
            if state.max_entries:
                yield _OCCUPANCY, state.entry_count / state.max_entries, tags
        yield _MAP_HOLDERS, state.holders, tags
        for path in state.pins:
            yield _MAP_PINNED, 1, [*tags, f"path:{path}"]
    for module, (count, unmeasured, memory_bytes) in modules.items():
        tags = [f"module:{module}"]
        yield _MAPS, count, tags
        yield _UNMEASURED, unmeasured, tags
        yield _MODULE_MAPS, memory_bytes, tags


def _program_points(programs: Iterable[ProgramState]) -> Iterator[Point]:
    modules: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for state in programs:
        tags = [
            f"program_name:{state.name}",
            f"program_type:{state.type.name.lower()}",
            f"program_id:{state.id}",
            f"module:{state.module}",
        ]
        sums = modules[state.module]
        sums[0] += 1
        sums[1] += state.memory_bytes
        yield _PROGRAM_MEMORY, state.memory_bytes, tags
        yield _XLATED, state.xlated_bytes, tags
        yield _JITED, state.jited_bytes, tags
        if state.verified_instructions:
            yield _VERIFIED, state.verified_instructions, tags
        if state.recursion_misses is not None:
            yield _MISSES, state.recursion_misses, tags
        if state.sample is not None:
            yield _RUN_TIME_RATIO, state.sample.run_time_ns / state.sample.window_ns, tags
            yield _RUN_RATE, state.sample.run_count * 1e9 / state.sample.window_ns, tags
        yield _PROGRAM_HOLDERS, state.holders, tags
        for path in state.pins:
            yield _PROGRAM_PINNED, 1, [*tags, f"path:{path}"]
        if state.kprobes is not None:
            if state.kprobes.hits is not None:
                yield _HITS, state.kprobes.hits, tags
            yield _NESTING_MISSES, state.kprobes.nesting_misses, tags
            yield _MAXACTIVE_MISSES, state.kprobes.maxactive_misses, tags
    for module, (count, memory_bytes) in modules.items():
        tags = [f"module:{module}"]
        yield _PROGRAMS, count, tags
        yield _MODULE_PROGRAMS, memory_bytes, tags
