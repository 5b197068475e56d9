# SPDX-License-Identifier: Apache-2.0
"""The probe tcp_queue_length on the running kernel: every variant it takes, on connections of our own children."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ebpf_collector.probes.tcp_queue_length import Tracer, longest, new_tracer
from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_probes.tcp_queue_length import TcpQueue, TcpQueueKey, TcpQueueLength, TcpQueueStats
from ebpf_runtime import AttachError, LoadError, ProbeConfig
from tests.support.kernel import (
    assert_nothing_new,
    identifiers,
    kprobe_refusal,
    open_files,
    send_length_refusal,
    tracing_refusal,
)
from tests.support.tcp import Connection, connection, workers_cgroup

pytestmark = pytest.mark.kernel

CO_RE_ONLY = ProbeConfig(allow_runtime_compiled_fallback=False)
REFUSALS: dict[str, Callable[[], str]] = {
    "fentry": tracing_refusal,
    "kprobe": kprobe_refusal,
    "kprobe_only": kprobe_refusal,
    "tp_btf_send_length": send_length_refusal,
    "tp_btf_probe": str,
    "iter": str,
}
HOOKED = tuple(REFUSALS)[:-1]
POLLED = tuple(name for name in REFUSALS if name != "kprobe_only")
NOTHING = TcpQueueStats(
    read_queue_max_bytes=0, write_queue_max_bytes=0, read_queue_max_permille=0, write_queue_max_permille=0
)
EXTRA = 10_007
SEND_BUFFER = 4 << 20


@pytest.fixture(params=REFUSALS)
def variant(request: pytest.FixtureRequest) -> str:
    """Each variant, unless the kernel itself says that it has no such hook."""
    name: str = request.param
    if reason := REFUSALS[name]():
        pytest.skip(reason)
    return name


@pytest.fixture
def group() -> Iterator[MemoryCgroup]:
    with workers_cgroup() as made:
        yield made


def load(variant: str) -> TcpQueueLength:
    opened = TcpQueueLength.open(CO_RE_ONLY)
    opened.select_variant(variant)
    return opened.load()


def group_id(group: MemoryCgroup) -> int:
    return group.path.stat().st_ino


def hooked(probe: TcpQueueLength, group: MemoryCgroup) -> TcpQueueStats:
    """Return what the hooks alone have noted of a group."""
    per_cpu = probe.maps.tcp_queues.lookup(group_id(group))
    return longest(per_cpu) if per_cpu else NOTHING


def of_group(readings: list[TcpQueue], group: MemoryCgroup) -> list[TcpQueue]:
    return [reading for reading in readings if reading.key.cgroup_id == group_id(group)]


@contextmanager
def half_full(group: MemoryCgroup) -> Iterator[Connection]:
    """A connection whose reader's window is closed, and whose writer has room for more."""
    with connection(group, write_buffer_bytes=SEND_BUFFER) as ends:
        for _ in range(20):
            assert ends.write(50_021) == 50_021
        before = None
        while (now := ends.queues()) != before:
            before = now
            time.sleep(0.6)  # longer than the first probe of the closed window takes
        yield ends


def sees_writes(variant: str, group: MemoryCgroup) -> bool:
    """Sockets remember a group of cgroup v2 only, and tcp_probe has nothing but the socket."""
    return variant != "tp_btf_probe" or group.version == 2


def move_data(ends: Connection) -> TcpQueueStats:
    """Write into the full connection and read a byte off it; return what must have been seen."""
    assert ends.write(EXTRA) == EXTRA
    queues = ends.queues()
    assert queues.receive.queued_bytes > 30_000
    assert queues.send.queued_bytes > 500_000
    assert ends.read(1) == 1
    return TcpQueueStats(
        read_queue_max_bytes=queues.receive.queued_bytes,
        write_queue_max_bytes=queues.send.queued_bytes,
        read_queue_max_permille=queues.receive.permille,
        write_queue_max_permille=queues.send.permille,
    )


def wait_equal(probe: TcpQueueLength, group: MemoryCgroup, expected: TcpQueueStats) -> None:
    """Wait for equality: tcp_probe sees the queue when the next probe of the closed window is answered."""
    deadline = time.monotonic() + 30
    while hooked(probe, group) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hooked(probe, group) == expected


@pytest.mark.parametrize("variant", HOOKED, indirect=True)
def test_each_variant_notes_both_queues_exactly(variant: str, group: MemoryCgroup) -> None:
    with load(variant) as probe:
        probe.attach()
        with half_full(group) as ends:
            list(probe.maps.tcp_queues.drain())
            expected = move_data(ends)
            if not sees_writes(variant, group):
                expected = expected.replace(write_queue_max_bytes=0, write_queue_max_permille=0)
            wait_equal(probe, group, expected)
            key = probe.maps.tcp_cgroups[group_id(group)]
            assert (key.cgroup_id, key.cgroup) == (group_id(group), group.name)
        assert sum(probe.maps.tcp_lost[0]) == 0


def readings_of_the_same_traffic(group: MemoryCgroup) -> dict[str, TcpQueueStats]:
    """Return what each variant that the kernel takes says of the same calls, which is the same."""
    taken = [name for name in HOOKED if not REFUSALS[name]() and sees_writes(name, group)]
    with ExitStack() as stack:
        probes = {name: stack.enter_context(load(name)) for name in taken}
        for probe in probes.values():
            probe.attach()
        with half_full(group) as ends:
            for probe in probes.values():
                list(probe.maps.tcp_queues.drain())
            expected = move_data(ends)
            for probe in probes.values():
                wait_equal(probe, group, expected)
            readings = {name: hooked(probe, group) for name, probe in probes.items()}
    print(f"on {os.uname().release}:", readings)
    assert set(readings.values()) == {expected}
    return readings


def test_variants_agree_on_the_same_traffic(group: MemoryCgroup) -> None:
    assert readings_of_the_same_traffic(group)


@pytest.mark.parametrize("variant", POLLED, indirect=True)
def test_each_variant_polls_a_reader_that_never_reads(variant: str, group: MemoryCgroup) -> None:
    with connection(group) as ends:
        queues = ends.fill()
        with Tracer(load(variant).attach()) as tracer:  # attached when nothing happens any more
            (reading,) = of_group(tracer.get_and_flush(), group)
            assert reading.key.cgroup == group.name
            assert reading.stats.read_queue_max_bytes == queues.receive.queued_bytes
            assert reading.stats.write_queue_max_bytes == queues.send.queued_bytes
            assert reading.stats.read_queue_max_permille == queues.receive.permille
            assert reading.stats.write_queue_max_permille == queues.send.permille
            assert of_group(tracer.get_and_flush(), group) == [reading]  # it is still so


@pytest.mark.parametrize("variant", ["kprobe_only"], indirect=True)
def test_without_iterators_the_calls_are_seen_and_nothing_else(variant: str, group: MemoryCgroup) -> None:
    with half_full(group) as ends, Tracer(load(variant).attach()) as tracer:
        assert [name for name, _ in tracer._attached.programs if name.endswith("_iter")] == []
        assert of_group(tracer.get_and_flush(), group) == []
        expected = move_data(ends)
        (reading,) = of_group(tracer.get_and_flush(), group)
        assert reading.stats == expected
        assert of_group(tracer.get_and_flush(), group) == []


def test_hooks_and_poll_are_merged_and_flushed(group: MemoryCgroup) -> None:
    with new_tracer(CO_RE_ONLY) as tracer:
        with half_full(group) as ends:
            tracer.get_and_flush()
            expected = move_data(ends)
            while ends.read(1 << 20) == 1 << 20 or ends.queues().receive.queued_bytes:
                pass
            # Both queues are empty now, and the poll finds nothing: what is left is what the hooks saw.
            (reading,) = of_group(tracer.get_and_flush(), group)
            if tracer.variant != "iter":
                assert reading.stats.read_queue_max_bytes >= expected.read_queue_max_bytes
            assert of_group(tracer.get_and_flush(), group) == []
        assert tracer.lost_events() == 0


def test_the_best_variant_that_works_is_chosen_by_trying() -> None:
    with new_tracer(CO_RE_ONLY) as tracer:
        takes = [name for name, refusal in REFUSALS.items() if not refusal()]
        assert tracer.variant == takes[0]
        assert [item.variant for item in tracer.refused] == list(REFUSALS)[: list(REFUSALS).index(takes[0])]


def test_a_selected_variant_that_the_kernel_refuses_says_so() -> None:
    refused = [name for name, refusal in REFUSALS.items() if refusal()]
    if not refused:
        pytest.skip("this kernel takes every variant")
    for name in refused:
        with pytest.raises((LoadError, AttachError)) as caught, load(name) as probe:
            probe.attach()
        assert "tcp_" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_samples_without_room_are_counted(group: MemoryCgroup) -> None:
    variant = next(name for name in HOOKED if not REFUSALS[name]())
    opened = TcpQueueLength.open(CO_RE_ONLY)
    opened.select_variant(variant)
    opened.resize("tcp_queues", 1)
    with opened.load() as probe, connection(group) as ends:
        cpus = len(probe.maps.tcp_lost[0])
        probe.maps.tcp_queues[7] = (NOTHING,) * cpus
        probe.attach()
        for _ in range(5):
            ends.write(10)
        assert list(probe.maps.tcp_queues) == [7]
        assert sum(probe.maps.tcp_lost[0]) >= 5


def test_the_queue_is_that_of_the_group_whose_task_has_the_socket(group: MemoryCgroup) -> None:
    with connection(group) as ends, workers_cgroup() as other:
        queues = ends.fill()
        (other.path / "cgroup.procs").write_text(str(ends.pid))
        try:
            with Tracer(load("iter").attach()) as tracer:
                readings = tracer.get_and_flush()
                assert of_group(readings, group) == []
                (reading,) = of_group(readings, other)
                assert reading.stats.read_queue_max_bytes == queues.receive.queued_bytes
        finally:
            (group.path / "cgroup.procs").write_text(str(ends.pid))


def test_a_socket_that_nobody_accepted_is_polled_where_sockets_know_their_group(group: MemoryCgroup) -> None:
    with load("iter") as probe:
        probe.attach()
        before = sum(row.stats.read_queue_max_bytes for row in probe.programs.tcp_sock_iter.rows())
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as end,
        ):
            end.sendall(bytes(EXTRA))
            rows = [row.stats.read_queue_max_bytes for row in probe.programs.tcp_sock_iter.rows()]
            assert sum(rows) - before == (EXTRA if group.version == 2 else 0)
            # An accepted one has an owner, and the other iterator sees it.
            accepted, _ = listener.accept()
            with accepted:
                assert EXTRA not in [row.stats.read_queue_max_bytes for row in probe.programs.tcp_sock_iter.rows()]
                assert EXTRA in [row.stats.read_queue_max_bytes for row in probe.programs.tcp_file_iter.rows()]


def test_listening_and_closed_sockets_are_not_queues() -> None:
    with load("iter") as probe, socket.create_server(("127.0.0.1", 0)) as listener:
        probe.attach()
        before = len(list(probe.programs.tcp_file_iter.rows()))
        ends = [socket.create_connection(listener.getsockname()) for _ in range(3)]  # a backlog of three
        assert len(list(probe.programs.tcp_file_iter.rows())) == before
        for end in ends:
            end.close()


def test_nothing_is_left_after_rounds_of_use() -> None:
    new_tracer(CO_RE_ONLY).close()  # libbpf keeps what it learns of the kernel once
    files, before = open_files(), identifiers()
    for _ in range(3):
        with new_tracer(CO_RE_ONLY) as tracer:
            tracer.get_and_flush()
    assert open_files() == files
    assert_nothing_new(before)


def test_a_key_holds_the_longest_name_of_a_directory() -> None:
    key = TcpQueueKey(cgroup_id=1, cgroup="x" * 255)
    assert TcpQueueKey.from_bytes(bytes(key)).cgroup == "x" * 255
