# SPDX-License-Identifier: Apache-2.0
"""Settings of the check `oom_kill`, and what is said about wrong ones."""

import pytest

from ebpf_collector.checks import MetricScheme
from ebpf_collector.checks.oom_kill import OomKillCheckConfig
from ebpf_collector.errors import ConfigError

SUBJECT = "read configuration of check 'oom_kill': "


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n", b"{}", b"null\n", b"\xef\xbb\xbf"])
def test_defaults(data: bytes) -> None:
    config = OomKillCheckConfig.parse(data)
    assert config == OomKillCheckConfig(collect_oom_kill=True, metric_scheme=MetricScheme.NATIVE)


@pytest.mark.parametrize("word", ["false", "no", "off", "False", "!!bool no"])
def test_all_keys(word: str) -> None:
    config = OomKillCheckConfig.parse(f"collect_oom_kill: {word}\nmetric_scheme: datadog\n".encode())
    assert config == OomKillCheckConfig(collect_oom_kill=False, metric_scheme=MetricScheme.DATADOG)


def test_scheme_of_the_collector_is_the_default() -> None:
    assert OomKillCheckConfig.parse(b"", MetricScheme.DATADOG).metric_scheme == "datadog"
    own = OomKillCheckConfig.parse(b"metric_scheme: native", MetricScheme.DATADOG)
    assert own.metric_scheme == "native"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"metric_scheme: native\ncollect_oom_kil: true\n",
            "line 2, unknown key 'collect_oom_kil'. Did you mean 'collect_oom_kill'? "
            "Known keys: collect_oom_kill, metric_scheme.",
        ),
        (
            b"period: 3",
            "line 1, unknown key 'period'. Known keys: collect_oom_kill, metric_scheme.",
        ),
        (
            b"\ncollect_oom_kill: 'true'",
            "line 2, 'collect_oom_kill' is a string, not a boolean. Write true or false.",
        ),
        (
            b"collect_oom_kill: 1",
            "line 1, 'collect_oom_kill' is a number, not a boolean. Write true or false.",
        ),
        (
            b"collect_oom_kill:",
            "line 1, 'collect_oom_kill' is empty, not a boolean. Write true or false.",
        ),
        (
            b"collect_oom_kill: [true]",
            "line 1, 'collect_oom_kill' is a list, not a boolean. Write true or false.",
        ),
        (
            b"collect_oom_kill: !!bool maybe",
            "line 1, 'collect_oom_kill' is of the type tag:yaml.org,2002:bool, not a boolean. Write true or false.",
        ),
        (
            b"collect_oom_kill: !!python/name:os.system",
            "line 1, 'collect_oom_kill' is of the type python/name:os.system, not a boolean. Write true or false.",
        ),
        (
            b"metric_scheme: nativ",
            "line 1, 'metric_scheme' cannot be 'nativ'. Did you mean 'native'? Write native or datadog.",
        ),
        (
            b"metric_scheme: 7",
            "line 1, 'metric_scheme' is a number, not a string. Write native or datadog.",
        ),
        (
            b"- collect_oom_kill",
            "line 1, the document is a list, not a mapping. Write one `key: value` per line.",
        ),
        (
            b"oom_kill",
            "line 1, the document is a string, not a mapping. Write one `key: value` per line.",
        ),
        (
            b"collect_oom_kill: true\nmetric_scheme: native\ncollect_oom_kill: true\n",
            "line 3, the key 'collect_oom_kill' stands twice, first on line 1. Keep one of the two.",
        ),
        (
            b"collect_oom_kill: true\n  metric_scheme: native\n",
            "line 2, not valid YAML: mapping values are not allowed here. Correct the line, or the one before it.",
        ),
        (
            b"collect_oom_kill: [true\n",
            "line 2, not valid YAML: expected ',' or ']', but got '<stream end>'. "
            "Correct the line, or the one before it.",
        ),
        (
            b"a: 1\n---\nb: 2\n",
            "line 2, not valid YAML: but found another document. Correct the line, or the one before it.",
        ),
        (
            b"collect_oom_kill: &x true\nmetric_scheme: *x\n",
            "line 2, not valid YAML: an alias; write the value out instead. Correct the line, or the one before it.",
        ),
        (
            b"true: true",
            "line 1, the key true is a boolean, not a string. Put it in quotes.",
        ),
        (
            b"? [a]\n: true",
            "line 1, a key is a list, not a string. Put it in quotes.",
        ),
        (
            b"metric_scheme: native\n# \xff\n",
            "line 2, not UTF-8. Save the text as UTF-8.",
        ),
        (
            b"metric_scheme: native\nx: \x07\n",
            "line 2, not valid YAML: the character U+0007 is not allowed. Remove it.",
        ),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OomKillCheckConfig.parse(data)
    assert str(caught.value) == SUBJECT + message


def test_error_has_its_line_as_a_field() -> None:
    with pytest.raises(ConfigError) as caught:
        OomKillCheckConfig.parse(b"\n\nx: 1")
    assert caught.value.line == 3
