# SPDX-License-Identifier: Apache-2.0
"""The option that writes expectations anew, and the compilers that all must agree."""

from __future__ import annotations

import shutil
import sys

import pytest

from ebpf_codegen.compiler import Compiler

COMPILERS = ("clang-16", "clang-19", "ziglang")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write the expectations of tests/golden anew; read the diff")


@pytest.fixture(scope="session", params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> Compiler:
    """One after the other; the `ziglang` package is a requirement of the tests, an installed clang is not."""
    name: str = request.param
    if name == "ziglang":
        return Compiler((sys.executable, "-m", "ziglang", "clang"), 20)
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return Compiler((path,), int(name.removeprefix("clang-")))
