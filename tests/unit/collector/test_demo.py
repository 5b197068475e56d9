# SPDX-License-Identifier: Apache-2.0
"""The demo believes nothing but its own readings: an event that names its child, gauges as high as its queues."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ebpf_collector import demo
from ebpf_collector.checks.ebpf import EbpfCheck
from ebpf_collector.checks.oom_kill import OomKillCheck
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheck
from ebpf_collector.errors import WorkloadError
from ebpf_collector.inventory import Inventory
from ebpf_collector.workloads.stalled_reader import Queue
from tests.unit.collector import inventories
from tests.unit.collector.inventories import map_state, program_state
from tests.unit.collector.recording import RecordingSender
from tests.unit.collector.records import FakeProbe, FakeTracer, kill, queue


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pretend that a child was killed, and return its process id."""
    monkeypatch.setattr(demo, "_kill_one", lambda say: 4242)
    monkeypatch.setattr(demo, "_EVENT_TIMEOUT_S", 0.3)
    return 4242


class FakeConnection:
    """A connection with 100 bytes in the receive queue and 200 in the send queue."""

    port = 4711

    def fill(self) -> None:
        pass

    def receive_queue(self) -> Queue:
        return Queue(100, 1000)

    def send_queue(self) -> Queue:
        return Queue(200, 1000)


@pytest.fixture(autouse=True)
def fake_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def make() -> Iterator[FakeConnection]:
        yield FakeConnection()

    monkeypatch.setattr(demo, "stalled_reader", make)


INVENTORY = Inventory((map_state(), map_state(id=72, module="unknown")), (program_state(),))


def run(probe: FakeProbe, tracer: FakeTracer | None = None, inventory: Inventory = INVENTORY) -> RecordingSender:
    sender = RecordingSender()
    tracer = tracer or FakeTracer([queue()])
    objects = inventories.FakeProbe(inventory)
    oom_kill, tcp_queue_length = OomKillCheck(lambda: probe), TcpQueueLengthCheck(lambda: tracer)
    demo.run_demo(oom_kill, tcp_queue_length, EbpfCheck(lambda: objects), sender, lambda line: None)
    assert tracer.closed == objects.closed == 1
    return sender


def test_event_of_the_child_is_enough(child: int) -> None:
    probe = FakeProbe([kill(victim_tgid=7), kill(victim_tgid=child)])
    sender = run(probe)
    assert [event.fields["victim_tgid"] for event in sender.events] == [7, child]
    assert sender.commits == 3
    assert probe.closed == 1


def test_event_may_come_late(child: int) -> None:
    assert len(run(FakeProbe([], [kill(victim_tgid=child)])).events) == 1


def test_other_kills_are_not_enough(child: int) -> None:
    # As trigger, as thread, and in another process: none is the victim.
    others = [kill(victim_tgid=7, victim_pid=child), kill(victim_tgid=8, trigger_tgid=child)]
    probe = FakeProbe(others)
    with pytest.raises(WorkloadError) as caught:
        run(probe)
    message = str(caught.value)
    assert message.startswith(f"find the kill of process {child}: the check sent no event with that victim_tgid. ")
    assert probe.closed == 1


@pytest.mark.parametrize(
    ("figures", "missing"),
    [
        ({"read_queue_max_bytes": 100, "write_queue_max_bytes": 200}, ""),
        ({"read_queue_max_bytes": 99}, "tcp_queue.read_queue_max_bytes of 100 or more"),
        ({"write_queue_max_bytes": 199}, "tcp_queue.write_queue_max_bytes of 200 or more"),
    ],
)
def test_queues_must_be_found(child: int, figures: Any, missing: str) -> None:
    probe, tracer = FakeProbe([kill(victim_tgid=child)]), FakeTracer([queue(**figures)])
    if not missing:
        assert run(probe, tracer).commits == 3
        return
    with pytest.raises(WorkloadError) as caught:
        run(probe, tracer)
    assert str(caught.value) == (
        f"find the connection to port 4711: the check sent no {missing}. Compare with ss -tnm."
    )
    assert tracer.closed == 1


def test_no_queue_at_all_is_not_enough(child: int) -> None:
    with pytest.raises(WorkloadError, match=r"sent no tcp_queue\.read_queue_max_bytes of 100 or more"):
        run(FakeProbe([kill(victim_tgid=child)]), FakeTracer([]))


def test_inventory_is_shown_by_module_alone(child: int) -> None:
    points = run(FakeProbe([kill(victim_tgid=child)])).points
    assert [(name, value, tags) for _, name, value, tags in points if name.startswith("ebpf.")] == [
        (name, value, [f"module:{module}", "variant:task_vma"])
        for name, value, module in (
            ("ebpf.maps.count", 1, "oom_kill"),
            ("ebpf.maps.unmeasured", 0, "oom_kill"),
            ("ebpf.maps.module_memory_bytes", 277_777, "oom_kill"),
            ("ebpf.maps.count", 1, "unknown"),
            ("ebpf.maps.unmeasured", 0, "unknown"),
            ("ebpf.maps.module_memory_bytes", 277_777, "unknown"),
            ("ebpf.programs.count", 1, "oom_kill"),
            ("ebpf.programs.module_memory_bytes", 10_449, "oom_kill"),
        )
    ]


def test_inventory_must_have_the_demos_own_maps(child: int) -> None:
    with pytest.raises(WorkloadError) as caught:
        run(FakeProbe([kill(victim_tgid=child)]), inventory=Inventory((map_state(module="unknown"),), ()))
    assert str(caught.value) == (
        "find the maps of the probe oom_kill: the check sent no ebpf.maps.count of this module. "
        "Compare with bpftool map show."
    )
