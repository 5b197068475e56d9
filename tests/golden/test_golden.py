# SPDX-License-Identifier: Apache-2.0
"""What each case generates, with every compiler, and that tools and the runtime take it.

`pytest tests/golden --update` writes the expectations anew; the diff is then to be read.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf_codegen.compiler import Compiler
from ebpf_codegen.errors import UnsupportedError
from ebpf_codegen.pipeline import build_probe
from ebpf_runtime import ObjectSpec

from .cases import BOUND, CASES, GOLDEN, INCLUDE, ROOT, load


@pytest.mark.parametrize("case", CASES)
def test_generated(case: str, compiler: Compiler, request: pytest.FixtureRequest) -> None:
    directory = GOLDEN / case
    try:
        found = build_probe(directory / "case.bpf.c", compiler, INCLUDE).module
        expected = directory / "case.py"
    except UnsupportedError as error:
        found = f"{error}\n"
        expected = directory / "refusal.txt"
    if request.config.getoption("--update", default=False):
        expected.write_text(found, "utf-8")
    assert expected.is_file(), found
    assert expected.read_text("utf-8") == found


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_one_outcome(case: str) -> None:
    expected = "case.py" if case in BOUND else "refusal.txt"
    assert sorted(path.name for path in (GOLDEN / case).iterdir() if path.is_file()) == ["case.bpf.c", expected]


@pytest.mark.parametrize("case", BOUND)
def test_bindings_can_be_imported(case: str) -> None:
    module = load(case)
    assert isinstance(module._OBJECT, ObjectSpec)
    assert module.__all__ == [name for name in module.__all__ if hasattr(module, name)]
    assert module.__doc__


@pytest.mark.parametrize(
    "tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--cache-dir", os.devnull]]
)
def test_tools_have_nothing_to_say_of_any(tool: list[str]) -> None:
    paths = [str((GOLDEN / case / "case.py").relative_to(ROOT)) for case in BOUND]
    command = [sys.executable, "-m", *tool, "--no-cache"] if tool[0] == "ruff" else [sys.executable, "-m", *tool]
    run = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_an_expectation_that_differs_is_seen(tmp_path: Path) -> None:
    """Guards the test above: it must be able to fail."""
    bad = tmp_path / "case.py"
    bad.write_text("import os\nx: int = 'text'\n")
    for tool in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"]):
        assert subprocess.run([sys.executable, "-m", *tool, str(bad)], capture_output=True, check=False).returncode == 1
