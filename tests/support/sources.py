# SPDX-License-Identifier: Apache-2.0
"""Probe modules made from C during a test, by the project's own pipeline."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from ebpf_codegen.compiler import Compiler, find_compiler
from ebpf_codegen.pipeline import build_probe, write_probe
from ebpf_runtime import light_maker
from tests.support.builds import build_elsewhere

__all__ = ["BPF", "INCLUDE", "add_loader_programs", "make_module", "write_source"]

ROOT = Path(__file__).resolve().parents[2]
BPF = ROOT / "bpf"
INCLUDE = (BPF / "include",)

_PROLOGUE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "probe.bpf.h"
"""
_EPILOGUE = '\nchar LICENSE[] SEC("license") = "Dual BSD/GPL";\n'


def write_source(directory: Path, name: str, code: str, *, whole: bool = False) -> Path:
    """Write `<name>.bpf.c`; unless *whole*, with the usual includes before *code* and the licence after it."""
    path = directory / f"{name}.bpf.c"
    path.write_text(code if whole else _PROLOGUE + code + _EPILOGUE)
    return path


def make_module(directory: Path, source: Path, compiler: Compiler | None = None) -> ModuleType:
    """Build a source into a package of its own below *directory*, as a wheel would hold it, and import its module."""
    name = source.name.removesuffix(".bpf.c")
    package = directory / f"made_{name}_{len(sys.modules)}"
    package.mkdir()
    (package / "__init__.py").touch()
    if compiler is not None or not build_elsewhere(source, package):
        write_probe(build_probe(source, compiler or find_compiler(), INCLUDE), package, embedded=True)
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(f"{package.name}.{name}")
    finally:
        sys.path.remove(str(directory))


def add_loader_programs(module: ModuleType) -> None:
    """Make the loader programs of a module that `make_module` made, as the build of a wheel does."""
    path = Path(str(module.__file__))
    assert light_maker.main([str(path.parent), path.stem]) == 0
