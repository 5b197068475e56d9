# SPDX-License-Identifier: Apache-2.0
"""Probes made for a benchmark, by the project's own pipeline."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["build"]

_ROOT = Path(__file__).resolve().parents[1]


def build(scratch: Path, name: str) -> ModuleType:
    """Build benchmarks/bpf/<name>.bpf.c into a package in *scratch* and import its module."""
    from ebpf_codegen.compiler import find_compiler
    from ebpf_codegen.pipeline import build_probe, write_probe

    source = _ROOT / "benchmarks" / "bpf" / f"{name}.bpf.c"
    built = build_probe(source, find_compiler(), [_ROOT / "bpf" / "include"])
    package = scratch / f"{name}_package"
    package.mkdir()
    (package / "__init__.py").touch()
    write_probe(built, package, embedded=True)
    sys.path.insert(0, str(scratch))
    return importlib.import_module(f"{package.name}.{name}")
