# SPDX-License-Identifier: Apache-2.0
"""The bytes of JSON lines."""

from __future__ import annotations

import errno
import io
import json
from enum import IntEnum

import jsonschema
import pytest

from ebpf_collector.errors import OutputError
from ebpf_collector.schema import check_lines
from ebpf_collector.senders import Event, JsonLinesSender


class Constraint(IntEnum):
    MEMCG = 3


EVENT = Event(
    title="killed \x1b[31m",
    text="two\nlines",
    alert_type="error",
    tags=("process_name:bröken\udcff",),
    fields={"pid": 7, "constraint": Constraint.MEMCG, "is_memcg": True, "comm": "x"},
    timestamp=1790000000.5,
)


class Stream(io.StringIO):
    """Notes when it was flushed, and fails where it shall."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.flushed: list[str] = []
        self._number = number

    def flush(self) -> None:
        if self._number:
            raise OSError(self._number, "no")
        self.flushed.append(self.getvalue())


def sender(stream: Stream) -> JsonLinesSender:
    return JsonLinesSender(stream, clock=lambda: 1790000001.25)


def test_each_kind_of_metric_is_one_line_in_order() -> None:
    stream = Stream()
    made = sender(stream)
    made.gauge("a", 12, ["map_name:x"])
    made.count("b", 1)
    made.monotonic_count("c", 3, ("t",))
    made.commit()
    assert stream.getvalue() == (
        '{"kind":"metric","metric":"a","type":"gauge","value":12.0,"tags":["map_name:x"],"timestamp":1790000001.25}\n'
        '{"kind":"metric","metric":"b","type":"count","value":1.0,"tags":[],"timestamp":1790000001.25}\n'
        '{"kind":"metric","metric":"c","type":"monotonic_count","value":3.0,"tags":["t"],"timestamp":1790000001.25}\n'
    )


def test_an_event_is_one_line_of_ascii_whatever_a_process_calls_itself() -> None:
    stream = Stream()
    made = sender(stream)
    made.event(EVENT)
    made.commit()
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    found = json.loads(line)
    jsonschema.validate(found, check_lines())
    assert found == {
        "kind": "event",
        "title": "killed \x1b[31m",
        "text": "two\nlines",
        "alert_type": "error",
        "tags": ["process_name:bröken\udcff"],
        "fields": {"pid": 7, "constraint": "MEMCG", "is_memcg": True, "comm": "x"},
        "timestamp": 1790000000.5,
    }


def test_nothing_is_written_before_the_commit_and_then_it_is_flushed_once() -> None:
    stream = Stream()
    made = sender(stream)
    made.gauge("a", 1)
    made.gauge("b", 2)
    assert stream.getvalue() == ""
    made.commit()
    assert stream.flushed == [stream.getvalue()]
    made.commit()
    assert stream.getvalue().count("\n") == 2  # each line once


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_has_no_number_for_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        sender(Stream()).gauge("a", value)


def test_a_closed_reader_is_an_output_error() -> None:
    made = sender(Stream(errno.EPIPE))
    made.gauge("a", 1)
    with pytest.raises(OutputError) as caught:
        made.commit()
    assert caught.value.errno == errno.EPIPE
