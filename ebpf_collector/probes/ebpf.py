# SPDX-License-Identifier: Apache-2.0
"""The probe behind the check `ebpf`."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ebpf_collector.inventory import (
    UNKNOWN_MODULE,
    Inventory,
    KprobeCounters,
    MapState,
    ProgramState,
    Sample,
)
from ebpf_collector.inventory.kprobes import event_type, kprobe_counters, read_profile
from ebpf_collector.inventory.pins import find_pins
from ebpf_collector.probes.attached import AttachedProbe
from ebpf_probes.ebpf_inventory import EbpfInventory, InventoryHold, InventoryMap, InventoryMapType, InventoryProgram
from ebpf_runtime import (
    PermissionDeniedError,
    ProgramCounters,
    loaded_objects,
    map_memory,
    possible_cpus,
    program_counters,
    run_statistics,
)

if TYPE_CHECKING:
    from ebpf_runtime import ProbeConfig

__all__ = ["Probe", "new_probe", "prepare"]

_Names = dict[tuple[str, int], tuple[str, str]]  # (kind, id): (name, module)
_SLOTS = 512  # of a perf event array, covered by one reading


class Probe(AttachedProbe[EbpfInventory]):
    """An attached `ebpf_inventory` probe, variants `task_vma` and `task_file`; it costs nothing until it is read."""

    def __init__(self, attached: EbpfInventory) -> None:
        super().__init__(attached)
        self._lock = Lock()

    def read(self, window_s: float = 0) -> Inventory:
        """Return all maps and programs of the system.

        Args:
            window_s: Seconds during which the kernel counts time and runs of all programs, which makes every run some
                100 ns slower; 0: it does not. Without CAP_SYS_ADMIN no sample is taken.
        """
        with self._lock:
            return self._read(window_s)

    def _read(self, window_s: float) -> Inventory:
        names: _Names = {(item.kind, item.id): (item.name, item.module) for item in loaded_objects()}
        before: dict[int, tuple[int, ProgramCounters]] = {}
        with ExitStack() as stack:
            if window_s:
                try:
                    stack.enter_context(run_statistics())
                except PermissionDeniedError:
                    window_s = 0
            if window_s:
                before = {row.id: (time.monotonic_ns(), counters) for row, counters in self._programs() if counters}
                time.sleep(window_s)
            programs = [(row, counters, time.monotonic_ns()) for row, counters in self._programs()]
        holders = self._holders()
        maps = list(self._attached.programs.inventory_map.rows())
        buffers = self._perf_buffers(maps)
        pins = find_pins(Path("/proc/self/mountinfo").read_text())
        kprobes = self._kprobes()
        return Inventory(
            maps=tuple(
                _map_state(
                    row,
                    names,
                    buffers.get(row.id, []),
                    len(holders["map", row.id]),
                    tuple(pins.paths["map", row.id]),
                )
                for row in maps
            ),
            programs=tuple(
                _program_state(
                    row,
                    names,
                    counters,
                    _sample(before.get(row.id), counters, end_ns),
                    len(holders["program", row.id]),
                    tuple(pins.paths["program", row.id]),
                    kprobes.get(row.id),
                )
                for row, counters, end_ns in programs
            ),
            unread_pins=tuple(pins.unread),
        )

    def _programs(self) -> list[tuple[InventoryProgram, ProgramCounters | None]]:
        return [(row, _counters(row)) for row in self._attached.programs.inventory_prog.rows()]

    def _holders(self) -> defaultdict[tuple[str, int], set[int]]:
        """Return the processes that hold each map and program."""
        found: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        programs = self._attached.programs
        rows = list(programs.inventory_file.rows())
        if self.variant == "task_vma":
            rows += programs.inventory_vma.rows()
        for row in rows:
            kind = "program" if row.hold is InventoryHold.PROGRAM_FD else "map"
            found[kind, row.object_id].add(row.pid)
        return found

    def _kprobes(self) -> dict[int, KprobeCounters]:
        rows = list(self._attached.programs.inventory_probe.rows())
        return kprobe_counters(rows, read_profile() if any(row.in_tracefs for row in rows) else {})

    def _perf_buffers(self, maps: list[InventoryMap]) -> dict[int, list[tuple[int, int]]]:
        """Return (identity, bytes) of the buffer in each slot in use, by the map's id."""
        found: dict[int, list[tuple[int, int]]] = {}
        sizes = [row.max_entries for row in maps if row.type is InventoryMapType.PERF_EVENT_ARRAY]
        for first in range(0, max(sizes, default=0), _SLOTS):
            self._attached.bss.first_slot = first
            for row in self._attached.programs.inventory_perf.rows():
                found.setdefault(row.map_id, []).append((row.buffer, row.memory_bytes))
        return found


def new_probe(config: ProbeConfig) -> Probe:
    """Return the probe, loaded as *config* says and attached.

    Raises:
        PermissionDeniedError: A capability is missing.
        LoadError: The kernel took none of the variants.
        AttachError: The kernel loaded a variant and attached none.
    Kernel: 5.8; 5.12 (task_vma).
    """
    with EbpfInventory.open(config) as opened:
        opened.rodata.possible_cpus = possible_cpus()
        opened.rodata.kprobe_event_type = event_type()
        loaded = opened.load()
    try:
        loaded.attach()
        prepare(loaded)
        return Probe(loaded)
    except BaseException:
        loaded.close()
        raise


def prepare(attached: EbpfInventory) -> None:
    """Let an attached probe learn what only the running kernel can tell it: how it counts, and its file operations."""
    attached.programs.inventory_file.read()  # the walk learns on its way
    own = attached.maps.inventory_hash.id
    row = next(row for row in attached.programs.inventory_map.rows() if row.id == own)
    if not row.kernel_counts_memory:
        return
    try:
        counted = map_memory(own)
    except PermissionDeniedError:
        return
    if counted is not None and counted > row.memory_bytes:
        attached.bss.hash_surplus_bytes = counted - row.memory_bytes


def _counters(row: InventoryProgram) -> ProgramCounters | None:
    """Return the counters in *row*, or ask for them where the iterator cannot read them."""
    if row.has_counters:
        return ProgramCounters(row.run_time_ns, row.run_count, row.recursion_misses)
    try:
        return program_counters(row.id)
    except PermissionDeniedError:
        return None


def _sample(before: tuple[int, ProgramCounters] | None, after: ProgramCounters | None, end_ns: int) -> Sample | None:
    if before is None or after is None:
        return None
    start_ns, counters = before
    return Sample(
        window_ns=end_ns - start_ns,
        run_time_ns=after.run_time_ns - counters.run_time_ns,
        run_count=after.run_count - counters.run_count,
    )


def _memory(row: InventoryMap) -> int | None:
    """Return the memory of a map; of rare types the kernel is asked, if it is one that knows."""
    if row.memory_source.name != "UNKNOWN":
        return row.memory_bytes
    if not row.kernel_counts_memory:
        return None
    try:
        return map_memory(row.id)
    except PermissionDeniedError:
        return None


def _map_state(
    row: InventoryMap,
    names: _Names,
    buffers: list[tuple[int, int]],
    holders: int,
    pins: tuple[str, ...],
) -> MapState:
    name, module = names.get(("map", row.id), (row.name or row.type.name.lower(), UNKNOWN_MODULE))
    return MapState(
        id=row.id,
        name=name,
        module=module,
        type=row.type,
        key_size=row.key_size,
        value_size=row.value_size,
        max_entries=row.max_entries,
        flags=row.flags,
        memory_bytes=_memory(row),
        buffer_bytes=row.ring_bytes + sum(dict(buffers).values()),
        mapped_bytes=row.ring_bytes + sum(size for _, size in buffers),
        unread_bytes=row.unread_bytes,
        entry_count=row.entry_count if row.entry_count >= 0 else None,
        holders=holders,
        pins=pins,
        kernel_counts_memory=row.kernel_counts_memory,
    )


def _program_state(
    row: InventoryProgram,
    names: _Names,
    counters: ProgramCounters | None,
    sample: Sample | None,
    holders: int,
    pins: tuple[str, ...],
    kprobes: KprobeCounters | None,
) -> ProgramState:
    name, module = names.get(("program", row.id), (row.name or row.type.name.lower(), UNKNOWN_MODULE))
    return ProgramState(
        id=row.id,
        name=name,
        module=module,
        type=row.type,
        xlated_bytes=row.xlated_bytes,
        jited_bytes=row.jited_bytes,
        memory_bytes=row.memory_bytes,
        verified_instructions=row.verified_instructions,
        run_time_ns=counters.run_time_ns if counters else None,
        run_count=counters.run_count if counters else None,
        recursion_misses=counters.recursion_misses if counters else None,
        sample=sample,
        holders=holders,
        pins=pins,
        kprobes=kprobes,
    )
