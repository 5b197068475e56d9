# SPDX-License-Identifier: Apache-2.0
"""The suite itself: it must fail where the kernel tests could have run and did not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.kernel import refusal

ROOT = Path(__file__).resolve().parents[2]


def pytest_says(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--require-kernel", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_run_without_kernel_tests_fails_where_they_could_have_run() -> None:
    code, output = pytest_says("tests/unit/runtime/test_open.py::test_errors_form_one_tree")
    assert "1 passed" in output
    if refusal():
        assert code == 0
        assert f"kernel: no test ran in the running kernel: {refusal()}" in output
    else:
        assert code == 1
        assert "kernel: no test ran in the running kernel, although it takes BPF from us" in output


def test_a_run_with_a_kernel_test_passes() -> None:
    code, output = pytest_says("tests/kernel/test_runtime.py::test_array_map_is_a_sequence")
    assert code == 0
    assert ("kernel: 2 tests ran" in output) == (not refusal())


def test_a_deselected_kernel_test_fails_the_run_where_it_could_have_run() -> None:
    code, output = pytest_says("tests/kernel/test_runtime.py", "-k", "test_array_map_is_a_sequence")
    assert "2 passed" in output or refusal()
    assert code == (0 if refusal() else 1)
    assert ("kernel: could have run and did not: tests/kernel/test_runtime.py::" in output) == (not refusal())
