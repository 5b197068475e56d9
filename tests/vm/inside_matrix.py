# SPDX-License-Identifier: Apache-2.0
"""What the kernel of a guest takes, variant by variant and by default; run inside a guest, which keeps the answers.

The answers go to the file that EBPF_MATRIX names, as `tests.vm.matrix` reads them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from ebpf_collector.probes import ebpf as inventory
from ebpf_collector.probes import tcp_queue_length as tcp
from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_probes.ebpf_inventory import EbpfInventory
from ebpf_probes.oom_kill import OomKill
from ebpf_probes.tcp_queue_length import TcpQueueLength
from ebpf_runtime import CoReError, EbpfError, ProbeConfig, VerifierError, possible_cpus
from ebpf_runtime.errors import describe
from ebpf_runtime.verifier import decisive_line
from tests.kernel.test_tcp_queue_length import half_full, move_data
from tests.support.kills import kill_one, victims_cgroup
from tests.support.planted import plant
from tests.support.tcp import connection, workers_cgroup
from tests.vm.matrix import note_equal, write

pytestmark = pytest.mark.kernel

CO_RE_ONLY = ProbeConfig(allow_runtime_compiled_fallback=False)
PROBES: dict[str, Any] = {"oom_kill": OomKill, "tcp_queue_length": TcpQueueLength, "ebpf_inventory": EbpfInventory}


def refusal(error: EbpfError) -> str:
    """Return errno and the line of the log that says why, on one line."""
    if isinstance(error, CoReError) and isinstance(error.__cause__, EbpfError):
        error = error.__cause__  # its advice is of no use here
    number = describe(error.errno).partition(",")[0] if error.errno else type(error).__name__
    said = " ".join((error.reason if isinstance(error, VerifierError) else str(error)).split())
    logs = [*(item.log for item in reversed(error.refused)), getattr(error, "log", "")]
    line = next(filter(None, map(decisive_line, logs)), "")
    return f"{number}: {said}" + (f" Log: {line}" if line and line not in said else "")


def attempt(cls: Any, variant: str) -> dict[str, str]:
    """Load and attach one variant, and return what became of both; an empty text is success."""
    opened = cls.open(CO_RE_ONLY)
    opened.select_variant(variant)
    try:
        loaded = opened.load()
    except EbpfError as error:
        return {"loads": refusal(error)}
    with loaded:
        try:
            loaded.attach()
        except EbpfError as error:
            return {"loads": "", "attaches": refusal(error)}
        assert loaded.variant == variant
        assert [name for name, link in loaded.links if link is not None] == [name for name, _ in loaded.programs]
    return {"loads": "", "attaches": ""}


def test_every_variant_is_tried() -> None:
    """The best that loads and attaches must be the one that is taken by default."""
    answers = {name: {variant: attempt(cls, variant) for variant in variants(cls)} for name, cls in PROBES.items()}
    write("variants", answers)
    for name, cls in PROBES.items():
        taken = [variant for variant, answer in answers[name].items() if not any(answer.values())]
        if not taken:
            continue
        with cls.open_and_load(CO_RE_ONLY) as probe:
            assert probe.variant == taken[0]


def variants(cls: Any) -> tuple[str, ...]:
    module = __import__(cls.__module__, fromlist=["_OBJECT"])
    found: tuple[str, ...] = module._OBJECT.variants
    return found


def read_oom_kill() -> tuple[str, str]:
    """Plant a kill, and return how the probe that reported it was loaded."""
    with OomKill.open_and_load() as probe, victims_cgroup() as group:
        probe.attach()
        kill = kill_one(group, score_adj=77, comm="planted")
        (event,) = [event for event in probe.maps.oom_events.poll(20) if event.victim_tgid == kill.pid]
        assert (event.victim_comm, event.score_adj, event.total_pages) == ("planted", 77, 24 << 20 >> 12)
        assert event.victim_cgroup == group.name
        return probe.variant, probe.origin


def read_tcp_queue_length() -> tuple[str, str]:
    """Plant a stalled reader; both queues must be told as its own calls tell them."""
    with tcp.new_tracer(ProbeConfig()) as tracer, workers_cgroup() as group:
        if tracer.variant == "kprobe_only":
            read_called(tracer, group)
        else:
            read_polled(tracer, group)
        return tracer.variant, tracer.origin


def read_polled(tracer: tcp.Tracer, group: MemoryCgroup) -> None:
    with connection(group) as ends:
        queues = ends.fill()
        tracer.get_and_flush()  # with what the hooks saw meanwhile, when the queues were longer at times
        (found,) = [row for row in tracer.get_and_flush() if row.key.cgroup == group.name]
        assert found.stats.read_queue_max_bytes == queues.receive.queued_bytes
        assert found.stats.write_queue_max_bytes == queues.send.queued_bytes


def read_called(tracer: tcp.Tracer, group: MemoryCgroup) -> None:
    """Without iterators only a reader that reads is seen."""
    with half_full(group) as ends:
        tracer.get_and_flush()
        expected = move_data(ends)
        (found,) = [row for row in tracer.get_and_flush() if row.key.cgroup == group.name]
        assert found.stats == expected


def read_ebpf_inventory() -> tuple[str, str]:
    """Plant a map; it must be there with its sizes."""
    with inventory.new_probe(ProbeConfig()) as probe, plant("hash") as (item,):
        state = next(row for row in probe.read().maps if row.id == item.id)
        assert (state.key_size, state.value_size, state.max_entries, state.holders) == (5, 11, 101, 1)
        return probe.variant, probe.origin


READERS: dict[str, Callable[[], tuple[str, str]]] = {
    "oom_kill": read_oom_kill,
    "tcp_queue_length": read_tcp_queue_length,
    "ebpf_inventory": read_ebpf_inventory,
}


def test_what_loads_by_default_reads_and_what_does_not_says_why() -> None:
    answers: dict[str, dict[str, str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the fallback, which is what shall happen
        for name, reader in READERS.items():
            try:
                variant, origin = reader()
            except EbpfError as error:
                answers[name] = {"loads": refusal(error)}
            else:
                answers[name] = {"variant": variant, "origin": origin, "loads": ""}
    write("default", answers)
    assert not any("\n" in answer["loads"] for answer in answers.values())


def test_inventory_variants_are_equal() -> None:
    """What both variants say of the same maps and holders."""
    works = [variant for variant in variants(EbpfInventory) if not any(attempt(EbpfInventory, variant).values())]
    if works == ["task_file"]:
        pytest.skip("the kernel has no iterator task_vma (before 5.12), so only one variant works")
    readings = []
    with plant("hash", "array_mmap", "ringbuf", "percpu_hash") as planted:
        ids = {item.id for item in planted}
        for variant in works:
            with EbpfInventory.open() as opened:
                opened.select_variant(variant)
                opened.rodata.possible_cpus = possible_cpus()
                loaded = opened.load()
            with loaded:
                loaded.attach()
                inventory.prepare(loaded)
                rows = [row.asdict() for row in loaded.programs.inventory_map.rows() if row.id in ids]
                holders = [row.asdict() for row in loaded.programs.inventory_file.rows() if row.object_id in ids]
                readings.append((rows, holders))
    assert len(readings) == 2
    assert len(readings[0][0]) == len(planted) >= 3
    assert all(reading == readings[0] for reading in readings)
    note_equal("ebpf_inventory", works, "maps")
