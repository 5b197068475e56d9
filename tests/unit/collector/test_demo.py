# SPDX-License-Identifier: Apache-2.0
"""The demo believes nothing but an event that names its child; the kill itself needs root."""

import pytest

from ebpf_collector import demo
from ebpf_collector.checks.oom_kill import OomKillCheck
from ebpf_collector.errors import WorkloadError
from tests.unit.collector.recording import RecordingSender
from tests.unit.collector.records import FakeProbe, kill


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pretend that a child was killed, and return its process id."""
    monkeypatch.setattr(demo, "_kill_one", lambda say: 4242)
    monkeypatch.setattr(demo, "_EVENT_TIMEOUT_S", 0.3)
    return 4242


def run(probe: FakeProbe) -> RecordingSender:
    sender = RecordingSender()
    demo.run_demo(OomKillCheck(lambda: probe), sender, lambda line: None)
    return sender


def test_event_of_the_child_is_enough(child: int) -> None:
    probe = FakeProbe([kill(victim_tgid=7), kill(victim_tgid=child)])
    sender = run(probe)
    assert [event.fields["victim_tgid"] for event in sender.events] == [7, child]
    assert sender.commits == 1
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
