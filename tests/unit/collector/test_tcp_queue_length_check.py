# SPDX-License-Identifier: Apache-2.0
"""What the check `tcp_queue_length` sends for given records, in both metric schemes."""

from typing import Any

import pytest

from ebpf_collector.checks import CHECK_NAMES
from ebpf_collector.checks.loading import LOAD_METRICS
from ebpf_collector.checks.tcp_queue_length import (
    CHECK_NAME,
    TcpQueueLengthCheck,
    TcpQueueLengthTracer,
    factory,
    new_check,
)
from tests.unit.collector.recording import RecordingSender
from tests.unit.collector.records import DOCKER_ID, FakeTracer, queue

DATADOG = b"metric_scheme: datadog"
INFO = "ebpf_collector.probe_info"
LOST = "ebpf_collector.lost_events"


def run(tracer: FakeTracer, settings: bytes = b"", **options: Any) -> tuple[TcpQueueLengthCheck, RecordingSender]:
    """Return a check that was started and run once, and what it sent."""
    check = TcpQueueLengthCheck(lambda: tracer, **options)
    check.configure(settings)
    check.start()
    sender = RecordingSender()
    check.run(sender)
    return check, sender


def queues(sender: RecordingSender) -> list[tuple[str, float, list[str]]]:
    """Return name, value and tags of all points about queues."""
    points = [(name, value, tags) for kind, name, value, tags in sender.points if name not in (INFO, LOST)]
    assert {kind for kind, name, _, _ in sender.points if name not in (INFO, LOST)} <= {"gauge"}
    return points


def test_names() -> None:
    assert CHECK_NAME == "tcp_queue_length"
    assert CHECK_NAME in CHECK_NAMES
    assert new_check().name == CHECK_NAME
    make = factory()
    assert make() is not make()
    assert new_check().windowed


@pytest.mark.parametrize(("settings", "origin"), [(b"", ["origin:compiled"]), (DATADOG, [])])
def test_first_and_last_point_of_a_run(settings: bytes, origin: list[str]) -> None:
    _, sender = run(FakeTracer([queue()], variant="kprobe", origin="compiled", lost=7), settings)
    assert sender.points[0] == ("gauge", INFO, 1, ["probe:tcp_queue_length", "variant:kprobe", *origin])
    assert sender.points[-1] == ("monotonic_count", LOST, 7, ["probe:tcp_queue_length"])
    assert sender.events == []
    assert sender.commits == 0  # the caller's


def test_declared_metrics_are_those_emitted() -> None:
    emitted = set()
    for settings in (b"", DATADOG):
        check, sender = run(FakeTracer([queue()]), settings)
        emitted |= {(kind, name) for kind, name, _, _ in sender.points}
    # Those of loading are sent of what was tried, see test_loading.py.
    assert {(metric.type, metric.name) for metric in check.metrics if metric not in LOAD_METRICS} == emitted
    assert all(metric.unit and metric.help.endswith(".") for metric in check.metrics)


def test_second_run_reports_only_what_is_new() -> None:
    check, first = run(FakeTracer([queue("one")], [queue("two")]))
    second = RecordingSender()
    check.run(second)
    assert [queues(sender)[0][2][0] for sender in (first, second)] == ["cgroup:one", "cgroup:two"]


def test_disabled_check_opens_nothing_and_sends_nothing() -> None:
    def refuse() -> TcpQueueLengthTracer:
        raise AssertionError("opened")

    check = TcpQueueLengthCheck(refuse)
    check.configure(b"collect_tcp_queue_length: false")
    check.start()
    sender = RecordingSender()
    check.run(sender)
    check.close()
    assert sender.points == []


def test_close_closes_the_tracer_once() -> None:
    tracer = FakeTracer()
    check, _ = run(tracer)
    check.close()
    check.close()
    assert tracer.closed == 1


class TestNative:
    def test_points_of_a_group(self) -> None:
        _, sender = run(FakeTracer([queue("ssh.service")], variant="fentry"))
        tags = ["cgroup:ssh.service", "variant:fentry"]
        assert queues(sender) == [
            ("tcp_queue.read_buffer_max_usage_permille", 925, tags),
            ("tcp_queue.write_buffer_max_usage_permille", 1002, tags),
            ("tcp_queue.read_queue_max_bytes", 121344, tags),
            ("tcp_queue.write_queue_max_bytes", 4152832, tags),
        ]

    def test_processes_of_the_host_and_of_containers_alike(self) -> None:
        _, sender = run(FakeTracer([queue(""), queue("ssh.service", 2), queue(cgroup_id=3)]))
        cgroups = [tags[0] for name, _, tags in queues(sender) if name == "tcp_queue.read_queue_max_bytes"]
        assert cgroups == ["cgroup:/", "cgroup:ssh.service", f"cgroup:docker-{DOCKER_ID}.scope"]

    def test_groups_of_one_name_are_one_point(self) -> None:
        readings = [
            queue("payload", 1, read_queue_max_bytes=5, write_queue_max_permille=900),
            queue("payload", 2, read_queue_max_bytes=4, write_queue_max_permille=901),
        ]
        _, sender = run(FakeTracer([readings[0], readings[1]]))
        values = {name: value for name, value, _ in queues(sender)}
        assert len(queues(sender)) == len(values) == 4
        assert values["tcp_queue.read_queue_max_bytes"] == 5
        assert values["tcp_queue.write_buffer_max_usage_permille"] == 901

    def test_no_tags_of_containers_are_asked_for(self) -> None:
        def refuse(identifier: str) -> list[str]:
            raise AssertionError(identifier)

        run(FakeTracer([queue()]), container_tags=refuse)


class TestDatadog:
    def test_points_of_a_container(self) -> None:
        _, sender = run(FakeTracer([queue()]), DATADOG)
        tags = [f"container_id:{DOCKER_ID}"]
        assert queues(sender) == [
            ("tcp_queue.read_buffer_max_usage_pct", 0.925, tags),
            ("tcp_queue.write_buffer_max_usage_pct", 1.002, tags),
        ]

    def test_processes_of_the_host_are_left_out(self) -> None:
        _, sender = run(FakeTracer([queue("ssh.service"), queue("", 2)]), DATADOG)
        assert queues(sender) == []
        assert [name for _, name, _, _ in sender.points] == [INFO, LOST]

    def test_empty_queues_of_a_container_are_sent(self) -> None:
        _, sender = run(FakeTracer([queue(read_queue_max_permille=0, write_queue_max_permille=0)]), DATADOG)
        assert [value for _, value, _ in queues(sender)] == [0, 0]

    def test_container_tags_are_asked_for_only_with_an_id(self) -> None:
        asked: list[str] = []

        def tags(identifier: str) -> list[str]:
            asked.append(identifier)
            return ["image:db", "team:x"]

        _, sender = run(FakeTracer([queue("ssh.service"), queue(cgroup_id=2)]), DATADOG, container_tags=tags)
        assert asked == [DOCKER_ID]
        assert [found for _, _, found in queues(sender)] == [["image:db", "team:x"]] * 2
