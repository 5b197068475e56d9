# SPDX-License-Identifier: Apache-2.0
"""The probe ebpf_inventory against bpftool and against maps and buffers that the test itself has made.

Each comparison is also run on a probe with one line changed for the worse, and must then fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ebpf_collector.probes.ebpf import prepare
from ebpf_probes.ebpf_inventory import EbpfInventory
from ebpf_runtime import map_memory, possible_cpus, program_counters, run_statistics
from tests.support.planted import (
    MAP_TYPES,
    PlantedMap,
    delete_batch,
    perf_buffers,
    plant,
    update,
    update_batch,
)
from tests.support.sources import BPF, make_module, write_source

pytestmark = pytest.mark.acceptance

PAGE = os.sysconf("SC_PAGESIZE")
ENTRIES = 50_000
COUNTED = ("hash", "hash_alloc", "percpu_hash", "percpu_hash_al", "lru_hash", "lru_percpu_hash")

# Programs of several types, one with functions of its own, one that is run on purpose.
PROGRAMS = """
static __noinline __u64 twice(__u64 number) { return number * 2 + bpf_get_prandom_u32(); }
static __noinline __u64 thrice(__u64 number) { return number * 3 + twice(number); }
SEC("raw_tp/sched_process_exec") int planted_calls(void *ctx) { return thrice(bpf_ktime_get_ns()) == 7; }
SEC("raw_tp/sched_process_fork") int planted_runs(void *ctx) { return 0; }
SEC("tp/sched/sched_process_exit") int planted_tp(void *ctx) { return 0; }
SEC("kprobe/do_nanosleep") int planted_kprobe(void *ctx) { return 0; }
SEC("xdp") int planted_xdp(void *ctx) { return 2; }
SEC("socket") int planted_socket(void *ctx) { return 0; }
SEC("tc") int planted_tc(void *ctx) { return 0; }
SEC("cgroup_skb/egress") int planted_cgroup(void *ctx) { return 1; }
SEC("perf_event") int planted_perf(void *ctx) { return 0; }
"""
PROGRAM_COUNT = 9
FORKS = 101
NEWER = 2  # types of maps that 5.10 does not have


def bpftool(kind: str) -> dict[int, dict[str, Any]]:
    done = subprocess.run(["bpftool", kind, "show", "-j"], stdout=subprocess.PIPE, check=True, text=True)
    return {item["id"]: item for item in json.loads(done.stdout)}


def bpftool_btf(map_id: int) -> int:
    """Ask for one map alone: in a listing bpftool 7.1 repeats the BTF of the map before for those that have none."""
    command = ["bpftool", "map", "show", "id", str(map_id), "-j"]
    number: int = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout).get("btf_id", 0)
    return number


@dataclass
class Observation:
    """The same maps and programs as seen by the probe, by bpftool, and as they were made."""

    maps: dict[int, Any]
    programs: dict[int, Any]
    buffers: list[Any]
    tool_maps: dict[int, dict[str, Any]]
    tool_programs: dict[int, dict[str, Any]]
    tool_btf: dict[int, int]
    planted: list[PlantedMap]
    planted_programs: set[str]
    perf_map: int
    perf_bytes: int
    ring_map: int
    counts: list[tuple[str, int, int]] = field(default_factory=list)
    clock_s: float = 0.0
    told_runs: tuple[int, int] = (0, 0)
    """Where the iterator cannot add up the CPUs' counters (before 5.19) bpf(2) has to tell."""


@contextmanager
def loaded(probe_class: Any) -> Iterator[Any]:
    with probe_class.open() as opened:
        opened.rodata.possible_cpus = possible_cpus()
        probe = opened.load()
    with probe:
        probe.attach()
        prepare(probe)
        yield probe


def keys(size: int, first: int, last: int) -> list[bytes]:
    return [number.to_bytes(size, "little") for number in range(first, last)]


def update_again(fd: int, items: list[bytes], value: bytes) -> None:
    for _ in range(3):
        update_batch(fd, items, value)


def come_and_go(probe: Any) -> list[tuple[str, int, int]]:
    """Have 50,000 entries come and go in each type of hash map; return (type, counted, there) at each stop."""

    def counted(item: PlantedMap) -> int:
        count: int = next(row.entry_count for row in probe.programs.inventory_map.rows() if row.id == item.id)
        return count

    found = []
    for name in COUNTED:
        _, key_size, value_size, _, _ = MAP_TYPES[name]
        stride = (value_size + 7) // 8 * 8 * possible_cpus() if "percpu" in name else value_size
        with plant(name, entries=1 << 16) as (item,):
            for first, last in ((0, 12_347), (12_347, ENTRIES)):
                update_batch(item.fd, keys(key_size, first, last), bytes(stride))
                found.append((name, counted(item), last))
            # Most of them go while the others come again and again, from another thread.
            rest = keys(key_size, 31_337, ENTRIES)
            others = threading.Thread(target=update_again, args=(item.fd, rest, bytes(stride)))
            others.start()
            delete_batch(item.fd, keys(key_size, 0, 31_337))
            others.join()
            found.append((name, counted(item), ENTRIES - 31_337))
            delete_batch(item.fd, rest)
            found.append((name, counted(item), 0))
    with plant("lpm_trie", entries=1 << 12) as (item,):
        for number in range(1_009):
            update(item.fd, (32).to_bytes(4, "little") + number.to_bytes(4, "big"), bytes(MAP_TYPES["lpm_trie"][2]))
        found.append(("lpm_trie", counted(item), 1_009))
    with plant("queue") as (item,):
        for _ in range(83):
            update(item.fd, b"", bytes(MAP_TYPES["queue"][2]))
        found.append(("queue", counted(item), 83))
    return found


def observe(probe_class: Any, programs: Any, *, entries: bool = False) -> Observation:
    """Make maps, buffers and programs first, load the probe after them, and collect what everybody says."""
    with ExitStack() as stack:
        planted = stack.enter_context(plant(*MAP_TYPES))
        planted += stack.enter_context(plant("array", frozen=True))
        by_name = {item.name: item for item in planted}
        for number in range(37):
            update(by_name["p_hash_alloc"].fd, number.to_bytes(6, "little"), bytes(13))
        perf_map = by_name["p_perf_event_ar"]
        perf_bytes = stack.enter_context(perf_buffers(perf_map.fd, slots=3, pages=16))
        made = stack.enter_context(programs.open().load())
        with run_statistics():
            link = made.programs.planted_runs.attach()
            for _ in range(FORKS):
                os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
            link.detach()
        with loaded(probe_class) as probe:
            seen = Observation(
                maps={row.id: row for row in probe.programs.inventory_map.rows()},
                programs={row.id: row for row in probe.programs.inventory_prog.rows()},
                buffers=list(probe.programs.inventory_perf.rows()),
                tool_maps=bpftool("map"),
                tool_programs=bpftool("prog"),
                tool_btf={number: bpftool_btf(number) for number in (planted[0].id, probe.maps.inventory_work.id)},
                planted=planted,
                planted_programs={name for name, _ in made.programs},
                perf_map=perf_map.id,
                perf_bytes=perf_bytes,
                ring_map=by_name["p_ringbuf"].id,
                clock_s=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
            )
            for row, _ in program_pairs(seen):
                told = program_counters(row.id)
                if row.name == "planted_runs" and told is not None:
                    seen.told_runs = (told.run_count, told.run_time_ns)
            if entries:
                seen.counts = come_and_go(probe)
            return seen


def pairs(seen: Observation) -> list[tuple[Any, dict[str, Any]]]:
    """Pair what the probe and bpftool say of our maps; both must know all of them."""
    ids = {item.id for item in seen.planted}
    assert ids <= seen.maps.keys(), "the probe misses maps of ours"
    assert ids <= seen.tool_maps.keys()
    return [(seen.maps[number], seen.tool_maps[number]) for number in sorted(ids)]


def program_pairs(seen: Observation) -> list[tuple[Any, dict[str, Any]]]:
    tool = {number: item for number, item in seen.tool_programs.items() if item.get("name") in kernel_names(seen)}
    if len(tool) != PROGRAM_COUNT:
        pytest.fail(f"bpftool shows {len(tool)} programs of ours")
    assert tool.keys() <= seen.programs.keys(), "the probe misses programs of ours"
    return [(seen.programs[number], item) for number, item in sorted(tool.items())]


def kernel_names(seen: Observation) -> set[str]:
    return {name[:15] for name in seen.planted_programs}


def same_maps(seen: Observation) -> None:
    assert len(seen.planted) >= len(MAP_TYPES) + 1 - NEWER
    assert [(row.name, row.type.name.lower()) for row, _ in pairs(seen)] == [
        (tool["name"], tool["type"]) for _, tool in pairs(seen)
    ]


def same_sizes(seen: Observation) -> None:
    assert [(row.key_size, row.value_size, row.max_entries) for row, _ in pairs(seen)] == [
        (tool["bytes_key"], tool["bytes_value"], tool["max_entries"]) for _, tool in pairs(seen)
    ]


def same_flags(seen: Observation) -> None:
    assert {row.frozen for row, _ in pairs(seen)} == {False, True}
    assert [(row.flags, int(row.frozen)) for row, _ in pairs(seen)] == [
        (tool["flags"], tool["frozen"]) for _, tool in pairs(seen)
    ]


def same_btf(seen: Observation) -> None:
    """The probe's own maps have BTF, the planted ones none."""
    assert set(map(bool, seen.tool_btf.values())) == {False, True}
    assert {number: seen.maps[number].btf_id for number in seen.tool_btf} == seen.tool_btf


def same_memory(seen: Observation) -> None:
    """The kernel's own sums are true from 6.4 on; of types the probe does not sum up, they are what it says."""
    if not pairs(seen)[0][0].kernel_counts_memory:
        pytest.skip("bpftool's bytes_memlock is no memory on kernels before 6.4")
    counted = [(row, tool) for row, tool in pairs(seen) if row.memory_source.name == "COUNTED"]
    assert len(counted) >= 19
    assert [(row.name, row.memory_bytes) for row, _ in counted] == [
        (tool["name"], tool["bytes_memlock"]) for _, tool in counted
    ]


def real_ring_bytes(seen: Observation) -> None:
    row = seen.maps[seen.ring_map]
    size = MAP_TYPES["ringbuf"][3]
    assert row.ring_bytes == size + 3 * PAGE
    assert row.unread_bytes == 0


def real_perf_bytes(seen: Observation) -> None:
    rows = [row for row in seen.buffers if row.map_id == seen.perf_map]
    assert [row.slot for row in rows] == [0, 1, 2]
    assert len({row.buffer for row in rows}) == len({row.event_id for row in rows}) == 3
    assert sum(row.memory_bytes for row in rows) == seen.perf_bytes == 3 * 17 * PAGE


def exact_counts(seen: Observation) -> None:
    assert len(seen.counts) == 4 * len(COUNTED) + 2
    known = [item for item in seen.counts if item[1] >= 0]
    assert len(known) >= 2 + 4 * 2  # what every kernel counts: without preallocation, tries, queues
    assert [(name, counted) for name, counted, _ in known] == [(name, there) for name, _, there in known]


def same_programs(seen: Observation) -> None:
    assert [(row.name, row.type.name.lower(), row.tag.hex()) for row, _ in program_pairs(seen)] == [
        (tool["name"], tool["type"], tool["tag"]) for _, tool in program_pairs(seen)
    ]


def same_program_sizes(seen: Observation) -> None:
    assert any(row.function_count == 3 for row, _ in program_pairs(seen))
    assert [(row.xlated_bytes, row.jited_bytes, row.jited, row.memlock_bytes) for row, _ in program_pairs(seen)] == [
        (tool["bytes_xlated"], tool["bytes_jited"], tool["jited"], tool["bytes_memlock"])
        for _, tool in program_pairs(seen)
    ]


def same_program_origin(seen: Observation) -> None:
    assert [(row.uid, row.gpl_compatible, row.btf_id) for row, _ in program_pairs(seen)] == [
        (tool["uid"], tool["gpl_compatible"], tool["btf_id"]) for _, tool in program_pairs(seen)
    ]
    for row, tool in program_pairs(seen):
        assert abs(row.loaded_ns / 1e9 + seen.clock_s - tool["loaded_at"]) < 1.5


def same_runs(seen: Observation) -> None:
    """Counted while statistics were on, and of this program nobody else has any runs."""
    ((row, tool),) = [(row, tool) for row, tool in program_pairs(seen) if row.name == "planted_runs"]
    counted = (row.run_count, row.run_time_ns) if row.has_counters else seen.told_runs
    assert counted == (tool["run_cnt"], tool["run_time_ns"])
    assert counted[0] >= FORKS


COMPARISONS = (
    same_maps,
    same_sizes,
    same_flags,
    same_btf,
    same_memory,
    real_ring_bytes,
    real_perf_bytes,
    exact_counts,
    same_programs,
    same_program_sizes,
    same_program_origin,
    same_runs,
)

# comparison -> changes of the source that it must notice
MUTATIONS: tuple[tuple[Callable[[Observation], None], str, str], ...] = (
    (same_maps, "\tif (!map)\n\t\treturn 0;\n", "\tif (!map || map->name[0] == 'p')\n\t\treturn 0;\n"),
    (same_maps, "row.type = (__u32)typed->map_type;", "row.type = (__u32)typed->map_type & 7;"),
    (same_sizes, "row.value_size = map->value_size;", "row.value_size = map->key_size;"),
    (same_sizes, "row.max_entries = map->max_entries;", "row.max_entries = map->max_entries + 1;"),
    (same_flags, "row.flags = map->map_flags;", "row.flags = 0;"),
    (same_flags, "row.frozen = map->frozen;", "row.frozen = false;"),
    (same_btf, "row.btf_id = BPF_CORE_READ(map, btf, id);", "row.btf_id = 0;"),
    (same_memory, "\t\tentries += possible_cpus;\n", ""),
    (same_memory, "\t\t\telement += percpu ? 24 : 8;\n", "\t\t\telement += 16;\n"),
    (
        same_memory,
        "(ring_pages(map) + data_pages) * sizeof(void *)",
        "(ring_pages(map) + data_pages / 2) * sizeof(void *)",
    ),
    (real_ring_bytes, "row.ring_bytes = ring_pages(map) * compat_page_bytes();", "row.ring_bytes = row.max_entries;"),
    (real_perf_bytes, "(BPF_CORE_READ(buffer, nr_pages) + 1ULL)", "(BPF_CORE_READ(buffer, nr_pages) + 0ULL)"),
    (exact_counts, "return BPF_CORE_READ(trie, n_entries);", "return BPF_CORE_READ(trie, data_size);"),
    (exact_counts, "\t\t\treturn bpf_map_sum_elem_count(map);", "\t\t\treturn bpf_map_sum_elem_count(map) & ~1;"),
    (
        same_programs,
        "bpf_core_read(&row.tag, sizeof(row.tag), &tagged->tag);",
        "bpf_core_read(&row.tag, 7, &tagged->tag);",
    ),
    (same_program_sizes, "jited_bytes += (__u32)measured;", "jited_bytes = prog->jited_len;"),
    (same_program_origin, "row.loaded_ns = aux->load_time;", "row.loaded_ns = bpf_ktime_get_ns() + 9000000000ULL;"),
    (same_runs, "row->run_count += count;", "row->run_count += count + 1;"),
)  # fmt: skip


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("programs")
    return make_module(directory, write_source(directory, "planted", PROGRAMS)).Planted


@pytest.fixture(scope="module")
def seen(programs: Any) -> Observation:
    return observe(EbpfInventory, programs, entries=True)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_inventory_is_as_the_witnesses_say(seen: Observation, comparison: Callable[[Observation], None]) -> None:
    comparison(seen)


@pytest.mark.parametrize(("comparison", "right", "wrong"), MUTATIONS)
def test_a_wrong_probe_is_noticed(
    comparison: Callable[[Observation], None], right: str, wrong: str, programs: Any, tmp_path: Path
) -> None:
    text = (BPF / "ebpf_inventory.bpf.c").read_text()
    assert text.count(right) == 1
    mutant = tmp_path / "ebpf_inventory.bpf.c"
    mutant.write_text(text.replace(right, wrong))
    (tmp_path / "ebpf_inventory.h").write_text((BPF / "ebpf_inventory.h").read_text())
    seen = observe(make_module(tmp_path, mutant).EbpfInventory, programs, entries=comparison is exact_counts)
    with pytest.raises(AssertionError):
        comparison(seen)


def test_memory_of_rare_types_is_the_fdinfos(seen: Observation) -> None:
    """What the probe does not sum up, the collector asks the kernel for, where it tells the truth."""
    rare = [(row, tool) for row, tool in pairs(seen) if row.memory_source.name == "UNKNOWN"]
    if not pairs(seen)[0][0].kernel_counts_memory:
        pytest.skip("fdinfo is no memory on kernels before 6.4")
    assert len(rare) >= 10
    with plant("stack_trace", "bloom_filter") as maps:
        tool = bpftool("map")
        assert [map_memory(item.id) for item in maps] == [tool[item.id]["bytes_memlock"] for item in maps]
    assert map_memory(maps[0].id) is None
