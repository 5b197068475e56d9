# SPDX-License-Identifier: Apache-2.0
"""The maps and programs of the system: sizes, fill, memory, and what the programs cost."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ebpf_collector.checks.base import PROBE_INFO, Metric, MetricScheme
from ebpf_collector.inventory import datadog, native
from ebpf_collector.section import read_section

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


class EbpfProbe(Protocol):
    """What the check needs of its probe; `ebpf_collector.probes.ebpf.Probe` has it."""

    @property
    def variant(self) -> str:
        """Name of the variant in use."""

    @property
    def origin(self) -> str:
        """`co_re`, or `compiled` where the object was made on this host."""

    def read(self, window_s: float) -> Inventory:
        """Return all maps and programs, with a sample of what ran in so many seconds unless 0."""

    def close(self) -> None:
        """Detach and free everything."""


@dataclass(frozen=True, slots=True)
class EbpfCheckConfig:
    """Settings of the check."""

    collect_ebpf: bool = True
    """False: the check loads nothing and sends nothing."""
    statistics_window_seconds: float = 0.1
    """How long each run has the kernel count time and runs of all programs, which makes them some 100 ns slower;
    0: never. The scheme `datadog` never does."""
    metric_scheme: MetricScheme = MetricScheme.NATIVE

    @classmethod
    def parse(cls, data: bytes, metric_scheme: MetricScheme = MetricScheme.NATIVE) -> EbpfCheckConfig:
        """Return the settings in a YAML mapping.

        Args:
            metric_scheme: The scheme where *data* names none.
        Raises:
            ConfigError: Not YAML, not a mapping, an unknown or repeated key, or a wrong value.
        """
        section = read_section(data, f"read configuration of check '{CHECK_NAME}'")
        config = cls(
            collect_ebpf=section.boolean("collect_ebpf", default=True),
            statistics_window_seconds=section.seconds("statistics_window_seconds", default=0.1),
            metric_scheme=section.choice("metric_scheme", default=metric_scheme),
        )
        section.finish()
        return config


class EbpfCheck:
    """Sends what there is to say of each map, each program, and of them by module."""

    name = CHECK_NAME
    windowed = False
    metrics: tuple[Metric, ...] = tuple(dict.fromkeys((*native.METRICS, *datadog.METRICS)))

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
        self._open_probe = open_probe
        self._default_scheme = metric_scheme
        self._possible_cpus = possible_cpus or _this_machines_cpus
        self._page_bytes = page_bytes
        self._config = EbpfCheckConfig(metric_scheme=metric_scheme)
        self._probe: EbpfProbe | None = None
        self._datadog: datadog.DatadogPoints | None = None

    def configure(self, data: bytes) -> None:
        """Take the check's settings from a YAML mapping, see `EbpfCheckConfig`.

        Raises:
            ConfigError: Naming the key that is wrong.
        """
        self._config = EbpfCheckConfig.parse(data, self._default_scheme)

    def start(self) -> None:
        """Load and attach the probe, unless `collect_ebpf` is false."""
        if self._config.collect_ebpf:
            self._probe = self._open_probe()

    def run(self, sender: Sender) -> None:
        """Send the state of all maps and programs."""
        if self._probe is None:
            return
        variant = self._probe.variant
        tags = [f"probe:{CHECK_NAME}", f"variant:{variant}"]
        if self._config.metric_scheme is MetricScheme.NATIVE:
            sender.gauge(PROBE_INFO.name, 1, [*tags, f"origin:{self._probe.origin}"])
            inventory = self._probe.read(self._config.statistics_window_seconds)
            for metric, value, tags in native.points(inventory):
                _send(sender, metric, value, [*tags, f"variant:{variant}"])
        else:
            sender.gauge(PROBE_INFO.name, 1, tags)
            for metric, value, tags in self._datadog_points().points(self._probe.read(0)):
                _send(sender, metric, value, tags)

    def _datadog_points(self) -> datadog.DatadogPoints:
        if self._datadog is None:
            self._datadog = datadog.DatadogPoints(self._possible_cpus(), self._page_bytes)
        return self._datadog

    def close(self) -> None:
        """Detach the probe and free it."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.close()


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
