# SPDX-License-Identifier: Apache-2.0
"""The demo believes nothing but its own readings: an event that names its child, gauges as high as its queues."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ebpf_collector import demo
from ebpf_collector.checks.oom_kill import OomKillCheck
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheck
from ebpf_collector.errors import WorkloadError
from ebpf_collector.workloads.stalled_reader import Queue
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


def run(probe: FakeProbe, tracer: FakeTracer | None = None) -> RecordingSender:
    sender = RecordingSender()
    tracer = tracer or FakeTracer([queue()])
    demo.run_demo(OomKillCheck(lambda: probe), TcpQueueLengthCheck(lambda: tracer), sender, lambda line: None)
    assert tracer.closed == 1
    return sender


def test_event_of_the_child_is_enough(child: int) -> None:
    probe = FakeProbe([kill(victim_tgid=7), kill(victim_tgid=child)])
    sender = run(probe)
    assert [event.fields["victim_tgid"] for event in sender.events] == [7, child]
    assert sender.commits == 2
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
        assert run(probe, tracer).commits == 2
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
