# SPDX-License-Identifier: Apache-2.0
"""The collector's file and environment."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ebpf_collector.checks import CHECK_NAMES, MetricScheme, check_factory
from ebpf_collector.checks.ebpf import EbpfCheckConfig
from ebpf_collector.checks.oom_kill import OomKillCheckConfig
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheckConfig
from ebpf_collector.configuration import Configuration, load_configuration
from ebpf_collector.errors import ConfigError
from ebpf_runtime import ProbeConfig

FULL = """\
metric_scheme: datadog
system_probe_config:
  enable_co_re: false
  allow_runtime_compiled_fallback: false
  btf_path: /proc/self/maps
  kernel_header_dirs:
    - /usr/src/linux-headers
    - /lib/modules/build
  enable_kernel_header_download: true
  kernel_header_download_dir: /var/tmp/headers
  runtime_compiler_output_dir: /var/tmp/ebpf
  bpf_debug: true
checks:
  oom_kill:
    collect_oom_kill: false
    metric_scheme: native
"""


def load(directory: Path, text: str, **environment: str) -> Configuration:
    path = directory / "collector.yaml"
    path.write_text(text)
    return load_configuration(path, environment)


def test_defaults_without_a_file() -> None:
    configuration = load_configuration(None, {})
    assert configuration.probe == ProbeConfig()
    assert configuration.metric_scheme is MetricScheme.NATIVE
    assert configuration.checks == {}


@pytest.mark.parametrize("text", ["", "system_probe_config:\nchecks:\n", "checks: {}\n"])
def test_defaults_of_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == load_configuration(None, {})


def test_all_keys(tmp_path: Path) -> None:
    configuration = load(tmp_path, FULL)
    assert configuration.probe == ProbeConfig(
        enable_co_re=False,
        allow_runtime_compiled_fallback=False,
        btf_path="/proc/self/maps",
        kernel_header_dirs=("/usr/src/linux-headers", "/lib/modules/build"),
        enable_kernel_header_download=True,
        kernel_header_download_dir="/var/tmp/headers",
        runtime_compiler_output_dir="/var/tmp/ebpf",
        bpf_debug=True,
    )
    assert configuration.metric_scheme is MetricScheme.DATADOG
    assert OomKillCheckConfig.parse(configuration.checks["oom_kill"]) == OomKillCheckConfig(
        collect_oom_kill=False, metric_scheme=MetricScheme.NATIVE
    )


def test_environment_is_above_the_file(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        FULL,
        DD_ENABLE_CO_RE="true",
        DD_ALLOW_RUNTIME_COMPILED_FALLBACK="1",
        DD_SYSTEM_PROBE_BTF_PATH=__file__,
        DD_SYSTEM_PROBE_CONFIG_KERNEL_HEADER_DIRS="/a /b",
        DD_ENABLE_KERNEL_HEADER_DOWNLOAD="false",
        DD_SYSTEM_PROBE_CONFIG_KERNEL_HEADER_DOWNLOAD_DIR="/d",
        DD_SYSTEM_PROBE_CONFIG_RUNTIME_COMPILER_OUTPUT_DIR="/c",
        DD_SYSTEM_PROBE_CONFIG_BPF_DEBUG="F",
        DD_METRIC_SCHEME="native",
    )
    assert configuration.probe == ProbeConfig(
        enable_co_re=True,
        allow_runtime_compiled_fallback=True,
        btf_path=__file__,
        kernel_header_dirs=("/a", "/b"),
        kernel_header_download_dir="/d",
        runtime_compiler_output_dir="/c",
        bpf_debug=False,
    )
    assert configuration.metric_scheme is MetricScheme.NATIVE


def test_two_names_of_bpf_debug() -> None:
    assert load_configuration(None, {"BPF_DEBUG": "true"}).probe.bpf_debug
    both = {"BPF_DEBUG": "true", "DD_SYSTEM_PROBE_CONFIG_BPF_DEBUG": "false"}
    assert not load_configuration(None, both).probe.bpf_debug


def test_empty_variable_counts_as_absent(tmp_path: Path) -> None:
    configuration = load(tmp_path, FULL, DD_ENABLE_CO_RE="", DD_METRIC_SCHEME="")
    assert configuration == load(tmp_path, FULL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "system_probe_config:\n  enable_core: true\n",
            "line 2, unknown key 'system_probe_config.enable_core'. Did you mean 'enable_co_re'? "
            "Known keys: allow_runtime_compiled_fallback, bpf_debug, btf_path, enable_co_re, "
            "enable_kernel_header_download, kernel_header_dirs, kernel_header_download_dir, "
            "runtime_compiler_output_dir.",
        ),
        (
            "enable_co_re: true\n",
            "line 1, unknown key 'enable_co_re'. Known keys: checks, metric_scheme, system_probe_config.",
        ),
        (
            "system_probe_config: yes\n",
            "line 1, 'system_probe_config' is a boolean, not a mapping. Write one `key: value` per line.",
        ),
        (
            "system_probe_config:\n  bpf_debug: maybe\n",
            "line 2, 'system_probe_config.bpf_debug' is a string, not a boolean. Write true or false.",
        ),
        (
            "system_probe_config:\n  btf_path: 7\n",
            "line 2, 'system_probe_config.btf_path' is a number, not a string. Put it in quotes.",
        ),
        (
            "system_probe_config:\n  kernel_header_dirs: /usr/src\n",
            "line 2, 'system_probe_config.kernel_header_dirs' is a string, not a list. "
            "Write one `- value` per line below the key.",
        ),
        (
            "system_probe_config:\n  kernel_header_dirs:\n  - /usr/src\n  - 6.1\n",
            "line 4, 'system_probe_config.kernel_header_dirs[]' is a number, not a string. Put it in quotes.",
        ),
        (
            "metric_scheme: datadgo\n",
            "line 1, 'metric_scheme' cannot be 'datadgo'. Did you mean 'datadog'? Write native or datadog.",
        ),
        (
            "checks:\n  oomkill: {}\n",
            "line 2, unknown key 'checks.oomkill'. Did you mean 'oom_kill'? Known keys: {known}.",
        ),
        (
            "checks:\n  oom_kill: [a]\n",
            "line 2, 'checks.oom_kill' is a list, not a mapping. Write one `key: value` per line.",
        ),
        (
            "checks:\n  oom_kill:\n    a: 1\n    a: 2\n",
            "line 4, the key 'checks.oom_kill.a' stands twice, first on line 3. Keep one of the two.",
        ),
        (
            "checks: {}\nchecks: {}\n",
            "line 2, the key 'checks' stands twice, first on line 1. Keep one of the two.",
        ),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    expected = message.replace("{known}", ", ".join(CHECK_NAMES))
    assert str(caught.value) == f"read configuration file {tmp_path / 'collector.yaml'}: {expected}"


def test_deep_nesting_is_refused_and_shallow_is_not(tmp_path: Path) -> None:
    for text in ("[" * 3000, "\n" + "{a: " * 3000, "- " * 3000):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, text)
        assert caught.value.problem == "not valid YAML: nested more than 32 levels deep"
        assert caught.value.line == text.count("\n") + 1
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "[" * 31 + "a" + "]" * 31)
    assert caught.value.problem == "the document is a list, not a mapping"


def test_a_btf_path_that_does_not_serve_is_for_the_runtime_to_warn_of(tmp_path: Path) -> None:
    configuration = load(tmp_path, "system_probe_config: {btf_path: /absent}")
    assert configuration.probe.btf_path == "/absent"
    configuration = load(tmp_path, FULL, DD_SYSTEM_PROBE_BTF_PATH="/other")
    assert configuration.probe.btf_path == "/other"


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_configuration(tmp_path / "absent.yaml", {})
    assert str(caught.value) == (
        f"read configuration file {tmp_path / 'absent.yaml'}: ENOENT, no such file or directory. "
        "Check the path given to --config."
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DD_ENABLE_CO_RE", "maybe", "'maybe' is not a boolean. Write true or false."),
        (
            "DD_METRIC_SCHEME",
            "natve",
            "'natve' is not a metric scheme. Did you mean 'native'? Write native or datadog.",
        ),
    ],
)
def test_refused_variables(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_configuration(None, {name: value})
    assert str(caught.value) == f"read environment variable {name}: {message}"


@pytest.mark.parametrize(
    "text",
    [
        "checks:\n  oom_kill:\n    collect_oom_kill: true\n    wrong: 1\nmetric_scheme: native\n",
        "# umlaut \N{LATIN SMALL LETTER A WITH DIAERESIS}\nchecks:\n  oom_kill: {\n    wrong: 1}\n",
        "checks:\n    # note\n    oom_kill:\n      wrong: 1\n    # more\n\n# end",
        "checks: {oom_kill: {\n\n\n wrong: 1}}",
    ],
)
def test_settings_of_a_check_keep_their_lines(tmp_path: Path, text: str) -> None:
    settings = load(tmp_path, text).checks["oom_kill"]
    with pytest.raises(ConfigError) as caught:
        OomKillCheckConfig.parse(settings)
    assert caught.value.problem == "unknown key 'wrong'"
    assert caught.value.line == 4


@pytest.mark.parametrize("text", ["checks:\n  oom_kill:\n", "checks: {oom_kill: null}"])
def test_empty_settings_of_a_check(tmp_path: Path, text: str) -> None:
    assert OomKillCheckConfig.parse(load(tmp_path, text).checks["oom_kill"]) == OomKillCheckConfig()


ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
ROWS = {key: row for key, *row in re.findall(r"^\| `([\w.]+)` \| (\w+) \| (.+) \| (.*)\|$", PAGE, re.MULTILINE)}
CHECK_CONFIGS = {
    config.check_name: config for config in (EbpfCheckConfig, OomKillCheckConfig, TcpQueueLengthCheckConfig)
}


class Asked(Mapping[str, str]):
    """An environment without a variable, which remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def take(directory: Path, text: str) -> None:
    """Read a file's keys, also those of the checks."""
    configuration = load(directory, text)
    for name, settings in configuration.checks.items():
        check_factory(name, configuration.probe, configuration.metric_scheme)().configure(settings)


def keys(directory: Path, path: str = "") -> dict[str, str]:
    """Return each key below *path* with its type, by what is said of a mapping with an unknown key in its place."""
    text = "{x: 0}"
    for key in reversed(path.split(".") if path else []):
        text = f"{{{key}: {text}}}"
    with pytest.raises(ConfigError) as caught:
        take(directory, text)
    if caught.value.problem.startswith("unknown key"):
        known = caught.value.remedy.partition("Known keys: ")[2].removesuffix(".").split(", ")
        return {
            key: kind for name in known for key, kind in keys(directory, f"{path}.{name}".removeprefix(".")).items()
        }
    return {path: caught.value.problem.split()[-1]}


def variables(row: str) -> list[str]:
    return re.findall(r"`(\w+)`", row)


def test_the_page_has_every_key_with_its_type(tmp_path: Path) -> None:
    found = keys(tmp_path)
    assert {f"checks.{name}.collect_{name}" for name in CHECK_NAMES} < found.keys()
    assert {f"system_probe_config.{name}" for name in ProbeConfig.__slots__} < found.keys()
    assert {key: kind for key, (kind, *_) in ROWS.items()} == found


def test_the_page_says_what_every_key_does() -> None:
    said = {name for words in re.findall(r"^- (`\w+`(?:, `\w+`)*): ", PAGE, re.MULTILINE) for name in variables(words)}
    assert said == {key.rpartition(".")[2] for key in ROWS}


def test_the_page_has_every_variable() -> None:
    environment = Asked()
    load_configuration(None, environment)
    assert {name for _, _, row in ROWS.values() for name in variables(row)} == environment.names
    folders = ("ebpf_collector", "ebpf_runtime", "tools/ebpf_codegen")
    sources = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    read = {
        name for path in sources for name in re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', path.read_text("utf-8"))
    }
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)) == read


def test_the_pages_example_has_every_key_and_every_default(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    take(tmp_path, text)
    configuration = load(tmp_path, text)
    assert configuration.probe == ProbeConfig(
        btf_path="/var/lib/btf/vmlinux.btf",
        kernel_header_dirs=("/usr/src/linux-headers-6.1.0-56-amd64", "/usr/src/linux-headers-6.1.0-56-common"),
        kernel_header_download_dir="/var/tmp/ebpf-runtime/kernel-headers",
        runtime_compiler_output_dir="/var/tmp/ebpf-runtime/build",
    )
    assert configuration.metric_scheme is MetricScheme.NATIVE
    for name, settings in configuration.checks.items():
        assert CHECK_CONFIGS[name].parse(settings) == CHECK_CONFIGS[name]()
    assert set(dotted(yaml.safe_load(text))) == ROWS.keys()


def dotted(tree: dict[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        yield from (f"{key}.{below}" for below in dotted(value)) if isinstance(value, dict) else (key,)


@pytest.mark.parametrize("key", ROWS)
def test_the_page_has_the_default(key: str, tmp_path: Path) -> None:
    _, default, _ = ROWS[key]
    section, _, name = key.rpartition(".")
    if section.startswith("checks."):
        config = CHECK_CONFIGS[section.removeprefix("checks.")]
        if name == "metric_scheme":
            assert default == "the one above"
            assert config.parse(b"", MetricScheme.DATADOG).metric_scheme is MetricScheme.DATADOG
            return
        value = getattr(config(), name)
    elif section:
        value = getattr(ProbeConfig(), name)
    else:
        value = getattr(load(tmp_path, ""), name)
    if value in (None, ()):
        assert "`" not in default
    else:
        assert default == f"`{str(value).lower()}`"


@pytest.mark.parametrize("key", [key for key, (_, _, row) in ROWS.items() if row])
def test_the_variable_on_the_page_sets_the_key(key: str, tmp_path: Path) -> None:
    kind, default, row = ROWS[key]
    for name in variables(row):
        set_to = {"`true`": "false", "`false`": "true", "`native`": "datadog"}.get(default, "/a")
        configuration = load(tmp_path, "", **{name: set_to})
        section, _, attribute = key.rpartition(".")
        found = getattr(configuration.probe if section else configuration, attribute)
        assert found == {"boolean": set_to == "true", "list": (set_to,), "string": set_to}[kind]


@pytest.mark.parametrize("scheme", MetricScheme)
@pytest.mark.parametrize("others", MetricScheme)
def test_a_checks_own_key_is_above_the_variable(tmp_path: Path, scheme: MetricScheme, others: MetricScheme) -> None:
    text = f"checks:\n  oom_kill:\n    metric_scheme: {scheme}\n  ebpf:\n    collect_ebpf: false\n"
    configuration = load(tmp_path, text, DD_METRIC_SCHEME=others)
    parsed = {
        name: CHECK_CONFIGS[name].parse(settings, configuration.metric_scheme)
        for name, settings in configuration.checks.items()
    }
    assert {name: config.metric_scheme for name, config in parsed.items()} == {"oom_kill": scheme, "ebpf": others}
