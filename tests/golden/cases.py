# SPDX-License-Identifier: Apache-2.0
"""The cases: a directory each, with `case.bpf.c` and either `case.py`, its bindings, or `refusal.txt`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

__all__ = ["BOUND", "CASES", "GOLDEN", "INCLUDE", "ROOT", "load"]

GOLDEN = Path(__file__).resolve().parent
ROOT = GOLDEN.parents[1]
INCLUDE = (ROOT / "bpf" / "include",)
CASES = tuple(sorted(path.parent.name for path in GOLDEN.glob("*/case.bpf.c")))
BOUND = tuple(case for case in CASES if not case.startswith("refuse_"))


def load(case: str) -> ModuleType:
    """Import the expected bindings of a case."""
    spec = importlib.util.spec_from_file_location(f"golden_{case}", GOLDEN / case / "case.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
