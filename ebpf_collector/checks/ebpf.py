# SPDX-License-Identifier: Apache-2.0
"""The maps and programs of the system: sizes, fill, memory, and what the programs cost."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ebpf_collector.checks.base import Metric, MetricScheme
from ebpf_collector.checks.loading import LOAD_METRICS
from ebpf_collector.checks.probe_check import CheckConfig, CheckProbe, ProbeCheck
from ebpf_collector.inventory import datadog, native

if TYPE_CHECKING:
    from ebpf_collector.inventory import Inventory
    from ebpf_collector.senders import Sender
    from ebpf_runtime import ProbeConfig

__all__ = [
    "CHECK_NAME",
    "EbpfCheck",
    "EbpfCheckConfig",
    "EbpfProbe",
    "factory",
    "new_check",
]

CHECK_NAME = "ebpf"


class EbpfProbe(CheckProbe, Protocol):
    """What the check needs of its probe; `ebpf_collector.probes.ebpf.Probe` has it."""

    def read(self, window_s: float) -> Inventory:
        """Return all maps and programs, with a sample of what ran in so many seconds unless 0."""


@dataclass(frozen=True, slots=True)
class EbpfCheckConfig(CheckConfig):
    """Settings of the check."""

    check_name = CHECK_NAME
    collect_ebpf: bool = True
    """False: the check loads nothing and sends nothing."""
    statistics_window_seconds: float = 0.1
    """How long each run has the kernel count time and runs of all programs, which makes them some 100 ns slower;
    0: never. The scheme `datadog` never does."""


class EbpfCheck(ProbeCheck[EbpfProbe, EbpfCheckConfig]):
    """Sends what there is to say of each map, each program, and of them by module."""

    name = CHECK_NAME
    windowed = False
    metrics: tuple[Metric, ...] = tuple(dict.fromkeys((*native.METRICS, *datadog.METRICS, *LOAD_METRICS)))

    def __init__(
        self,
        open_probe: Callable[[], EbpfProbe],
        metric_scheme: MetricScheme = MetricScheme.NATIVE,
        possible_cpus: Callable[[], int] | None = None,
        page_bytes: int = mmap.PAGESIZE,
    ) -> None:
        """Make a check that is configured with its defaults.

        Args:
            open_probe: Loads and attaches the probe; called by `start()`.
            metric_scheme: The scheme where the check's settings name none.
            possible_cpus: Tells how many there can be, for upstream's formulas.
            page_bytes: Size of a page, for upstream's formulas.
        """
        super().__init__(EbpfCheckConfig, open_probe, metric_scheme)
        self._possible_cpus = possible_cpus or _this_machines_cpus
        self._page_bytes = page_bytes
        self._datadog: datadog.DatadogPoints | None = None

    def _report(self, sender: Sender, probe: EbpfProbe) -> None:
        """Send the state of all maps and programs."""
        if self._native:
            inventory = probe.read(self._config.statistics_window_seconds)
            for metric, value, tags in native.points(inventory):
                _send(sender, metric, value, [*tags, f"variant:{probe.variant}"])
        else:
            for metric, value, tags in self._datadog_points().points(probe.read(0)):
                _send(sender, metric, value, tags)

    def _datadog_points(self) -> datadog.DatadogPoints:
        if self._datadog is None:
            self._datadog = datadog.DatadogPoints(self._possible_cpus(), self._page_bytes)
        return self._datadog


def factory(
    probe_config: ProbeConfig | None = None, metric_scheme: MetricScheme = MetricScheme.NATIVE
) -> Callable[[], EbpfCheck]:
    """Return a callable that makes one check per call.

    Args:
        probe_config: How the probe is loaded; None means the defaults.
        metric_scheme: The scheme where a check's own settings name none.
    """

    def open_probe() -> EbpfProbe:
        from ebpf_collector.probes.ebpf import new_probe
        from ebpf_runtime import ProbeConfig

        return new_probe(ProbeConfig() if probe_config is None else probe_config)

    return lambda: EbpfCheck(open_probe, metric_scheme)


def new_check() -> EbpfCheck:
    """Return a check with the default settings that loads its own probe when started."""
    return factory()()


def _this_machines_cpus() -> int:
    from ebpf_runtime import possible_cpus

    return possible_cpus()


def _send(sender: Sender, metric: Metric, value: float, tags: list[str]) -> None:
    send = sender.gauge if metric.type == "gauge" else sender.monotonic_count
    send(metric.name, value, tags)
