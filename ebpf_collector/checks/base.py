# SPDX-License-Identifier: Apache-2.0
"""What all checks have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from ebpf_collector.senders import Sender

if TYPE_CHECKING:
    from ebpf_runtime import EbpfError

__all__ = ["LOST_EVENTS", "PROBE_INFO", "Check", "CheckFactory", "Metric", "MetricScheme"]


class MetricScheme(StrEnum):
    """Whose names, values and tags a check sends."""

    NATIVE = "native"
    """Truthful names and units, host processes included, the variant as a tag."""
    DATADOG = "datadog"
    """Those of the Datadog Agent's check of the same name, so that its dashboards keep working."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric a check may send; `unit` is the singular noun of what is counted or measured."""

    name: str
    type: Literal["gauge", "count", "monotonic_count"]
    unit: str
    help: str


PROBE_INFO = Metric(
    "ebpf_collector.probe_info",
    "gauge",
    "probe",
    "Always 1; the tag `variant` says which variant of the probe this kernel took, `origin` whether by CO-RE.",
)
LOST_EVENTS = Metric(
    "ebpf_collector.lost_events",
    "monotonic_count",
    "event",
    "Events the kernel side had no room for, since the probe was attached.",
)


class Check(Protocol):
    """One check: configured, started, run as often as wanted, closed."""

    name: str
    windowed: bool
    """True if a run reports what happened since the previous one, or since the start."""
    metrics: tuple[Metric, ...]

    @property
    def verifier_log(self) -> str:
        """What the verifier said of the programs that loaded, where `bpf_debug` asks for it; empty otherwise."""

    def configure(self, data: bytes) -> None:
        """Take the check's settings from a YAML mapping.

        Raises:
            ConfigError: Naming the key that is wrong.
        """

    def start(self) -> None:
        """Begin to observe; needs the privileges to load and attach the check's probe."""

    def report_failed_start(self, sender: Sender, error: EbpfError) -> None:
        """Send what `start()` tried before it raised *error*; the caller commits."""

    def run(self, sender: Sender) -> None:
        """Send what there is to say now; the caller commits."""

    def close(self) -> None:
        """End observing; harmless where `start()` failed or was never called."""


CheckFactory = Callable[[], Check]
