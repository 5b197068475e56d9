# SPDX-License-Identifier: Apache-2.0
"""A table of metrics with the events below it, for people."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TextIO

from ebpf_collector.printable import printable
from ebpf_collector.senders.base import Event, deliver, plain

__all__ = ["ConsoleSender"]

_BOLD = "\x1b[1m"
_COLOURS = {
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "info": "\x1b[36m",
    "success": "\x1b[32m",
}
_RESET = "\x1b[0m"
_HEADER = ("METRIC", "TYPE", "VALUE", "TAGS")


class ConsoleSender:
    """Prints one table of metrics and the events below it per commit.

    Counts of the same name and tags are added up, as a reader of the metric would do. Colours are
    used only on a terminal, and not where the environment variable NO_COLOR is set.
    """

    def __init__(self, stream: TextIO) -> None:
        """Print to *stream*."""
        self._stream = stream
        self._colours = stream.isatty() and not os.environ.get("NO_COLOR")
        self._metrics: dict[tuple[str, str, tuple[str, ...]], float] = {}
        self._events: list[Event] = []
        self._printed = False

    def gauge(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send the value of something that goes up and down."""
        self._metrics[name, "gauge", tuple(tags)] = value

    def count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send how many there were since the previous run."""
        key = (name, "count", tuple(tags))
        self._metrics[key] = self._metrics.get(key, 0) + value

    def monotonic_count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Send the present reading of a counter that only grows."""
        self._metrics[name, "monotonic_count", tuple(tags)] = value

    def event(self, event: Event) -> None:
        """Send one event."""
        self._events.append(event)

    def commit(self) -> None:
        """Print what came since the previous commit; nothing came, nothing is printed.

        Raises:
            OutputError: It could not be printed.
        """
        blocks = [self._table()] if self._metrics else []
        blocks.extend(self._event_lines(event) for event in self._events)
        self._metrics, self._events = {}, []
        if not blocks:
            return
        text = "\n".join("".join(f"{line}\n" for line in block) for block in blocks)
        separator = "\n" if self._printed else ""
        self._printed = True
        deliver(self._stream, separator + text)

    def _table(self) -> list[str]:
        rows = [
            (printable(name), kind, f"{value:.15g}", printable(" ".join(tags)))
            for (name, kind, tags), value in self._metrics.items()
        ]
        name_width, kind_width, value_width = (max(len(row[column]) for row in (_HEADER, *rows)) for column in range(3))
        lines = [
            f"{name:{name_width}}  {kind:{kind_width}}  {value:>{value_width}}  {tags}".rstrip()
            for name, kind, value, tags in (_HEADER, *rows)
        ]
        lines[0] = self._paint(_BOLD, lines[0])
        return lines

    def _event_lines(self, event: Event) -> list[str]:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.timestamp))
        colour = _COLOURS[event.alert_type]
        lines = [f"{when}  {self._paint(colour, event.alert_type)}  {printable(event.title)}"]
        lines += [f"  {printable(line)}" for line in event.text.splitlines()]
        lines += [f"  tags: {printable(' '.join(event.tags))}"]
        width = max(map(len, event.fields), default=0)
        lines += [
            f"    {name:{width}}  {printable(str(plain(value)))}".rstrip() for name, value in event.fields.items()
        ]
        return lines

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours else text
