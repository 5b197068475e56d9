# SPDX-License-Identifier: Apache-2.0
"""The probe ebpf_inventory and the check over it on the running kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ebpf_collector.checks.ebpf import new_check
from ebpf_collector.inventory import UNKNOWN_MODULE, Inventory, MapState
from ebpf_collector.probes.ebpf import Probe, new_probe
from ebpf_probes.ebpf_inventory import EbpfInventory, InventoryHold, InventoryMapType
from ebpf_probes.oom_kill import OomKill
from ebpf_runtime import ProbeConfig, loaded_objects, program_counters, run_statistics
from tests.support.kernel import assert_nothing_new, identifiers
from tests.support.planted import MAP_TYPES, perf_buffers, pin, plant, update
from tests.support.sources import make_module, write_source
from tests.unit.collector.recording import RecordingSender

pytestmark = pytest.mark.kernel

VARIANTS = ("task_vma", "task_file")

RUNNING = """
__u64 runs = 0;
SEC("raw_tp/sched_process_fork")
int long_name_of_a_program(void *ctx)
{
	__sync_fetch_and_add(&runs, 1);
	return 0;
}
"""


def takes_task_vma() -> bool:
    return " bpf_iter_task_vma" in Path("/proc/kallsyms").read_text()


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "task_vma" and not takes_task_vma():
        pytest.skip("this kernel has no iterator task_vma (before 5.12)")
    return name


@pytest.fixture
def probe() -> Iterator[Probe]:
    with new_probe(ProbeConfig()) as made:
        yield made


def map_of(inventory: Inventory, number: int) -> MapState:
    return next(item for item in inventory.maps if item.id == number)


def test_each_variant_walks_all_maps_and_programs(variant: str) -> None:
    with EbpfInventory.open() as opened:
        opened.select_variant(variant)
        loaded = opened.load()
    with loaded, plant("hash") as (item,):
        loaded.attach()
        known = identifiers()
        assert loaded.variant == variant
        maps = {row.id for row in loaded.programs.inventory_map.rows()}
        programs = {row.id for row in loaded.programs.inventory_prog.rows()}
        # Others may make and close theirs between the two looks.
        still = identifiers()
        assert known["maps"] & still["maps"] <= maps
        assert known["programs"] & still["programs"] <= programs
        list(loaded.programs.inventory_file.rows())
        held = {(row.object_id, row.fd) for row in loaded.programs.inventory_file.rows() if row.pid == os.getpid()}
        assert (item.id, item.fd) in held


def test_compiled_on_the_host_it_reads_the_same(probe: Probe, tmp_path: Path) -> None:
    config = ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=str(tmp_path))
    with plant(*MAP_TYPES) as maps, new_probe(config) as compiled:
        assert (probe.origin, compiled.origin) == ("co_re", "compiled")
        for number in range(37):
            update(next(item.fd for item in maps if item.name == "p_hash_alloc"), bytes([number] * 6), bytes(13))
        ids = {item.id for item in maps}
        readings = [[item for item in made.read(0).maps if item.id in ids] for made in (probe, compiled)]
        assert readings[0] == readings[1]
        assert len(readings[0]) == len(maps)
        ours = {known.id for known in loaded_objects() if known.kind == "program"}
        programs = [[item for item in made.read(0).programs if item.id in ours] for made in (probe, compiled)]
        # The readings themselves make the inventory's programs run, so no counters.
        assert [replace(item, run_count=0, run_time_ns=0) for item in programs[0]] == [
            replace(item, run_count=0, run_time_ns=0) for item in programs[1]
        ]


def test_the_best_variant_is_chosen(probe: Probe) -> None:
    assert probe.variant == ("task_vma" if takes_task_vma() else "task_file")
    assert [item.variant for item in probe.refused] == ([] if takes_task_vma() else ["task_vma"])


def test_full_names_and_modules_of_what_this_process_loaded(probe: Probe, tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "running", RUNNING))
    with plant("hash") as (foreign,), module.Running.open_and_load() as running, OomKill.open_and_load() as oom_kill:
        inventory = probe.read()
        names = {(item.module, item.name) for item in inventory.maps}
        names |= {(item.module, item.name) for item in inventory.programs}
        assert {
            ("oom_kill", "oom_events"),
            ("oom_kill", ".rodata"),
            ("running", ".bss"),
            ("running", "long_name_of_a_program"),
            ("ebpf_inventory", "inventory_prog"),
        } <= names
        assert map_of(inventory, oom_kill.maps.oom_events.id).name == "oom_events"
        assert map_of(inventory, foreign.id).module == UNKNOWN_MODULE
        assert map_of(inventory, foreign.id).name == "p_hash"
        assert {"running", "oom_kill", "ebpf_inventory"} <= {known.module for known in loaded_objects()}
        assert running.name == "running"
    assert {"running", "oom_kill"}.isdisjoint(known.module for known in loaded_objects())


def test_buffers_older_than_the_probe() -> None:
    """Made before it, the ring's data not read, and its file descriptor not needed: a mapping is enough."""
    with plant("ringbuf", "perf_event_arr") as (ring, perf), perf_buffers(perf.fd, slots=2, pages=8) as mapped:
        size = 1 << 14
        window = mmap.mmap(ring.fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            with new_probe(ProbeConfig()) as probe:
                inventory = probe.read()
        finally:
            window.close()
        state = map_of(inventory, ring.id)
        assert state.type is InventoryMapType.RINGBUF
        assert (state.buffer_bytes, state.unread_bytes) == (size + 3 * mmap.PAGESIZE, 0)
        assert state.memory_bytes is not None
        assert state.memory_bytes > state.buffer_bytes
        state = map_of(inventory, perf.id)
        assert state.buffer_bytes == state.mapped_bytes == mapped == 2 * 9 * mmap.PAGESIZE


def test_a_slot_far_up_is_found(probe: Probe) -> None:
    """One reading covers 512 slots; a large array takes several."""
    with plant("perf_event_arr", entries=1300) as (item,), perf_buffers(item.fd, slots=515, pages=1) as mapped:
        assert map_of(probe.read(), item.id).buffer_bytes == mapped == 515 * 2 * mmap.PAGESIZE


def test_unread_bytes_of_a_ring(probe: Probe, tmp_path: Path) -> None:
    code = """
struct planted_event { __u64 number; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } planted_events SEC(".maps");
RINGBUF_RECORD(planted_events, struct planted_event);
SEC("raw_tp/sched_process_exec")
int planted_ring(void *ctx)
{
	struct planted_event event = { .number = bpf_get_current_pid_tgid() };

	bpf_ringbuf_output(&planted_events, &event, sizeof(event), 0);
	return 0;
}
"""
    module = make_module(tmp_path, write_source(tmp_path, "ring", code))
    with module.Ring.open_and_load() as ring:
        ring.attach()
        for _ in range(7):
            subprocess.run(["/bin/true"], check=True)
        ring.detach()
        unread = map_of(probe.read(), ring.maps.planted_events.id).unread_bytes
        events = list(ring.maps.planted_events.poll(0))
        assert len(events) >= 7
        assert unread == len(events) * 16  # 8 bytes of record behind 8 of header
        assert map_of(probe.read(), ring.maps.planted_events.id).unread_bytes == 0


_libc = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_size_t)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def map_page(fd: int) -> int:
    """Map a page of a map; unlike this, Python's own mmap keeps a duplicate of the file descriptor."""
    address: int = _libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    return address


def test_holders(variant: str) -> None:
    """By file descriptor, here and in another process, and by a mapping whose descriptor is closed."""
    with EbpfInventory.open() as opened:
        opened.select_variant(variant)
        loaded = opened.load()
    with loaded, plant("array_mmap") as (item,):
        loaded.attach()
        list(loaded.programs.inventory_file.rows())
        address = map_page(item.fd)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(item.fd)  # the mapping stays
            os.write(writer, b"1")
            time.sleep(60)
            os._exit(0)
        try:
            os.read(reader, 1)
            rows = [row for row in loaded.programs.inventory_file.rows() if row.object_id == item.id]
            if variant == "task_vma":
                rows += [row for row in loaded.programs.inventory_vma.rows() if row.object_id == item.id]
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            _libc.munmap(address, mmap.PAGESIZE)
            os.close(reader)
            os.close(writer)
        by_fd = [(row.pid, row.fd) for row in rows if row.hold is InventoryHold.MAP_FD]
        assert by_fd == [(os.getpid(), item.fd)]
        mapped = {(row.pid, row.mapped_bytes) for row in rows if row.hold is InventoryHold.MAP_MAPPING}
        assert mapped == ({(os.getpid(), 4096), (child, 4096)} if variant == "task_vma" else set())


def test_runs_are_sampled_in_the_window_only(probe: Probe, tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "running", RUNNING))

    def fork(times: int) -> None:
        for _ in range(times):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)

    if Path("/proc/sys/kernel/bpf_stats_enabled").read_text() != "0\n":
        pytest.skip("statistics are on for everybody (sysctl kernel.bpf_stats_enabled)")
    with module.Running.open_and_load() as running:
        running.attach()
        number = next(known.id for known in loaded_objects() if known.kind == "program" and known.module == "running")
        fork(11)
        state = next(item for item in probe.read(0).programs if item.id == number)
        assert (state.run_count, state.run_time_ns, state.sample) == (0, 0, None)

        pid = os.fork()
        if pid == 0:
            fork(40)
            os._exit(0)
        state = next(item for item in probe.read(0.5).programs if item.id == number)
        os.waitpid(pid, 0)
        assert state.sample is not None
        assert 0 < state.sample.run_count <= running.bss.runs - 11
        assert state.sample.run_time_ns > 0
        assert 0.4e9 < state.sample.window_ns < 60e9

        counters = program_counters(number)
        assert counters is not None
        fork(11)
        after = program_counters(number)
        assert after is not None
        assert (after.run_count, after.run_time_ns) == (counters.run_count, counters.run_time_ns)


def test_statistics_are_exact_and_end_with_the_block(tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "running", RUNNING))
    before = identifiers()
    with module.Running.open_and_load() as running:
        number = next(known.id for known in loaded_objects() if known.kind == "program")
        with run_statistics():
            running.attach()
            for _ in range(23):
                os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
            running.detach()
        counters = program_counters(number)
        assert counters is not None
        assert counters.run_count == running.bss.runs >= 23
    assert_nothing_new(before)  # a program may take a grace period to go
    assert program_counters(number) is None


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs of the test's own, gone afterwards with what it holds."""
    point = tmp_path / "b p f"
    point.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def test_pins_are_found(probe: Probe, bpffs: Path, tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "running", RUNNING))
    (bpffs / "deep").mkdir()
    with plant("hash") as (item,), module.Running.open_and_load() as running:
        link = running.programs.long_name_of_a_program.attach()
        pin(item.fd, bpffs / "flows")
        pin(item.fd, bpffs / "deep" / "flows")
        pin(running.programs.long_name_of_a_program.fd, bpffs / "program")
        pin(link.fd, bpffs / "deep" / "link")
        (bpffs / "symbolic").symlink_to(bpffs / "flows")
        number = next(known.id for known in loaded_objects() if known.module == "running" and known.kind == "program")
        inventory = probe.read()
        assert map_of(inventory, item.id).pins == (str(bpffs / "flows"), str(bpffs / "deep" / "flows"))
        program = next(row for row in inventory.programs if row.id == number)
        assert program.pins == (str(bpffs / "program"), str(bpffs / "deep" / "link"))
    held = probe.read()  # no process has them any more
    state = map_of(held, item.id)
    assert (state.holders, len(state.pins)) == (0, 2)
    assert next(row for row in held.programs if row.id == number).holders == 0
    for path in (bpffs / "flows", bpffs / "deep" / "flows", bpffs / "program"):
        path.unlink()
    link_alone = next(row for row in probe.read().programs if row.id == number)
    assert link_alone.pins == (str(bpffs / "deep" / "link"),)
    (bpffs / "deep" / "link").unlink()


def test_a_pin_that_may_not_be_opened_is_named(bpffs: Path) -> None:
    with plant("hash") as (item,):
        pin(item.fd, bpffs / "flows")
    (bpffs / "flows").chmod(0)
    code = """
from pathlib import Path
from ebpf_collector.inventory.pins import find_pins
for item in find_pins(Path("/proc/self/mountinfo").read_text()).unread:
    print(f"{item.path}|{item.reason}")
"""
    bpffs.chmod(0o755)
    powerless = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--reuid=0")
    done = subprocess.run([*powerless, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reasons = [line.rpartition("|")[2] for line in done.stdout.splitlines() if line.startswith(f"{bpffs / 'flows'}|")]
    assert reasons in (["EACCES"], ["EPERM"])  # before 5.11 bpf(2) as a whole was not for everybody


@pytest.mark.parametrize("scheme", ["native", pytest.param("datadog", marks=pytest.mark.any_kernel)])
def test_the_check_sends_what_is_there(scheme: str) -> None:
    check = new_check()
    check.configure(f"metric_scheme: {scheme}\nstatistics_window_seconds: 0.05".encode())
    sender = RecordingSender()
    with plant("hash") as (item,), OomKill.open_and_load():
        for key in range(13):
            update(item.fd, key.to_bytes(5, "little"), bytes(11))
        check.start()
        try:
            check.run(sender)
        finally:
            check.close()
    assert {name for _, name, _, _ in sender.points} <= {metric.name for metric in check.metrics}
    found = [(value, tags) for _, name, value, tags in sender.points if name == "ebpf.maps.max_entries"]
    planted = [value for value, tags in found if "map_name:p_hash" in tags]
    assert planted == ([101] if scheme == "native" else [])
    reported = "map_type:lru_hash" if scheme == "native" else "map_type:LRUHash"
    assert any("map_name:oom_reported" in tags and reported in tags and "module:oom_kill" in tags for _, tags in found)


def test_forbidden_to_read_without_capabilities(tmp_path: Path) -> None:
    """The inventory needs CAP_BPF and CAP_PERFMON; the error says so."""
    command = "import sys; from ebpf_collector.cli import main; sys.exit(main(['check', 'ebpf']))"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
         os.path.realpath("/proc/self/exe"), "-c", command],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(path for path in __import__("sys").path if path)},
    )  # fmt: skip
    if "Permission denied" in done.stderr and "ebpf-collector" not in done.stderr:
        pytest.skip("the interpreter cannot be run by another user")
    assert done.returncode == 3
    assert "CAP_BPF" in done.stderr


@pytest.mark.usefixtures("nothing_left")
def test_nothing_is_left_after_rounds() -> None:
    for _ in range(3):
        with new_probe(ProbeConfig()) as probe:
            probe.read(0.01)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    with new_probe(ProbeConfig()) as probe:
        probe.read(0.01)
    files = {path.name for path in Path("/proc/self/fd").iterdir()}
    before = identifiers()
    yield
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == files
    assert_nothing_new(before)
