# SPDX-License-Identifier: Apache-2.0
"""The checks by name. A check's module is imported when the check is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf_collector.checks.base import Check, CheckFactory, Metric, MetricScheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf_runtime import ProbeConfig

__all__ = ["CHECK_NAMES", "Check", "CheckFactory", "Metric", "MetricScheme", "check_factory"]


def _ebpf(probe_config: ProbeConfig, metric_scheme: MetricScheme) -> CheckFactory:
    from ebpf_collector.checks import ebpf

    return ebpf.factory(probe_config, metric_scheme)


def _oom_kill(probe_config: ProbeConfig, metric_scheme: MetricScheme) -> CheckFactory:
    from ebpf_collector.checks import oom_kill

    return oom_kill.factory(probe_config, metric_scheme)


def _tcp_queue_length(probe_config: ProbeConfig, metric_scheme: MetricScheme) -> CheckFactory:
    from ebpf_collector.checks import tcp_queue_length

    return tcp_queue_length.factory(probe_config, metric_scheme)


_FACTORIES: dict[str, Callable[[ProbeConfig, MetricScheme], CheckFactory]] = {
    "ebpf": _ebpf,
    "oom_kill": _oom_kill,
    "tcp_queue_length": _tcp_queue_length,
}

CHECK_NAMES = tuple(sorted(_FACTORIES))


def check_factory(name: str, probe_config: ProbeConfig, metric_scheme: MetricScheme) -> CheckFactory:
    """Return what makes the check *name*, one of `CHECK_NAMES`.

    Args:
        probe_config: How the check's probe is loaded.
        metric_scheme: The scheme where the check's own settings name none.
    """
    return _FACTORIES[name](probe_config, metric_scheme)
