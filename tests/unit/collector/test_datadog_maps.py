# SPDX-License-Identifier: Apache-2.0
"""The memory formulas of the scheme `datadog`, number by number."""

from typing import Any

import pytest

from ebpf_collector.inventory.datadog_maps import MAP_TYPES, PROGRAM_TYPES, MapMemory, map_memory
from ebpf_probes.ebpf_inventory import InventoryMapType, InventoryProgramType
from tests.unit.collector.inventories import map_state


def size(kind: InventoryMapType, **changes: Any) -> MapMemory | None:
    """Return the memory of a map with keys of 50 bytes, values of 150 and 1000 entries, on 4 CPUs."""
    return map_memory(map_state(type=kind, **changes), possible_cpus=4, page_bytes=4096)


# Written out: 320 + 1000 * 152; the table of a hash map: 704 + 16 * 1024 + 64 * 4 = 17344.
@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("ARRAY", {}, 152_320),
        ("PROG_ARRAY", {}, 152_320),
        ("CGROUP_ARRAY", {}, 152_320),
        ("ARRAY_OF_MAPS", {}, 152_320),
        ("PERF_EVENT_ARRAY", {}, 152_320),
        ("ARRAY", {"flags": 1 << 10}, 4096 + 38 * 4096),
        ("ARRAY", {"value_size": 8, "max_entries": 1}, 328),
        ("ARRAY", {"value_size": 1, "max_entries": 3}, 344),
        ("PERCPU_ARRAY", {}, 320 + 8_000 + 608_000),
        ("HASH", {}, 17_344 + 256 * 1004 + 32),
        ("HASH_OF_MAPS", {"value_size": 4}, 17_344 + 112 * 1004 + 32),
        ("HASH", {"max_entries": 1024}, 17_344 + 256 * 1028 + 32),
        ("HASH", {"max_entries": 1025}, 704 + 16 * 2048 + 256 + 256 * 1029 + 32),
        ("HASH", {"max_entries": 1}, 704 + 16 + 256 + 256 * 5 + 32),
        ("LRU_HASH", {}, 17_344 + 256_000),
        ("PERCPU_HASH", {}, 17_344 + 112_000 + 608_000),
        ("LRU_PERCPU_HASH", {}, 17_344 + 112_000 + 608_000),
        ("LPM_TRIE", {}, 236_000),
        # One reader on each of 2 CPUs has mapped 9 pages; the array is 320 + 4 * 8.
        ("PERF_EVENT_ARRAY", {"value_size": 4, "max_entries": 4, "mapped_bytes": 2 * 9 * 4096}, 74_080),
        ("RINGBUF", {"max_entries": 65_536}, 320 + 64 * 35 + 4096 + 4096 + 131_072),
        ("RINGBUF", {"max_entries": 4096}, 320 + 64 * 5 + 4096 + 4096 + 8192),
    ],
)
def test_formula(kind: str, changes: dict[str, Any], expected: int) -> None:
    assert size(InventoryMapType[kind], **changes) == MapMemory(expected, expected)


@pytest.mark.parametrize("kind", ["HASH", "HASH_OF_MAPS", "PERCPU_HASH"])
def test_without_preallocation_the_resident_size_is_the_kernels(kind: str) -> None:
    full = size(InventoryMapType[kind])
    assert full is not None
    assert size(InventoryMapType[kind], flags=1, memory_bytes=4321) == MapMemory(full.max_bytes, 4321)
    assert size(InventoryMapType[kind], flags=1, kernel_counts_memory=False) == MapMemory(full.max_bytes, 0)
    assert size(InventoryMapType[kind], flags=1, memory_bytes=None) == MapMemory(full.max_bytes, 0)


@pytest.mark.parametrize("kind", ["SK_STORAGE", "TASK_STORAGE", "INODE_STORAGE"])
def test_local_storage_is_what_the_kernel_says(kind: str) -> None:
    assert size(InventoryMapType[kind], memory_bytes=1234) == MapMemory(1234, 1234)
    assert size(InventoryMapType[kind], memory_bytes=None) is None


@pytest.mark.parametrize("kind", ["STACK_TRACE", "QUEUE", "STACK", "DEVMAP", "SOCKMAP", "BLOOM_FILTER", "USER_RINGBUF"])
def test_other_types_are_left_out(kind: str) -> None:
    assert size(InventoryMapType[kind]) is None


def test_every_type_up_to_5_11_has_a_name() -> None:
    """Newer ones keep the kernel's name."""
    assert list(MAP_TYPES) == [kind.name for kind in InventoryMapType if kind < 30]
    assert list(PROGRAM_TYPES) == [kind.name for kind in InventoryProgramType]
    assert len(set(MAP_TYPES.values())) == len(MAP_TYPES)
