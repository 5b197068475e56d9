# SPDX-License-Identifier: Apache-2.0
"""Settings of the check `tcp_queue_length`; how YAML is read is tested with those of `oom_kill`."""

import pytest

from ebpf_collector.checks import MetricScheme
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheckConfig
from ebpf_collector.errors import ConfigError


def test_defaults() -> None:
    config = TcpQueueLengthCheckConfig.parse(b"")
    assert config == TcpQueueLengthCheckConfig(collect_tcp_queue_length=True, metric_scheme=MetricScheme.NATIVE)


def test_all_keys() -> None:
    config = TcpQueueLengthCheckConfig.parse(b"collect_tcp_queue_length: false\nmetric_scheme: datadog\n")
    assert config == TcpQueueLengthCheckConfig(collect_tcp_queue_length=False, metric_scheme=MetricScheme.DATADOG)


def test_scheme_of_the_collector_is_the_default() -> None:
    assert TcpQueueLengthCheckConfig.parse(b"", MetricScheme.DATADOG).metric_scheme == "datadog"
    own = TcpQueueLengthCheckConfig.parse(b"metric_scheme: native", MetricScheme.DATADOG)
    assert own.metric_scheme == "native"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"metric_scheme: native\ncollect_tcp_queue: true\n",
            "line 2, unknown key 'collect_tcp_queue'. Did you mean 'collect_tcp_queue_length'? "
            "Known keys: collect_tcp_queue_length, metric_scheme.",
        ),
        (
            b"collect_tcp_queue_length: 1",
            "line 1, 'collect_tcp_queue_length' is a number, not a boolean. Write true or false.",
        ),
        (
            b"metric_scheme: nativ",
            "line 1, 'metric_scheme' cannot be 'nativ'. Did you mean 'native'? Write native or datadog.",
        ),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TcpQueueLengthCheckConfig.parse(data)
    assert str(caught.value) == f"read configuration of check 'tcp_queue_length': {message}"
