# SPDX-License-Identifier: Apache-2.0
"""What the checks over one probe have in common: settings, and the probe's life from start to close."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from ebpf_collector.checks.base import PROBE_INFO, Metric, MetricScheme
from ebpf_collector.checks.loading import send_load
from ebpf_collector.section import Section, read_section

if TYPE_CHECKING:
    from ebpf_collector.senders import Sender
    from ebpf_runtime import EbpfError, LoadReport

__all__ = ["CheckConfig", "CheckProbe", "ProbeCheck"]

_Probe = TypeVar("_Probe", bound="CheckProbe")
_Config = TypeVar("_Config", bound="CheckConfig")


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """Base of a check's settings: the fields are the keys, each read as its default's type.

    One of a derived class is `collect_<check>`, which switches the check off.
    """

    check_name: ClassVar[str]
    metric_scheme: MetricScheme = field(default=MetricScheme.NATIVE, kw_only=True)

    @classmethod
    def parse(cls, data: bytes, metric_scheme: MetricScheme = MetricScheme.NATIVE) -> Self:
        """Return the settings in a YAML mapping.

        Args:
            metric_scheme: The scheme where *data* names none.
        Raises:
            ConfigError: Not YAML, not a mapping, an unknown or repeated key, or a wrong value.
        """
        section = read_section(data, f"read configuration of check '{cls.check_name}'")
        defaults = {item.name: item.default for item in fields(cls)} | {"metric_scheme": metric_scheme}
        config = cls(**{name: _read(section, name, default) for name, default in defaults.items()})
        section.finish()
        return config

    @property
    def collects(self) -> bool:
        """False: the check loads nothing and sends nothing."""
        return bool(getattr(self, f"collect_{self.check_name}"))


def _read(section: Section, key: str, default: Any) -> Any:
    if isinstance(default, bool):
        return section.boolean(key, default)
    if isinstance(default, StrEnum):
        return section.choice(key, default)
    return section.seconds(key, default)


class CheckProbe(Protocol):
    """What every check needs of its probe."""

    @property
    def variant(self) -> str:
        """Name of the variant in use."""

    @property
    def origin(self) -> str:
        """`co_re`, or `compiled` where the object was made on this host."""

    @property
    def report(self) -> LoadReport:
        """What was tried to load it."""

    def close(self) -> None:
        """Detach and free everything."""


class ProbeCheck(ABC, Generic[_Probe, _Config]):
    """Base of a check over one probe, which lives from `start()` to `close()`."""

    name: str
    windowed = True
    metrics: tuple[Metric, ...]

    def __init__(
        self, config_type: type[_Config], open_probe: Callable[[], _Probe], metric_scheme: MetricScheme
    ) -> None:
        """Make a check that is configured with its defaults.

        Args:
            config_type: Its settings.
            open_probe: Loads and attaches the probe; called by `start()`.
            metric_scheme: The scheme where the check's settings name none.
        """
        self._config_type = config_type
        self._open_probe = open_probe
        self._default_scheme = metric_scheme
        self._probe: _Probe | None = None
        self._config = config_type(metric_scheme=metric_scheme)

    @property
    def verifier_log(self) -> str:
        """What the verifier said of the programs that loaded, where `bpf_debug` asks for it; empty otherwise."""
        return "" if self._probe is None else self._probe.report.log

    def configure(self, data: bytes) -> None:
        """Take the check's settings from a YAML mapping; its `CheckConfig` has the keys.

        Raises:
            ConfigError: Naming the key that is wrong.
        """
        self._config = self._config_type.parse(data, self._default_scheme)

    def start(self) -> None:
        """Load and attach the probe, unless the settings say not to collect."""
        if self._config.collects:
            self._probe = self._open_probe()

    def report_failed_start(self, sender: Sender, error: EbpfError) -> None:
        """Send what became of each way to load the probe, where *error* is about that."""
        if error.report is not None:
            send_load(sender, self.name, error.report, self._config.metric_scheme)

    def run(self, sender: Sender) -> None:
        """Send what there is to say now."""
        if self._probe is None:
            return
        tags = [f"probe:{self.name}", f"variant:{self._probe.variant}"]
        if self._native:
            tags.append(f"origin:{self._probe.origin}")
        sender.gauge(PROBE_INFO.name, 1, tags)
        send_load(sender, self.name, self._probe.report, self._config.metric_scheme)
        self._report(sender, self._probe)

    def close(self) -> None:
        """Detach the probe and free it."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.close()

    @property
    def _native(self) -> bool:
        return self._config.metric_scheme is MetricScheme.NATIVE

    @abstractmethod
    def _report(self, sender: Sender, probe: _Probe) -> None:
        """Send everything but the metric that says which probe it is."""
