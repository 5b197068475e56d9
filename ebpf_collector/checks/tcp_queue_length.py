# SPDX-License-Identifier: Apache-2.0
"""The longest receive and send queue of TCP sockets, per control group or per container."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ebpf_collector.checks.base import LOST_EVENTS, PROBE_INFO, Metric, MetricScheme
from ebpf_collector.checks.loading import LOAD_METRICS
from ebpf_collector.checks.probe_check import CheckConfig, CheckProbe, ProbeCheck
from ebpf_collector.container import container_id, container_tags
from ebpf_collector.senders import Sender

if TYPE_CHECKING:
    from ebpf_probes.tcp_queue_length import TcpQueue, TcpQueueStats
    from ebpf_runtime import ProbeConfig

__all__ = [
    "CHECK_NAME",
    "TcpQueueLengthCheck",
    "TcpQueueLengthCheckConfig",
    "TcpQueueLengthTracer",
    "factory",
    "new_check",
]

CHECK_NAME = "tcp_queue_length"

_READ_PERMILLE = Metric(
    "tcp_queue.read_buffer_max_usage_permille",
    "gauge",
    "permille",
    "Longest receive queue of a socket, in thousandths of its buffer; the buffer also holds overhead.",
)
_WRITE_PERMILLE = Metric(
    "tcp_queue.write_buffer_max_usage_permille",
    "gauge",
    "permille",
    "Longest send queue of a socket, in thousandths of its buffer.",
)
_READ_BYTES = Metric(
    "tcp_queue.read_queue_max_bytes",
    "gauge",
    "byte",
    "Longest receive queue of a socket: bytes received and not read yet.",
)
_WRITE_BYTES = Metric(
    "tcp_queue.write_queue_max_bytes",
    "gauge",
    "byte",
    "Longest send queue of a socket: bytes written and not acknowledged yet by the other side.",
)
_READ_PCT = Metric(
    "tcp_queue.read_buffer_max_usage_pct",
    "gauge",
    "fraction",
    "Longest receive queue of a container's sockets, as a fraction of the buffer: 1 is full, in spite of its name.",
)
_WRITE_PCT = Metric(
    "tcp_queue.write_buffer_max_usage_pct",
    "gauge",
    "fraction",
    "Longest send queue of a container's sockets, as a fraction of the buffer: 1 is full, in spite of its name.",
)


class TcpQueueLengthTracer(CheckProbe, Protocol):
    """What the check needs of its probe; `ebpf_collector.probes.tcp_queue_length.Tracer` has it."""

    def get_and_flush(self) -> list[TcpQueue]:
        """Return the longest queues of each control group since the previous call."""

    def lost_events(self) -> int:
        """Return how many samples the kernel side had no room for, since the start."""


@dataclass(frozen=True, slots=True)
class TcpQueueLengthCheckConfig(CheckConfig):
    """Settings of the check."""

    check_name = CHECK_NAME
    collect_tcp_queue_length: bool = True
    """False: the check loads nothing and sends nothing."""


class TcpQueueLengthCheck(ProbeCheck[TcpQueueLengthTracer, TcpQueueLengthCheckConfig]):
    """Sends gauges for each control group whose sockets were read, written to, or hold data."""

    name = CHECK_NAME
    metrics: tuple[Metric, ...] = (
        _READ_PERMILLE,
        _WRITE_PERMILLE,
        _READ_BYTES,
        _WRITE_BYTES,
        _READ_PCT,
        _WRITE_PCT,
        PROBE_INFO,
        *LOAD_METRICS,
        LOST_EVENTS,
    )

    def __init__(
        self,
        open_tracer: Callable[[], TcpQueueLengthTracer],
        metric_scheme: MetricScheme = MetricScheme.NATIVE,
        container_tags: Callable[[str], Sequence[str]] = container_tags,
    ) -> None:
        """Make a check that is configured with its defaults.

        Args:
            open_tracer: Loads and attaches the probe; called by `start()`.
            metric_scheme: The scheme where the check's settings name none.
            container_tags: Gives a container's tags; asked only about ids that are not empty.
        """
        super().__init__(TcpQueueLengthCheckConfig, open_tracer, metric_scheme)
        self._container_tags = container_tags

    def _report(self, sender: Sender, probe: TcpQueueLengthTracer) -> None:
        """Send the longest queues since the previous run, or since the start."""
        for cgroup, stats in _by_name(probe.get_and_flush()).items():
            if self._native:
                _send_native(sender, cgroup, stats, probe.variant)
            else:
                self._send_datadog(sender, cgroup, stats)
        # Read last: a sample lost while the others were read is already in it.
        sender.monotonic_count(LOST_EVENTS.name, probe.lost_events(), [f"probe:{CHECK_NAME}"])

    def _send_datadog(self, sender: Sender, cgroup: str, stats: _Longest) -> None:
        container = container_id(cgroup)
        if not container:  # theirs reports no process of the host
            return
        tags = self._container_tags(container)
        sender.gauge(_READ_PCT.name, stats.read_permille / 1000, tags)
        sender.gauge(_WRITE_PCT.name, stats.write_permille / 1000, tags)


@dataclass(slots=True)
class _Longest:
    """The longest queues under one name."""

    read_permille: int = 0
    write_permille: int = 0
    read_bytes: int = 0
    write_bytes: int = 0

    def add(self, stats: TcpQueueStats) -> None:
        self.read_permille = max(self.read_permille, stats.read_queue_max_permille)
        self.write_permille = max(self.write_permille, stats.write_queue_max_permille)
        self.read_bytes = max(self.read_bytes, stats.read_queue_max_bytes)
        self.write_bytes = max(self.write_bytes, stats.write_queue_max_bytes)


def factory(
    probe_config: ProbeConfig | None = None, metric_scheme: MetricScheme = MetricScheme.NATIVE
) -> Callable[[], TcpQueueLengthCheck]:
    """Return a callable that makes one check per call.

    Args:
        probe_config: How the probe is loaded; None means the defaults.
        metric_scheme: The scheme where a check's own settings name none.
    """

    def open_tracer() -> TcpQueueLengthTracer:
        from ebpf_collector.probes.tcp_queue_length import new_tracer
        from ebpf_runtime import ProbeConfig

        return new_tracer(ProbeConfig() if probe_config is None else probe_config)

    return lambda: TcpQueueLengthCheck(open_tracer, metric_scheme)


def new_check() -> TcpQueueLengthCheck:
    """Return a check with the default settings that loads its own probe when started."""
    return factory()()


def _by_name(readings: Sequence[TcpQueue]) -> dict[str, _Longest]:
    # Directories in different places may have one name, and points with the same tags are one.
    longest: dict[str, _Longest] = {}
    for reading in readings:
        longest.setdefault(reading.key.cgroup, _Longest()).add(reading.stats)
    return longest


def _send_native(sender: Sender, cgroup: str, stats: _Longest, variant: str) -> None:
    tags = [f"cgroup:{cgroup or '/'}", f"variant:{variant}"]
    sender.gauge(_READ_PERMILLE.name, stats.read_permille, tags)
    sender.gauge(_WRITE_PERMILLE.name, stats.write_permille, tags)
    sender.gauge(_READ_BYTES.name, stats.read_bytes, tags)
    sender.gauge(_WRITE_BYTES.name, stats.write_bytes, tags)
