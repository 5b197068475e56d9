# SPDX-License-Identifier: Apache-2.0
"""How a probe was loaded, as metrics of both schemes."""

from __future__ import annotations

import os

import pytest

from ebpf_collector.checks import CHECK_NAMES, MetricScheme, check_factory
from ebpf_collector.checks.loading import LOAD_METRICS, send_load
from ebpf_runtime import LoadReport, ProbeConfig, host
from tests.unit.collector.recording import RecordingSender


def report(co_re: str = "", headers: int = 0, compiled: int = 0) -> LoadReport:
    found = LoadReport()
    found.co_re_result, found.header_result, found.compile_result = co_re, headers, compiled
    found.compile_seconds = 1.5
    return found


def points(found: LoadReport, scheme: MetricScheme) -> list[tuple[object, ...]]:
    sender = RecordingSender()
    send_load(sender, "oom_kill", found, scheme)
    return [tuple(point) for point in sender.points]


def test_native_points_of_what_was_tried() -> None:
    native = MetricScheme.NATIVE
    assert points(report("embedded"), native) == [
        ("gauge", "ebpf_collector.co_re_result", 1, ["probe:oom_kill", "result:embedded"]),
    ]
    assert points(report("btf_not_found", 2, 1), native) == [
        ("gauge", "ebpf_collector.co_re_result", 1, ["probe:oom_kill", "result:btf_not_found"]),
        ("gauge", "ebpf_collector.header_search_result", 2, ["probe:oom_kill", "result:default"]),
        ("gauge", "ebpf_collector.compile_result", 1, ["probe:oom_kill", "result:compiled"]),
        ("gauge", "ebpf_collector.compile_seconds", 1.5, ["probe:oom_kill"]),
    ]
    assert points(report(), native) == []


def test_datadogs_counters_of_what_was_tried() -> None:
    here = host()
    platform = [
        f"platform:{here.distribution}",
        f"platform_version:{here.version}",
        f"kernel:{os.uname().release}",
        f"arch:{os.uname().machine}",
    ]
    assert points(report("btf_not_found", 1, 10), MetricScheme.DATADOG) == [
        (
            "monotonic_count",
            "ebpf__runtime_compilation__header_download__success",
            1,
            [*platform, "result:custom"],
        ),
        (
            "monotonic_count",
            "ebpf__runtime_compilation__compile__success",
            1,
            [*platform, "asset:oom-kill", "result:cached"],
        ),
    ]
    assert points(report("default"), MetricScheme.DATADOG) == []


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_every_check_declares_them(name: str) -> None:
    assert set(LOAD_METRICS) <= set(check_factory(name, ProbeConfig(), MetricScheme.NATIVE)().metrics)


def test_all_that_is_declared_can_be_sent() -> None:
    found = report("btf_not_found", 2, 1)
    sent = {(kind, name) for scheme in MetricScheme for kind, name, *_ in points(found, scheme)}
    assert sent == {(metric.type, metric.name) for metric in LOAD_METRICS}
    assert all(metric.unit and metric.help.endswith(".") for metric in LOAD_METRICS)
