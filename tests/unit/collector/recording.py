# SPDX-License-Identifier: Apache-2.0
"""A sender that keeps everything, for tests to look at."""

from collections.abc import Sequence

from ebpf_collector.senders import Event


class RecordingSender:
    """Keeps points as (type, name, value, tags), events, and the number of commits."""

    def __init__(self) -> None:
        self.points: list[tuple[str, str, float, list[str]]] = []
        self.events: list[Event] = []
        self.commits = 0

    def gauge(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        self.points.append(("gauge", name, value, list(tags)))

    def count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        self.points.append(("count", name, value, list(tags)))

    def monotonic_count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        self.points.append(("monotonic_count", name, value, list(tags)))

    def event(self, event: Event) -> None:
        self.events.append(event)

    def commit(self) -> None:
        self.commits += 1
