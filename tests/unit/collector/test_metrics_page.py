# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md has every metric as it is declared, where it is sent, and every result of loading."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpf_collector.checks import CHECK_NAMES, Check, MetricScheme, check_factory
from ebpf_collector.checks.base import LOST_EVENTS, PROBE_INFO
from ebpf_collector.checks.ebpf import EbpfCheck
from ebpf_collector.checks.loading import LOAD_METRICS
from ebpf_collector.checks.oom_kill import OomKillCheck
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheck
from ebpf_runtime import LoadReport, ProbeConfig
from ebpf_runtime.config import CO_RE_RESULTS, COMPILE_RESULTS, HEADER_RESULTS
from tests.unit.collector import inventories
from tests.unit.collector.recording import RecordingSender
from tests.unit.collector.records import FakeProbe, FakeTracer, kill, queue
from tests.unit.collector.test_ebpf_check import EVERYTHING
from tests.unit.collector.test_loading import report

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text("utf-8")
METRIC = re.compile(r"^\| `([\w.]+)` \| (gauge|count|monotonic_count) \| (\w+) \| (.+) \|$", re.MULTILINE)
EVERY = "Of every check"
LOADING = "How a probe was loaded"
LOADS = {metric.name for metric in LOAD_METRICS}


def oom_kill(loaded: LoadReport, scheme: MetricScheme) -> Check:
    probe = FakeProbe([kill()])
    probe.report = loaded
    return OomKillCheck(lambda: probe, scheme)


def tcp_queue_length(loaded: LoadReport, scheme: MetricScheme) -> Check:
    tracer = FakeTracer([queue()])
    tracer.report = loaded
    return TcpQueueLengthCheck(lambda: tracer, scheme)


def ebpf(loaded: LoadReport, scheme: MetricScheme) -> Check:
    probe = inventories.FakeProbe(EVERYTHING)
    probe.report = loaded
    return EbpfCheck(lambda: probe, scheme, lambda: 2, 4096)


CHECKS: dict[str, Callable[[LoadReport, MetricScheme], Check]] = {
    "ebpf": ebpf,
    "oom_kill": oom_kill,
    "tcp_queue_length": tcp_queue_length,
}


def sent(name: str, scheme: MetricScheme) -> set[str]:
    """Return the metrics of a check that finds all there can be, once where loading went well and once where not."""
    sender = RecordingSender()
    for loaded in (report("default", 1, 1), report("verifier", 10, 7)):
        check = CHECKS[name](loaded, scheme)
        check.start()
        check.run(sender)
    return {metric for _, metric, _, _ in sender.points}


def section(name: str, scheme: MetricScheme) -> set[str]:
    """Return the metrics in a section of the page, without those of the other scheme."""
    (text,) = re.findall(rf"^## `?{name}`?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    head, *parts = text.split("\n### ")
    parts = [part for part in parts if part.startswith(f"Scheme `{scheme}`\n")]
    return {row[0] for part in (head, *parts) for row in METRIC.findall(part)}


def test_every_metric_stands_on_the_page_as_it_is_declared() -> None:
    checks = [check_factory(name, ProbeConfig(), MetricScheme.NATIVE)() for name in CHECK_NAMES]
    declared = {(item.name, item.type, item.unit, item.help) for check in checks for item in check.metrics}
    assert set(METRIC.findall(PAGE)) == declared


@pytest.mark.parametrize("scheme", MetricScheme)
@pytest.mark.parametrize("name", CHECK_NAMES)
def test_every_metric_stands_where_it_is_sent(name: str, scheme: MetricScheme) -> None:
    found = sent(name, scheme)
    common = {PROBE_INFO.name, LOST_EVENTS.name}
    assert section(EVERY, scheme) == common
    assert found & common == (common if name != "ebpf" else {PROBE_INFO.name})
    assert section(LOADING, scheme) == found & LOADS
    assert section(name, scheme) == found - common - LOADS


def test_every_result_of_loading_stands_on_the_page() -> None:
    succeeds = {"yes": True, "no": False, "": False}
    co_re = re.findall(r"^\| `(\w+)` \| (yes|no) \| .+ \|$", PAGE, re.MULTILINE)
    assert [(name, succeeds[word]) for name, word in co_re] == [
        (name, report(name).co_re_succeeded) for name in CO_RE_RESULTS
    ]
    codes = re.findall(r"^\| (\d+) \| `(\w+)` \| (yes|no|)(?: |)\| .+ \|$", PAGE, re.MULTILINE)
    headers = [(str(n), name, report(headers=n).header_succeeded) for n, name in enumerate(HEADER_RESULTS)]
    compiled = [(str(n), name, report(compiled=n).compile_succeeded) for n, name in enumerate(COMPILE_RESULTS)]
    assert [(code, name, succeeds[word]) for code, name, word in codes] == [*headers, *compiled]
