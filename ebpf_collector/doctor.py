# SPDX-License-Identifier: Apache-2.0
"""What this host allows: each probe is loaded and attached as the checks would do it, told of, and unloaded again."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from typing import Any

import ebpf_probes
from ebpf_collector.printable import printable
from ebpf_collector.runner import describe_defect
from ebpf_runtime import (
    EbpfError,
    FallbackWarning,
    HostFacts,
    LoadReport,
    PermissionDeniedError,
    Probe,
    ProbeConfig,
    RefusedVariant,
    errno_name,
    host_facts,
)

__all__ = ["examine", "exit_code", "text"]

_WIDTH = 16


def examine(config: ProbeConfig) -> dict[str, Any]:
    """Return what `doctor --json` prints; its schema is in the package.

    Nothing stays loaded. An object that had to be compiled on this host is kept, as by a check.
    """
    facts = host_facts(config)
    return {"host": _host(facts), "probes": [_probe(name, cls, config) for name, cls in _probe_classes()]}


def exit_code(found: dict[str, Any]) -> int:
    """Return 0 if every probe works, 1 if one fails, 3 if for those that fail a capability or lockdown is why."""
    failed = [probe for probe in found["probes"] if not probe["works"]]
    if not failed:
        return 0
    return 1 if any(probe["permitted"] for probe in failed) else 3


def _probe_classes() -> Iterator[tuple[str, Any]]:
    """Yield the probes of the package by name; `Any`, because `open` is the generated class's own."""
    for item in pkgutil.iter_modules(ebpf_probes.__path__):
        for value in tuple(vars(importlib.import_module(f"ebpf_probes.{item.name}")).values()):
            if isinstance(value, type) and issubclass(value, Probe) and value is not Probe:
                yield item.name, value


def _probe(name: str, cls: Any, config: ProbeConfig) -> dict[str, Any]:
    report: LoadReport | None = None
    refused: tuple[RefusedVariant, ...] = ()
    variant = origin = error = ""
    permitted = True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FallbackWarning)
        try:
            with cls.open_and_load(config) as probe:
                report, refused = probe.report, probe.refused
                probe.attach()
                variant, origin = probe.variant, probe.origin
        except EbpfError as failure:
            error = str(failure)
            permitted = not isinstance(failure, PermissionDeniedError)
            report = report or failure.report
            refused = refused or _refused(failure)
        except Exception as defect:  # the other probes are told of all the same
            error = describe_defect(defect)
    report = report or LoadReport()
    return {
        "name": name,
        "works": not error,
        "permitted": permitted,
        "variant": variant,
        "origin": origin,
        "refused": [_refusal(item) for item in refused],
        "warnings": [str(item.message) for item in caught if issubclass(item.category, FallbackWarning)],
        "error": error,
        "btf": {"source": report.btf_source, "file": report.btf_file, "notes": list(report.btf_notes)},
        "co_re_result": report.co_re_result,
        "header_result": report.header_result_name,
        "header_result_code": report.header_result,
        "compile_result": report.compile_result_name,
        "compile_result_code": report.compile_result,
        "compile_seconds": report.compile_seconds,
        "log": report.log,
    }


def _refused(failure: BaseException | None) -> tuple[RefusedVariant, ...]:
    """Return the variants that were tried, which an error further back may know."""
    while isinstance(failure, EbpfError):
        if failure.refused:
            return failure.refused
        failure = failure.__cause__
    return ()


def _refusal(item: RefusedVariant) -> dict[str, Any]:
    return {
        "variant": item.variant,
        "phase": item.phase,
        "errno": item.errno,
        "errno_name": errno_name(item.errno),
        "line": item.line,
        "reason": item.reason,
    }


def _host(facts: HostFacts) -> dict[str, Any]:
    version, origin, file = facts.libbpf
    return {
        "release": facts.release,
        "version": facts.version,
        "architecture": facts.architecture,
        "distribution": facts.distribution,
        "lockdown": facts.lockdown,
        "missing_capabilities": list(facts.missing_capabilities),
        "libbpf": {"version": version, "origin": origin, "file": file, "error": facts.libbpf_error},
        "kernel_btf": facts.kernel_btf,
        "compiler": {"found": facts.compiler, "error": facts.compiler_error},
        "headers": {
            "result": facts.header_result_name,
            "result_code": facts.header_result,
            "directories": list(facts.header_dirs),
            "error": facts.header_error,
        },
        "mounts": dict(facts.mounts),
    }


def text(found: dict[str, Any]) -> str:
    """Return the same for people: the host, then each probe, what would load, and why nothing better."""
    host = found["host"]
    libbpf, headers, compiler = host["libbpf"], host["headers"], host["compiler"]
    missing = " and ".join(host["missing_capabilities"])
    lines = [
        "host",
        _line("kernel", f"{host['release']} ({host['version'] or 'version unknown'}), {host['architecture']}"),
        _line("distribution", host["distribution"] or "unknown"),
        _line("lockdown", host["lockdown"] or "not told (no securityfs)"),
        _line("capabilities", f"missing: {missing}" if missing else "CAP_BPF and CAP_PERFMON"),
        _line(
            "libbpf",
            libbpf["error"] or f"{libbpf['version']}, {libbpf['origin']} ({libbpf['file']})",
        ),
        _line("kernel's BTF", host["kernel_btf"] or "none"),
        _line("compiler", compiler["found"] or f"none: {compiler['error']}"),
        _line("kernel headers", ", ".join(headers["directories"]) or f"none: {headers['error']}"),
        *(_line(name, place or "not mounted") for name, place in host["mounts"].items()),
        "",
        "probes",
    ]
    for probe in found["probes"]:
        lines.append(_line(probe["name"], _verdict(probe)))
        lines += [
            _line(f"  not {item['variant']}", f"{item['phase']}: {item['errno_name'] or item['errno']}; {item['line']}")
            for item in probe["refused"]
        ]
        lines += [_line("  warning", warning) for warning in probe["warnings"]]
        if probe["error"]:
            lines.append(_line("  error", probe["error"]))
        lines += [_line("  log", said) for said in probe["log"].splitlines()]
    return "".join(f"{printable(line)}\n" for line in lines)


def _verdict(probe: dict[str, Any]) -> str:
    if not probe["works"]:
        return "does not work" if probe["permitted"] else "not permitted"
    variant = f"variant {probe['variant']}" if probe["variant"] else "works"
    if probe["origin"] == "compiled":
        return f"{variant}, compiled on this host ({probe['compile_result']})"
    return f"{variant}, by CO-RE with BTF from {probe['btf']['file'] or 'the kernel'} ({probe['btf']['source']})"


def _line(name: str, value: str) -> str:
    return f"  {name:{_WIDTH}}  {value}".rstrip()
