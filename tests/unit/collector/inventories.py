# SPDX-License-Identifier: Apache-2.0
"""Maps and programs as the probe would find them, every field with a value of its own."""

from typing import Any

from ebpf_collector.inventory import Inventory, MapState, ProgramState, Sample
from ebpf_probes.ebpf_inventory import InventoryMapType, InventoryProgramType
from ebpf_runtime import LoadReport


def map_state(**changes: Any) -> MapState:
    """Return a hash map of the module `oom_kill`; *changes* are fields."""
    fields: dict[str, Any] = {
        "id": 71,
        "name": "flows",
        "module": "oom_kill",
        "type": InventoryMapType.HASH,
        "key_size": 50,
        "value_size": 150,
        "max_entries": 1000,
        "flags": 0,
        "memory_bytes": 277_777,
        "buffer_bytes": 0,
        "mapped_bytes": 0,
        "unread_bytes": 0,
        "entry_count": 250,
        "holders": 3,
        "pins": (),
        "kernel_counts_memory": True,
    }
    return MapState(**(fields | changes))


def program_state(**changes: Any) -> ProgramState:
    """Return a kprobe program of the module `oom_kill`; *changes* are fields."""
    fields: dict[str, Any] = {
        "id": 91,
        "name": "on_kill",
        "module": "oom_kill",
        "type": InventoryProgramType.KPROBE,
        "xlated_bytes": 4264,
        "jited_bytes": 2257,
        "memory_bytes": 10_449,
        "verified_instructions": 1080,
        "run_time_ns": 5_000,
        "run_count": 11,
        "recursion_misses": 2,
        "sample": Sample(window_ns=100_000_000, run_time_ns=250_000, run_count=50),
        "holders": 1,
        "pins": (),
        "kprobes": None,
    }
    return ProgramState(**(fields | changes))


class FakeProbe:
    """Hands out the inventories of the test, and keeps what it was asked."""

    def __init__(self, *inventories: Inventory, variant: str = "task_vma") -> None:
        self.inventories = list(inventories)
        self.variant = variant
        self.origin = "co_re"
        self.report = LoadReport()
        self.windows: list[float] = []
        self.closed = 0

    def read(self, window_s: float) -> Inventory:
        self.windows.append(window_s)
        return self.inventories.pop(0)

    def close(self) -> None:
        self.closed += 1
