# SPDX-License-Identifier: Apache-2.0
"""What the check `oom_kill` sends for given records, in both metric schemes."""

import time
from typing import Any

import pytest

from ebpf_collector.checks import CHECK_NAMES
from ebpf_collector.checks.loading import LOAD_METRICS
from ebpf_collector.checks.oom_kill import CHECK_NAME, OomKillCheck, OomKillProbe, factory, new_check
from ebpf_collector.senders import Event
from ebpf_probes.oom_kill import OomKillConstraint, OomKillEvent, OomKillSource
from tests.unit.collector.recording import RecordingSender
from tests.unit.collector.records import DOCKER_ID, FakeProbe, kill

DATADOG = b"metric_scheme: datadog"


def run(probe: FakeProbe, settings: bytes = b"", **options: Any) -> tuple[OomKillCheck, RecordingSender]:
    """Return a check that was started and run once, and what it sent."""
    check = OomKillCheck(lambda: probe, **options)
    check.configure(settings)
    check.start()
    sender = RecordingSender()
    check.run(sender)
    return check, sender


def counted(sender: RecordingSender) -> list[list[str]]:
    """Return the tags of each counted kill."""
    return [tags for _, name, _, tags in sender.points if name == "oom_kill.oom_process.count"]


def event_of(record: OomKillEvent, settings: bytes = b"") -> Event:
    _, sender = run(FakeProbe([record]), settings)
    (event,) = sender.events
    return event


def test_names() -> None:
    assert CHECK_NAME == "oom_kill"
    assert CHECK_NAME in CHECK_NAMES
    assert new_check().name == CHECK_NAME
    make = factory()
    assert make() is not make()
    assert new_check().windowed


@pytest.mark.parametrize(("settings", "origin"), [(b"", ["origin:compiled"]), (DATADOG, [])])
def test_every_point_of_a_run(settings: bytes, origin: list[str]) -> None:
    record = kill()
    _, sender = run(FakeProbe([record, record], variant="kprobe", origin="compiled", lost=7), settings)
    tags = counted(sender)[0]
    assert sender.points == [
        ("gauge", "ebpf_collector.probe_info", 1, ["probe:oom_kill", "variant:kprobe", *origin]),
        ("count", "oom_kill.oom_process.count", 1, tags),
        ("count", "oom_kill.oom_process.count", 1, tags),
        ("monotonic_count", "ebpf_collector.lost_events", 7, ["probe:oom_kill"]),
    ]
    assert len(sender.events) == 2
    assert sender.commits == 0  # the caller's


@pytest.mark.parametrize("settings", [b"", DATADOG])
def test_declared_metrics_are_those_emitted(settings: bytes) -> None:
    check, sender = run(FakeProbe([kill()]), settings)
    # Those of loading are sent of what was tried, see test_loading.py.
    declared = {(metric.type, metric.name) for metric in check.metrics if metric not in LOAD_METRICS}
    assert declared == {(kind, name) for kind, name, _, _ in sender.points}
    assert all(metric.unit and metric.help.endswith(".") for metric in check.metrics)


def test_second_run_reports_only_what_is_new() -> None:
    check, first = run(FakeProbe([kill(victim_comm="one")], [kill(victim_comm="two")]))
    second = RecordingSender()
    check.run(second)
    assert [sender.events[0].fields["victim_comm"] for sender in (first, second)] == ["one", "two"]


def test_disabled_check_opens_nothing_and_sends_nothing() -> None:
    def refuse() -> OomKillProbe:
        raise AssertionError("opened")

    check = OomKillCheck(refuse)
    check.configure(b"collect_oom_kill: false")
    check.start()
    sender = RecordingSender()
    check.run(sender)
    check.close()
    assert (sender.points, sender.events) == ([], [])


def test_close_closes_the_probe_once() -> None:
    probe = FakeProbe()
    check, _ = run(probe)
    check.close()
    check.close()
    assert probe.closed == 1


@pytest.mark.parametrize("settings", [b"", DATADOG])
def test_event_carries_the_whole_record(settings: bytes) -> None:
    record = kill()
    event = event_of(record, settings)
    assert event.fields == record.asdict()
    assert event.fields["victim_tgid"] == 4242
    assert event.fields["constraint"] is OomKillConstraint.MEMCG


def test_timestamp_is_unix_time() -> None:
    before = time.time()
    event = event_of(kill(timestamp_ns=time.monotonic_ns()))
    assert before - 0.001 <= event.timestamp <= time.time() + 0.001


def test_timestamp_keeps_the_distance() -> None:
    recent = event_of(kill(timestamp_ns=time.monotonic_ns())).timestamp
    older = event_of(kill(timestamp_ns=time.monotonic_ns() - 8_000_000_000)).timestamp
    assert recent - older == pytest.approx(8, abs=0.01)


class TestDatadog:
    def test_tags_of_a_container(self) -> None:
        _, sender = run(FakeProbe([kill()]), DATADOG)
        expected = [
            f"container_id:{DOCKER_ID}",
            "trigger_type:cgroup",
            "trigger_process_name:asker",
            "process_name:hog",
        ]
        assert counted(sender) == [expected]
        assert list(sender.events[0].tags) == expected

    def test_tags_of_a_host_process(self) -> None:
        _, sender = run(FakeProbe([kill(victim_cgroup="ssh.service", is_memcg=False)]), DATADOG)
        assert counted(sender) == [["trigger_type:system", "trigger_process_name:asker", "process_name:hog"]]

    def test_container_tags_are_asked_for_only_with_an_id(self) -> None:
        asked: list[str] = []

        def tags(identifier: str) -> list[str]:
            asked.append(identifier)
            return ["image:db", "team:x"]

        records = [kill(victim_cgroup="ssh.service"), kill(), kill(victim_cgroup="")]
        _, sender = run(FakeProbe(records), DATADOG, container_tags=tags)
        assert asked == [DOCKER_ID]
        assert [tags[:2] == ["image:db", "team:x"] for tags in counted(sender)] == [
            False,
            True,
            False,
        ]

    def test_container_is_the_victims(self) -> None:
        record = kill(victim_cgroup="ssh.service", trigger_cgroup=f"docker-{DOCKER_ID}.scope")
        _, sender = run(FakeProbe([record]), DATADOG)
        assert not any(tag.startswith("container_id") for tag in counted(sender)[0])

    def test_event_of_another_process(self) -> None:
        event = event_of(kill(), DATADOG)
        assert event.title == "Out of memory: oom_kill_process on hog (pid 4242)"
        assert event.text == (
            "%%%\n"
            "`asker` (pid 4101) asked for memory, and `hog` (pid 4242, oom_score 18426, "
            "oom_score_adj 42) was killed.\n"
            "Page count: 12288.\n"
            f"Invoked by: a cgroup, container id {DOCKER_ID}.\n"
            "%%%"
        )
        assert event.alert_type == "error"
        assert event.priority == "normal"
        assert (event.source_type, event.event_type) == ("oom_kill", "oom_kill")
        assert event.aggregation_key == DOCKER_ID

    def test_event_of_a_process_that_killed_itself(self) -> None:
        # Threads of one process are one process.
        event = event_of(kill(trigger_tgid=4242, trigger_pid=4299), DATADOG)
        assert event.text.splitlines()[1] == (
            "`hog` (pid 4242, oom_score 18426, oom_score_adj 42) asked for memory and was killed itself."
        )

    @pytest.mark.parametrize(("score_adj", "expected"), [(0, False), (-1, True), (1000, True), (-1000, True)])
    @pytest.mark.parametrize("trigger_tgid", [4101, 4242])
    def test_score_adj_only_if_it_is_not_zero(self, score_adj: int, expected: bool, trigger_tgid: int) -> None:
        event = event_of(kill(score_adj=score_adj, trigger_tgid=trigger_tgid), DATADOG)
        assert (f"oom_score_adj {score_adj})" in event.text) is expected
        assert ("oom_score_adj" in event.text) is expected

    @pytest.mark.parametrize(
        ("changes", "line", "key"),
        [
            ({"is_memcg": False, "victim_cgroup": ""}, "Invoked by: the system.", ""),
            ({"is_memcg": False}, "Invoked by: the system.", DOCKER_ID),
            ({"victim_cgroup": "ssh.service"}, "Invoked by: a cgroup.", ""),
        ],
    )
    def test_invoker(self, changes: dict[str, Any], line: str, key: str) -> None:
        event = event_of(kill(**changes), DATADOG)
        assert event.text.splitlines()[3] == line
        assert event.aggregation_key == key

    def test_members_of_a_group_kill_are_not_reported(self) -> None:
        records = [kill(), kill(group_member=True, victim_tgid=4300)]
        _, sender = run(FakeProbe(records), DATADOG)
        assert len(counted(sender)) == 1
        assert [event.fields["victim_tgid"] for event in sender.events] == [4242]


class TestNative:
    def test_tags(self) -> None:
        _, sender = run(FakeProbe([kill()], variant="fentry"))
        expected = [
            "process_name:hog",
            "trigger_process_name:asker",
            "trigger_type:cgroup",
            f"cgroup:docker-{DOCKER_ID}.scope",
            "constraint:memcg",
            "source:stack",
            "variant:fentry",
        ]
        assert counted(sender) == [expected]
        assert list(sender.events[0].tags) == expected

    def test_tags_of_a_host_process_in_the_root_cgroup(self) -> None:
        record = kill(
            victim_cgroup="",
            is_memcg=False,
            constraint=OomKillConstraint.NONE,
            source=OomKillSource.ARGUMENT,
        )
        _, sender = run(FakeProbe([record]))
        assert counted(sender)[0][2:6] == [
            "trigger_type:system",
            "cgroup:/",
            "constraint:none",
            "source:argument",
        ]

    def test_event_of_another_process(self) -> None:
        event = event_of(kill())
        assert event.title == "Out of memory: the kernel killed hog (pid 4242)"
        assert event.text == (
            "The memory was asked for by asker (pid 4101).\n"
            "Memory ran out in a memory cgroup.\n"
            "That domain may hold 12288 pages of memory and swap.\n"
            "Its score was 18426 pages, with an oom_score_adj of 42.\n"
            f"Its memory cgroup was docker-{DOCKER_ID}.scope."
        )
        assert event.alert_type == "error"

    def test_event_of_a_process_that_killed_itself(self) -> None:
        event = event_of(kill(trigger_tgid=4242))
        assert event.text.splitlines()[0] == "It asked for the memory itself."

    @pytest.mark.parametrize(
        ("constraint", "line"),
        [
            (OomKillConstraint.NONE, "Memory ran out in the whole system."),
            (OomKillConstraint.CPUSET, "Memory ran out in a cpuset's nodes."),
            (OomKillConstraint.MEMORY_POLICY, "Memory ran out in a memory policy's nodes."),
        ],
    )
    def test_domain(self, constraint: OomKillConstraint, line: str) -> None:
        assert event_of(kill(constraint=constraint)).text.splitlines()[1] == line

    def test_event_says_only_what_is_known(self) -> None:
        event = event_of(
            kill(
                constraint=OomKillConstraint.UNKNOWN,
                source=OomKillSource.RECOMPUTED,
                total_pages=0,
                victim_cgroup="",
            )
        )
        assert event.text == (
            "The memory was asked for by asker (pid 4101).\n"
            "It held about 18426 pages; its oom_score_adj was 42, the kernel's own score is not known.\n"
            "Its memory cgroup was /."
        )

    def test_members_of_a_group_kill_are_reported_as_such(self) -> None:
        _, sender = run(FakeProbe([kill(), kill(group_member=True, victim_tgid=4300)]))
        assert len(counted(sender)) == 2
        lines = sender.events[1].text.splitlines()
        assert lines[0] == "Killed together with its cgroup (memory.oom.group)."
        assert lines[4] == "The score of the cgroup's first victim was 18426 pages."

    def test_total_pages_are_never_called_the_size_of_the_process(self) -> None:
        lines = event_of(kill(total_pages=999983)).text.splitlines()
        assert [line for line in lines if "999983" in line] == ["That domain may hold 999983 pages of memory and swap."]


@pytest.mark.parametrize("settings", [b"", DATADOG])
def test_names_chosen_by_a_process_cannot_break_the_text(settings: bytes) -> None:
    event = event_of(kill(victim_comm="a\n%%%\x1b[2J", trigger_comm="\rb"), settings)
    assert "a\\n%%%\\x1b[2J (pid 4242)" in event.title
    assert event.title.isprintable()
    assert all(line.isprintable() for line in event.text.splitlines())
    assert event.text.count("\n") == 4
    # Fields and tags are the record's own.
    assert event.fields["victim_comm"] == "a\n%%%\x1b[2J"
    assert "process_name:a\n%%%\x1b[2J" in event.tags
