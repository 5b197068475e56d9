# SPDX-License-Identifier: Apache-2.0
"""The collector's configuration: a YAML file, with environment variables above all of it but the checks' own keys.

    metric_scheme: native
    system_probe_config:
      enable_co_re: true
      allow_runtime_compiled_fallback: true
      btf_path: /var/lib/btf/vmlinux.btf
      kernel_header_dirs: [/usr/src/linux-headers]
      enable_kernel_header_download: false
      kernel_header_download_dir: /var/tmp/headers
      runtime_compiler_output_dir: /var/tmp/ebpf
      bpf_debug: false
    checks:
      oom_kill:
        collect_oom_kill: true
      tcp_queue_length:
        collect_tcp_queue_length: true

All keys are optional. Those of `system_probe_config`, and the environment variables, are named as
in the Datadog Agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ebpf_collector.checks import CHECK_NAMES, MetricScheme
from ebpf_collector.errors import ConfigError, describe_errno, near_match
from ebpf_collector.section import read_section
from ebpf_runtime import ProbeConfig

__all__ = ["Configuration", "load_configuration"]

_Value = TypeVar("_Value")

_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True)
class Configuration:
    """The effective configuration."""

    probe: ProbeConfig
    metric_scheme: MetricScheme
    """The scheme of the checks whose own settings name none."""
    checks: Mapping[str, bytes]
    """The settings of each check that has some, a YAML mapping at its lines of the file."""


def load_configuration(path: Path | None, environment: Mapping[str, str]) -> Configuration:
    """Return the configuration in the file at *path*, overridden by *environment*.

    Args:
        path: None means no file: all keys have their defaults.
        environment: Names and values; an empty value counts as absent.
    Raises:
        ConfigError: The file cannot be read, or a key, value or variable cannot be used; what is in the settings of a
            check is for the check to read.
    """
    data = b"" if path is None else _read(path)
    document = read_section(data, f"read configuration file {path}")
    variables = _Variables(environment)
    probe = document.section("system_probe_config")
    defaults = ProbeConfig()
    probe_config = ProbeConfig(
        enable_co_re=variables.boolean(("DD_ENABLE_CO_RE",), probe.boolean("enable_co_re", defaults.enable_co_re)),
        allow_runtime_compiled_fallback=variables.boolean(
            ("DD_ALLOW_RUNTIME_COMPILED_FALLBACK",),
            probe.boolean("allow_runtime_compiled_fallback", defaults.allow_runtime_compiled_fallback),
        ),
        btf_path=variables.text(("DD_SYSTEM_PROBE_BTF_PATH",), probe.text("btf_path", "")) or None,
        kernel_header_dirs=variables.texts(
            ("DD_SYSTEM_PROBE_CONFIG_KERNEL_HEADER_DIRS",), probe.texts("kernel_header_dirs", ())
        ),
        enable_kernel_header_download=variables.boolean(
            ("DD_ENABLE_KERNEL_HEADER_DOWNLOAD",),
            probe.boolean("enable_kernel_header_download", defaults.enable_kernel_header_download),
        ),
        kernel_header_download_dir=variables.text(
            ("DD_SYSTEM_PROBE_CONFIG_KERNEL_HEADER_DOWNLOAD_DIR",), probe.text("kernel_header_download_dir", "")
        )
        or None,
        runtime_compiler_output_dir=variables.text(
            ("DD_SYSTEM_PROBE_CONFIG_RUNTIME_COMPILER_OUTPUT_DIR",),
            probe.text("runtime_compiler_output_dir", ""),
        )
        or None,
        bpf_debug=variables.boolean(
            ("DD_SYSTEM_PROBE_CONFIG_BPF_DEBUG", "BPF_DEBUG"),
            probe.boolean("bpf_debug", defaults.bpf_debug),
        ),
    )
    probe.finish()
    metric_scheme = variables.metric_scheme("DD_METRIC_SCHEME", document.choice("metric_scheme", MetricScheme.NATIVE))
    checks = document.section("checks")
    settings = checks.excerpts(CHECK_NAMES)
    checks.finish()
    document.finish()
    return Configuration(probe=probe_config, metric_scheme=metric_scheme, checks=settings)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"read configuration file {path}",
            describe_errno(error.errno),
            "Check the path given to --config.",
        ) from None


class _Variables:
    """Environment variables; where none of the names is set, the value of the file stands."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def boolean(self, names: tuple[str, ...], otherwise: bool) -> bool:
        def parse(name: str, value: str) -> bool:
            if value.lower() not in _BOOLEANS:
                raise _refuse(name, f"{value!r} is not a boolean", "Write true or false.")
            return _BOOLEANS[value.lower()]

        return self._get(names, parse, otherwise)

    def text(self, names: tuple[str, ...], otherwise: str) -> str:
        return self._get(names, lambda _, value: value, otherwise)

    def texts(self, names: tuple[str, ...], otherwise: tuple[str, ...]) -> tuple[str, ...]:
        return self._get(names, lambda _, value: tuple(value.split()), otherwise)

    def metric_scheme(self, name: str, otherwise: MetricScheme) -> MetricScheme:
        def parse(name: str, value: str) -> MetricScheme:
            try:
                return MetricScheme(value)
            except ValueError:
                remedy = f"{near_match(value, MetricScheme)}Write {' or '.join(MetricScheme)}."
                raise _refuse(name, f"{value!r} is not a metric scheme", remedy) from None

        return self._get((name,), parse, otherwise)

    def _get(self, names: tuple[str, ...], parse: Callable[[str, str], _Value], otherwise: _Value) -> _Value:
        for name in names:
            if value := self._environment.get(name, ""):
                return parse(name, value)
        return otherwise


def _refuse(name: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(f"read environment variable {name}", problem, remedy)
