# SPDX-License-Identifier: Apache-2.0
"""How a probe was loaded, as metrics of both schemes."""

from __future__ import annotations

import os

import pytest

from ebpf_collector.checks import CHECK_NAMES, MetricScheme, check_factory
from ebpf_collector.checks.loading import LOAD_METRICS, send_load
from ebpf_runtime import LoadReport, ProbeConfig, host
from ebpf_runtime.config import CO_RE_RESULTS, COMPILE_RESULTS, HEADER_RESULTS
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


def platform() -> list[str]:
    here = host()
    return [
        f"platform:{here.distribution}",
        f"platform_version:{here.version}",
        f"kernel:{os.uname().release}",
        f"arch:{os.uname().machine}",
    ]


def test_datadogs_counters_of_what_was_tried() -> None:
    compiling = "ebpf__runtime_compilation"
    asset = "asset:oom-kill"
    count = "monotonic_count"
    assert points(report("btf_not_found", 1, 10), MetricScheme.DATADOG) == [
        (count, "ebpf__core__load__error", 1, [*platform(), asset, "error_type:btf_not_found"]),
        (count, f"{compiling}__header_download__success", 1, [*platform(), "result:custom"]),
        (count, f"{compiling}__compile__success", 1, [*platform(), asset, "result:cached"]),
    ]
    assert points(report("verifier", 10, 9), MetricScheme.DATADOG) == [
        (count, "ebpf__core__load__error", 1, [*platform(), asset, "error_type:verifier"]),
        (count, f"{compiling}__header_download__error", 1, [*platform(), "result:not_found"]),
        (count, f"{compiling}__compile__error", 1, [*platform(), asset, "result:headers_not_found"]),
    ]
    assert points(report("default"), MetricScheme.DATADOG) == [
        (count, "ebpf__core__load__success", 1, [*platform(), asset, "btf_type:default"])
    ]
    assert points(report(), MetricScheme.DATADOG) == []


def counted(found: LoadReport) -> tuple[str, str]:
    """Return the one counter's name and its last tag."""
    ((_, name, value, tags),) = points(found, MetricScheme.DATADOG)
    assert value == 1
    assert isinstance(tags, list)
    return str(name), tags[-1]


@pytest.mark.parametrize("result", ["custom", "embedded", "default", "remoteconfig"])
def test_a_success_of_co_re(result: str) -> None:
    assert counted(report(result)) == ("ebpf__core__load__success", f"btf_type:{result}")


@pytest.mark.parametrize("result", ["btf_not_found", "asset_read", "verifier", "loader"])
def test_an_error_of_co_re(result: str) -> None:
    assert counted(report(result)) == ("ebpf__core__load__error", f"error_type:{result}")


@pytest.mark.parametrize("code", range(1, 11))
def test_codes_1_to_5_of_looking_for_headers_are_successes(code: int) -> None:
    outcome = "success" if code in (1, 2, 3, 4, 5) else "error"
    name = f"ebpf__runtime_compilation__header_download__{outcome}"
    assert counted(report(headers=code)) == (name, f"result:{HEADER_RESULTS[code]}")


@pytest.mark.parametrize("code", range(1, 12))
def test_codes_1_and_10_of_compiling_are_successes(code: int) -> None:
    outcome = "success" if code in (1, 10) else "error"
    name = f"ebpf__runtime_compilation__compile__{outcome}"
    assert counted(report(compiled=code)) == (name, f"result:{COMPILE_RESULTS[code]}")


def test_every_code_is_tried_here() -> None:
    assert (len(CO_RE_RESULTS), len(HEADER_RESULTS), len(COMPILE_RESULTS)) == (8, 11, 12)


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_every_check_declares_them(name: str) -> None:
    assert set(LOAD_METRICS) <= set(check_factory(name, ProbeConfig(), MetricScheme.NATIVE)().metrics)


def test_all_that_is_declared_can_be_sent() -> None:
    reports = (report("btf_not_found", 2, 1), report("default", 10, 7))
    sent = {(kind, name) for scheme in MetricScheme for found in reports for kind, name, *_ in points(found, scheme)}
    assert sent == {(metric.type, metric.name) for metric in LOAD_METRICS}
    assert all(metric.unit and metric.help.endswith(".") for metric in LOAD_METRICS)
