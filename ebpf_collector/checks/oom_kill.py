# SPDX-License-Identifier: Apache-2.0
"""Processes the kernel killed because memory ran out: one count and one event per kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ebpf_collector.checks.base import LOST_EVENTS, PROBE_INFO, Metric, MetricScheme
from ebpf_collector.checks.loading import LOAD_METRICS
from ebpf_collector.checks.probe_check import CheckConfig, CheckProbe, ProbeCheck
from ebpf_collector.clock import unix_seconds
from ebpf_collector.container import container_id, container_tags
from ebpf_collector.printable import printable
from ebpf_collector.senders import Event, Sender

if TYPE_CHECKING:
    from ebpf_probes.oom_kill import OomKillEvent
    from ebpf_runtime import ProbeConfig

__all__ = [
    "CHECK_NAME",
    "OomKillCheck",
    "OomKillCheckConfig",
    "OomKillProbe",
    "factory",
    "new_check",
]

CHECK_NAME = "oom_kill"

_OOM_PROCESS = Metric(
    "oom_kill.oom_process.count",
    "count",
    "process",
    "Processes the kernel killed because memory ran out.",
)

_DOMAINS = {
    "NONE": "the whole system",
    "CPUSET": "a cpuset's nodes",
    "MEMORY_POLICY": "a memory policy's nodes",
    "MEMCG": "a memory cgroup",
}


class OomKillProbe(CheckProbe, Protocol):
    """What the check needs of its probe; `ebpf_collector.probes.oom_kill.Probe` has it."""

    def get_and_flush(self) -> list[OomKillEvent]:
        """Return the kills since the previous call, oldest first."""

    def lost_events(self) -> int:
        """Return how many kills the kernel side had no room for, since the start."""


@dataclass(frozen=True, slots=True)
class OomKillCheckConfig(CheckConfig):
    """Settings of the check."""

    check_name = CHECK_NAME
    collect_oom_kill: bool = True
    """False: the check loads nothing and sends nothing."""


class OomKillCheck(ProbeCheck[OomKillProbe, OomKillCheckConfig]):
    """Sends one `oom_kill.oom_process.count` and one event per killed process."""

    name = CHECK_NAME
    metrics: tuple[Metric, ...] = (_OOM_PROCESS, PROBE_INFO, *LOAD_METRICS, LOST_EVENTS)

    def __init__(
        self,
        open_probe: Callable[[], OomKillProbe],
        metric_scheme: MetricScheme = MetricScheme.NATIVE,
        container_tags: Callable[[str], Sequence[str]] = container_tags,
    ) -> None:
        """Make a check that is configured with its defaults.

        Args:
            open_probe: Loads and attaches the probe; called by `start()`.
            metric_scheme: The scheme where the check's settings name none.
            container_tags: Gives a container's tags; asked only about ids that are not empty.
        """
        super().__init__(OomKillCheckConfig, open_probe, metric_scheme)
        self._container_tags = container_tags

    def _report(self, sender: Sender, probe: OomKillProbe) -> None:
        """Send the kills since the previous run, or since the start."""
        for record in probe.get_and_flush():
            if self._native:
                self._send(sender, record, _native(record, probe.variant))
            elif not record.group_member:
                # Their probe sees oom_kill_process(), which the kernel calls once for all
                # members of a memory.oom.group.
                self._send(sender, record, self._datadog(record))
        # Read last: a kill lost while the others were read is already in it.
        sender.monotonic_count(LOST_EVENTS.name, probe.lost_events(), [f"probe:{CHECK_NAME}"])

    def _send(self, sender: Sender, record: OomKillEvent, report: _Report) -> None:
        sender.count(_OOM_PROCESS.name, 1, report.tags)
        sender.event(
            Event(
                title=report.title,
                text=report.text,
                alert_type="error",
                tags=report.tags,
                fields=record.asdict(),
                timestamp=unix_seconds(record.timestamp_ns),
                source_type=CHECK_NAME,
                event_type=CHECK_NAME,
                aggregation_key=report.aggregation_key,
            )
        )

    def _datadog(self, record: OomKillEvent) -> _Report:
        container = container_id(record.victim_cgroup)
        victim = f"`{printable(record.victim_comm)}` (pid {record.victim_tgid}"
        score = f"oom_score {record.score_points}"
        if record.score_adj:
            score += f", oom_score_adj {record.score_adj}"
        if record.victim_tgid == record.trigger_tgid:
            what = f"{victim}, {score}) asked for memory and was killed itself."
        else:
            trigger = f"`{printable(record.trigger_comm)}` (pid {record.trigger_tgid})"
            what = f"{trigger} asked for memory, and {victim}, {score}) was killed."
        if not record.is_memcg:
            invoker = "the system"
        elif container:
            invoker = f"a cgroup, container id {container}"
        else:
            invoker = "a cgroup"
        lines = (
            "%%%",
            what,
            f"Page count: {record.total_pages}.",
            f"Invoked by: {invoker}.",
            "%%%",
        )
        return _Report(
            title=f"Out of memory: oom_kill_process on {printable(record.victim_comm)} (pid {record.victim_tgid})",
            text="\n".join(lines),
            tags=(
                *(self._container_tags(container) if container else ()),
                f"trigger_type:{_trigger_type(record)}",
                f"trigger_process_name:{record.trigger_comm}",
                f"process_name:{record.victim_comm}",
            ),
            aggregation_key=container,
        )


@dataclass(frozen=True, slots=True)
class _Report:
    title: str
    text: str
    tags: tuple[str, ...]
    aggregation_key: str


def factory(
    probe_config: ProbeConfig | None = None, metric_scheme: MetricScheme = MetricScheme.NATIVE
) -> Callable[[], OomKillCheck]:
    """Return a callable that makes one check per call.

    Args:
        probe_config: How the probe is loaded; None means the defaults.
        metric_scheme: The scheme where a check's own settings name none.
    """

    def open_probe() -> OomKillProbe:
        from ebpf_collector.probes.oom_kill import new_probe
        from ebpf_runtime import ProbeConfig

        return new_probe(ProbeConfig() if probe_config is None else probe_config)

    return lambda: OomKillCheck(open_probe, metric_scheme)


def new_check() -> OomKillCheck:
    """Return a check with the default settings that loads its own probe when started."""
    return factory()()


def _trigger_type(record: OomKillEvent) -> str:
    return "cgroup" if record.is_memcg else "system"


def _score(record: OomKillEvent) -> str:
    if record.group_member:  # chosen by belonging, not by a score of its own
        return f"The score of the cgroup's first victim was {record.score_points} pages."
    if record.source.name == "RECOMPUTED":
        return (
            f"It held about {record.score_points} pages; its oom_score_adj was {record.score_adj}, "
            "the kernel's own score is not known."
        )
    return f"Its score was {record.score_points} pages, with an oom_score_adj of {record.score_adj}."


def _native(record: OomKillEvent, variant: str) -> _Report:
    victim = f"{printable(record.victim_comm)} (pid {record.victim_tgid})"
    cgroup = record.victim_cgroup or "/"
    constraint = record.constraint.name
    lines = []
    if record.group_member:
        lines.append("Killed together with its cgroup (memory.oom.group).")
    if record.victim_tgid == record.trigger_tgid:
        lines.append("It asked for the memory itself.")
    else:
        trigger = f"{printable(record.trigger_comm)} (pid {record.trigger_tgid})"
        lines.append(f"The memory was asked for by {trigger}.")
    if constraint in _DOMAINS:
        lines.append(f"Memory ran out in {_DOMAINS[constraint]}.")
    if record.total_pages:
        lines.append(f"That domain may hold {record.total_pages} pages of memory and swap.")
    lines.append(_score(record))
    lines.append(f"Its memory cgroup was {printable(cgroup)}.")
    return _Report(
        title=f"Out of memory: the kernel killed {victim}",
        text="\n".join(lines),
        tags=(
            f"process_name:{record.victim_comm}",
            f"trigger_process_name:{record.trigger_comm}",
            f"trigger_type:{_trigger_type(record)}",
            f"cgroup:{cgroup}",
            f"constraint:{constraint.lower()}",
            f"source:{record.source.name.lower()}",
            f"variant:{variant}",
        ),
        aggregation_key=container_id(record.victim_cgroup),
    )
