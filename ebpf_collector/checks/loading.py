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
_SUBJECTS = {
    "ebpf__core__load": ("probe", "Probes that CO-RE loaded.", "Probes that CO-RE could not load."),
    "ebpf__runtime_compilation__header_download": (
        "search",
        "Searches that found kernel headers.",
        "Searches that found no kernel headers of use.",
    ),
    "ebpf__runtime_compilation__compile": (
        "probe",
        "Probes that were compiled on this host, now or before.",
        "Probes that could not be compiled on this host.",
    ),
}
_COUNTERS = {
    (subject, succeeded): Metric(
        f"{subject}__{'success' if succeeded else 'error'}", "monotonic_count", unit, good if succeeded else bad
    )
    for subject, (unit, good, bad) in _SUBJECTS.items()
    for succeeded in (True, False)
}
LOAD_METRICS = (_CO_RE, _HEADERS, _COMPILE, _SECONDS, *_COUNTERS.values())


def send_load(sender: Sender, check: str, report: LoadReport, scheme: MetricScheme) -> None:
    """Send what was tried to load a check's probe, whether it was loaded or not; what was not tried is left out.

    Under the datadog scheme each thing tried is one counter, of successes or of errors by what its result means.
    """
    if scheme is MetricScheme.DATADOG:
        for subject, succeeded, tags in _datadog(check, report):
            sender.monotonic_count(_COUNTERS[subject, succeeded].name, 1, [*_platform(), *tags])
        return
    tags = [f"probe:{check}"]
    if report.co_re_result:
        sender.gauge(_CO_RE.name, 1, [*tags, f"result:{report.co_re_result}"])
    if report.header_result:
        sender.gauge(_HEADERS.name, report.header_result, [*tags, f"result:{report.header_result_name}"])
    if report.compile_result:
        sender.gauge(_COMPILE.name, report.compile_result, [*tags, f"result:{report.compile_result_name}"])
        sender.gauge(_SECONDS.name, report.compile_seconds, tags)


def _datadog(check: str, report: LoadReport) -> Iterator[tuple[str, bool, list[str]]]:
    asset = f"asset:{check.replace('_', '-')}"
    if report.co_re_result:
        # Theirs names this result by what it is, and the other two `result`.
        key = "btf_type" if report.co_re_succeeded else "error_type"
        yield "ebpf__core__load", report.co_re_succeeded, [asset, f"{key}:{report.co_re_result}"]
    if report.header_result:
        result = f"result:{report.header_result_name}"
        yield "ebpf__runtime_compilation__header_download", report.header_succeeded, [result]
    if report.compile_result:
        result = f"result:{report.compile_result_name}"
        yield "ebpf__runtime_compilation__compile", report.compile_succeeded, [asset, result]


def _platform() -> list[str]:
    from ebpf_runtime import host

    here = host()
    return [
        f"platform:{here.distribution}",
        f"platform_version:{here.version}",
        f"kernel:{here.release}",
        f"arch:{os.uname().machine}",
    ]
