# SPDX-License-Identifier: Apache-2.0
"""Probes made for a benchmark, by the project's own pipeline, and packages as the distribution's Python finds them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from shutil import copytree, ignore_patterns
from types import ModuleType

__all__ = ["PYTHON", "build", "environment", "install"]

PYTHON = "/usr/bin/python3"
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


def install(target: Path, packages: Iterable[ModuleType]) -> None:
    """Copy packages without their libraries, wherever this process has them from, and byte-compile all as pip would."""
    for package in packages:
        for directory in package.__path__:
            ignored = ignore_patterns("__pycache__", "*.so")
            copytree(directory, target / package.__name__, dirs_exist_ok=True, ignore=ignored)
    subprocess.run([PYTHON, "-m", "compileall", "-q", str(target)], check=True)


def environment(target: Path) -> dict[str, str]:
    """Return the environment in which Python finds what was installed in a directory, and the system's libbpf."""
    inherited = {name: value for name, value in os.environ.items() if name != "EBPF_LIBBPF"}
    return {**inherited, "PYTHONPATH": str(target)}
