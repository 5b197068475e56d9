# SPDX-License-Identifier: Apache-2.0
"""One JSON object per line, for programs; `ebpf_collector.schema` describes the lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from ebpf_collector.senders.base import Event, deliver, plain

__all__ = ["JsonLinesSender"]


class JsonLinesSender:
    """Writes metrics and events as JSON lines, in the order they were sent, flushed per commit.

    The lines are pure ASCII, so no name a process chose for itself can break one.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        """Write to *stream*; *clock* gives the Unix time of metrics, in seconds."""
        self._stream = stream
        self._clock = clock
        self._lines: list[str] = []

    def gauge(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send the value of something that goes up and down."""
        self._metric(name, "gauge", value, tags)

    def count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send how many there were since the previous run."""
        self._metric(name, "count", value, tags)

    def monotonic_count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send the present reading of a counter that only grows."""
        self._metric(name, "monotonic_count", value, tags)

    def event(self, event: Event) -> None:
        """Send one event."""
        self._line(
            {
                "kind": "event",
                "title": event.title,
                "text": event.text,
                "alert_type": event.alert_type,
                "tags": list(event.tags),
                "fields": {name: plain(value) for name, value in event.fields.items()},
                "timestamp": event.timestamp,
            }
        )

    def commit(self) -> None:
        """Write and flush the lines since the previous commit.

        Raises:
            OutputError: They could not be; with the errno EPIPE after `| head -1`.
        """
        lines, self._lines = self._lines, []
        deliver(self._stream, "".join(lines))

    def _metric(self, name: str, kind: str, value: float, tags: Sequence[str]) -> None:
        self._line(
            {
                "kind": "metric",
                "metric": name,
                "type": kind,
                "value": float(value),
                "tags": list(tags),
                "timestamp": self._clock(),
            }
        )

    def _line(self, line: dict[str, object]) -> None:
        # NaN and infinities are not JSON.
        self._lines.append(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")
