# SPDX-License-Identifier: Apache-2.0
"""How a check's probe was loaded, as metrics: what became of CO-RE, of kernel headers and of the compiler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpf_collector.checks.base import Metric, MetricScheme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf_collector.senders import Sender
    from ebpf_runtime import LoadReport

__all__ = ["LOAD_METRICS", "send_load"]

_CO_RE = Metric(
    "ebpf_collector.co_re_result",
    "gauge",
    "probe",
    "Always 1; the tag `result` says where CO-RE had BTF from (custom, default, embedded), or why it failed.",
)
_HEADERS = Metric(
    "ebpf_collector.header_search_result",
    "gauge",
    "code",
    "Result code of looking for kernel headers, 1 to 5 being successes; the tag `result` has it in words.",
)
_COMPILE = Metric(
    "ebpf_collector.compile_result",
    "gauge",
    "code",
    "Result code of compiling the probe on this host, 1 compiled, 10 taken from before; `result` has it in words.",
)
_SECONDS = Metric(
    "ebpf_collector.compile_seconds", "gauge", "second", "What finding or making the compiled object took."
)
_DATADOG_COMPILED = Metric(
    "ebpf__runtime_compilation__compile__success", "monotonic_count", "probe", "Probes that were compiled on this host."
)
_DATADOG_HEADERS = Metric(
    "ebpf__runtime_compilation__header_download__success", "monotonic_count", "probe", "Searches that found headers."
)
LOAD_METRICS = (_CO_RE, _HEADERS, _COMPILE, _SECONDS, _DATADOG_COMPILED, _DATADOG_HEADERS)


def send_load(sender: Sender, check: str, report: LoadReport, scheme: MetricScheme) -> None:
    """Send what was tried to load a check's probe; what was not tried is left out.

    A probe that runs was loaded, so there are no counters of errors under the datadog scheme: upstream's agent sends
    them by its own telemetry, for modules that did not start.
    """
    if scheme is MetricScheme.DATADOG:
        for metric, result, tags in _datadog(check, report):
            sender.monotonic_count(metric.name, 1, [*_platform(), *tags, f"result:{result}"])
        return
    tags = [f"probe:{check}"]
    if report.co_re_result:
        sender.gauge(_CO_RE.name, 1, [*tags, f"result:{report.co_re_result}"])
    if report.header_result:
        sender.gauge(_HEADERS.name, report.header_result, [*tags, f"result:{report.header_result_name}"])
    if report.compile_result:
        sender.gauge(_COMPILE.name, report.compile_result, [*tags, f"result:{report.compile_result_name}"])
        sender.gauge(_SECONDS.name, report.compile_seconds, tags)


def _datadog(check: str, report: LoadReport) -> Iterator[tuple[Metric, str, list[str]]]:
    if report.header_result:
        yield _DATADOG_HEADERS, report.header_result_name, []
    if report.compile_result:
        yield _DATADOG_COMPILED, report.compile_result_name, [f"asset:{check.replace('_', '-')}"]


def _platform() -> list[str]:
    from ebpf_runtime import host

    here = host()
    return [
        f"platform:{here.distribution}",
        f"platform_version:{here.version}",
        f"kernel:{here.release}",
        f"arch:{os.uname().machine}",
    ]
