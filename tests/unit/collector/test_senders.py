# SPDX-License-Identifier: Apache-2.0
"""What senders write, to the byte, and that JSON lines keep to their schema."""

import errno
import io
import json
from typing import TextIO

import jsonschema
import pytest

from ebpf_collector.checks.oom_kill import OomKillCheck
from ebpf_collector.errors import OutputError
from ebpf_collector.schema import check_lines
from ebpf_collector.senders import ConsoleSender, Event, JsonLinesSender, Sender
from ebpf_probes.oom_kill import OomKillConstraint
from tests.unit.collector.records import FakeProbe, kill

EVENT = Event(
    title="Something \N{GREEK SMALL LETTER ALPHA} happened",
    text="first\nsecond",
    alert_type="error",
    tags=("a:1", "b:2"),
    fields={"pid": 42, "constraint": OomKillConstraint.MEMCG, "flag": True, "cgroup": ""},
    timestamp=1790000000.5,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class BrokenStream(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def flush(self) -> None:
        raise OSError(self.number, "broken")


def send_everything(sender: Sender) -> None:
    sender.gauge("ebpf.maps.entry_count", 12, ["map_name:x"])
    sender.count("kills.count", 1, ["b:2"])
    sender.count("kills.count", 1, ["b:2"])
    sender.count("kills.count", 1)
    sender.monotonic_count("lost", 1234567)
    sender.event(EVENT)


class TestJsonLines:
    def test_lines(self) -> None:
        stream = io.StringIO()
        sender = JsonLinesSender(stream, clock=lambda: 1790000000.25)
        send_everything(sender)
        assert stream.getvalue() == ""
        sender.commit()
        assert stream.getvalue().splitlines() == [
            '{"kind":"metric","metric":"ebpf.maps.entry_count","type":"gauge","value":12.0,'
            '"tags":["map_name:x"],"timestamp":1790000000.25}',
            '{"kind":"metric","metric":"kills.count","type":"count","value":1.0,'
            '"tags":["b:2"],"timestamp":1790000000.25}',
            '{"kind":"metric","metric":"kills.count","type":"count","value":1.0,'
            '"tags":["b:2"],"timestamp":1790000000.25}',
            '{"kind":"metric","metric":"kills.count","type":"count","value":1.0,"tags":[],"timestamp":1790000000.25}',
            '{"kind":"metric","metric":"lost","type":"monotonic_count","value":1234567.0,'
            '"tags":[],"timestamp":1790000000.25}',
            r'{"kind":"event","title":"Something \u03b1 happened","text":"first\nsecond",'
            '"alert_type":"error","tags":["a:1","b:2"],'
            '"fields":{"pid":42,"constraint":"MEMCG","flag":true,"cgroup":""},"timestamp":1790000000.5}',
        ]
        sender.commit()
        assert len(stream.getvalue().splitlines()) == 6

    @pytest.mark.parametrize("settings", [b"", b"metric_scheme: datadog"])
    def test_lines_of_a_check_keep_to_the_schema(self, settings: bytes) -> None:
        stream = io.StringIO()
        sender = JsonLinesSender(stream)
        records = [kill(), kill(victim_comm="\n\x1b\u2028", victim_cgroup="")]
        check = OomKillCheck(lambda: FakeProbe(records, lost=3))
        check.configure(settings)
        check.start()
        check.run(sender)
        sender.commit()
        schema = check_lines()
        jsonschema.Draft202012Validator.check_schema(schema)
        lines = [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]
        assert [line["kind"] for line in lines].count("event") == 2
        assert len(lines) == 6
        for line in lines:
            jsonschema.validate(line, schema)

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "histogram"},
            {"value": "12"},
            {"tags": "a:1"},
            {"metric": "Bad Name"},
            {"timestamp": None},
            {"extra": 1},
            {"kind": "event"},
        ],
    )
    def test_schema_refuses_other_metrics(self, change: dict[str, object]) -> None:
        line = {
            "kind": "metric",
            "metric": "a.b",
            "type": "gauge",
            "value": 1.0,
            "tags": [],
            "timestamp": 1.5,
        }
        jsonschema.validate(line, check_lines())
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(line | change, check_lines())
        for key in line:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({k: v for k, v in line.items() if k != key}, check_lines())

    def test_not_a_number_is_refused(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            JsonLinesSender(io.StringIO()).gauge("a.b", float("nan"))


class TestConsole:
    def test_table_and_events(self) -> None:
        stream = io.StringIO()
        sender = ConsoleSender(stream)
        send_everything(sender)
        assert stream.getvalue() == ""
        sender.commit()
        assert stream.getvalue() == (
            "METRIC                 TYPE               VALUE  TAGS\n"
            "ebpf.maps.entry_count  gauge                 12  map_name:x\n"
            "kills.count            count                  2  b:2\n"
            "kills.count            count                  1\n"
            "lost                   monotonic_count  1234567\n"
            "\n"
            "2026-09-21T14:13:20Z  error  Something \N{GREEK SMALL LETTER ALPHA} happened\n"
            "  first\n"
            "  second\n"
            "  tags: a:1 b:2\n"
            "    pid         42\n"
            "    constraint  MEMCG\n"
            "    flag        True\n"
            "    cgroup\n"
        )

    def test_second_commit_is_set_off(self) -> None:
        stream = io.StringIO()
        sender = ConsoleSender(stream)
        for value in (1.5, 2.25):
            sender.gauge("a.b", value)
            sender.commit()
        sender.commit()
        assert stream.getvalue() == (
            "METRIC  TYPE   VALUE  TAGS\na.b     gauge    1.5\n\nMETRIC  TYPE   VALUE  TAGS\na.b     gauge   2.25\n"
        )

    def test_colours_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        stream = Terminal()
        sender = ConsoleSender(stream)
        send_everything(sender)
        sender.commit()
        assert stream.getvalue().startswith("\x1b[1mMETRIC")
        assert "\x1b[31merror\x1b[0m" in stream.getvalue()

    @pytest.mark.parametrize(("stream", "no_color"), [(Terminal(), "1"), (io.StringIO(), "")])
    def test_no_colours(self, monkeypatch: pytest.MonkeyPatch, stream: TextIO, no_color: str) -> None:
        monkeypatch.setenv("NO_COLOR", no_color)
        sender = ConsoleSender(stream)
        send_everything(sender)
        sender.commit()
        assert isinstance(stream, io.StringIO)
        assert "\x1b" not in stream.getvalue()

    def test_names_cannot_drive_the_terminal(self) -> None:
        stream = io.StringIO()
        sender = ConsoleSender(stream)
        sender.count("a.b", 1, ["process_name:\x1b[2J\nhog"])
        sender.event(
            Event(
                title="\x1b]0;x\x07",
                text="a\x1b[31m",
                alert_type="info",
                tags=("t:\x9b",),
                fields={"comm": "\r\x08\u202e"},
                timestamp=0,
            )
        )
        sender.commit()
        assert all(line.isprintable() for line in stream.getvalue().splitlines())
        assert r"process_name:\x1b[2J\nhog" in stream.getvalue()
        assert r"comm  \r\x08\u202e" in stream.getvalue()


@pytest.mark.parametrize("kind", [JsonLinesSender, ConsoleSender])
@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_stream_that_takes_nothing(kind: type[JsonLinesSender] | type[ConsoleSender], number: int) -> None:
    sender = kind(BrokenStream(number))
    send_everything(sender)
    with pytest.raises(OutputError) as caught:
        sender.commit()
    assert caught.value.errno == number


def test_message_of_a_full_disk() -> None:
    assert str(OutputError(errno.ENOSPC)) == (
        "write output: ENOSPC, no space left on device. See where it is redirected to."
    )
