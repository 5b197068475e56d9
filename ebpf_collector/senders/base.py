# SPDX-License-Identifier: Apache-2.0
"""What a check needs of a sender, and the event it sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, TextIO

from ebpf_collector.errors import OutputError

__all__ = ["AlertType", "Event", "FieldValue", "Sender", "deliver", "plain"]

AlertType = Literal["error", "warning", "info", "success"]
FieldValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once.

    `fields` is the typed record the event was made from; `timestamp` is in Unix seconds.
    `source_type`, `event_type`, `aggregation_key` and `priority` are what Datadog's event intake
    groups by; senders for other readers leave them out.
    """

    title: str
    text: str
    alert_type: AlertType
    tags: tuple[str, ...]
    fields: Mapping[str, FieldValue]
    timestamp: float
    source_type: str = ""
    event_type: str = ""
    aggregation_key: str = ""
    priority: Literal["normal", "low"] = "normal"


class Sender(Protocol):
    """Takes what a check found in one run; `commit()` ends the run and delivers it."""

    def gauge(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send the value of something that goes up and down."""

    def count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send how many there were since the previous run."""

    def monotonic_count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send the present reading of a counter that only grows."""

    def event(self, event: Event) -> None:
        """Send one event."""

    def commit(self) -> None:
        """Deliver everything sent since the previous commit.

        Raises:
            OutputError: It could not be delivered; with the errno EPIPE where the reader is gone.
        """


def deliver(stream: TextIO, text: str) -> None:
    """Write *text* to *stream* and flush it.

    Raises:
        OutputError: The stream did not take it.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        raise OutputError(error.errno) from None


def plain(value: FieldValue) -> FieldValue:
    """Return a field's value as readers see it: an enumerator by its name, the rest unchanged."""
    return value.name if isinstance(value, Enum) else value
