# SPDX-License-Identifier: Apache-2.0
"""Probes made for a benchmark, by the project's own pipeline, and packages as the distribution's Python has them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from shutil import copytree, ignore_patterns
from types import ModuleType
from typing import NamedTuple

from benchmarks.peers import SYSTEM_PYTHON

__all__ = ["Installation", "build", "environment", "installation"]

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


class Installation(NamedTuple):
    """A virtual environment of the distribution's Python: its command, and the directory of its packages."""

    python: str
    packages: Path

    def install(self, packages: Iterable[ModuleType]) -> None:
        """Copy packages without their libraries, wherever this process has them from; byte-compile all as pip would."""
        for package in packages:
            for directory in package.__path__:
                ignored = ignore_patterns("__pycache__", "*.so")
                copytree(directory, self.packages / package.__name__, dirs_exist_ok=True, ignore=ignored)
        subprocess.run([self.python, "-m", "compileall", "-q", str(self.packages)], check=True)


def installation(directory: Path) -> Installation:
    """Make the place where pip installs wheels on Debian, which wants no others beside its own packages.

    What was put beside those may run at every start of that Python, and is not what a start is to be charged with.
    """
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", str(directory)], check=True)
    (packages,) = directory.glob("lib/python3*/site-packages")
    return Installation(str(directory / "bin" / "python"), packages)


def environment() -> dict[str, str]:
    """Return the environment in which the system's libbpf is taken, and no packages from elsewhere."""
    return {name: value for name, value in os.environ.items() if name not in ("EBPF_LIBBPF", "PYTHONPATH")}
