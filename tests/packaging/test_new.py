# SPDX-License-Identifier: Apache-2.0
"""The package that `ebpf-codegen new` writes: it builds without a network, type-checks, and its test passes."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .test_readme import EXPECTED

if TYPE_CHECKING:
    from .conftest import Environment, MakeEnvironment

pytestmark = pytest.mark.packaging

FILES = (
    ".gitignore", "CMakeLists.txt", "README.md", "bpf/connect.bpf.c", "connect_probes/__init__.py",
    "connect_probes/py.typed", "pyproject.toml", "tests/test_connect.py",
)  # fmt: skip
PACKED = sorted((*EXPECTED, "hello_probes/__init__.py", "hello_probes/py.typed"))


@pytest.fixture(scope="module")
def project(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, written by the installed command."""
    folder = tmp_path_factory.mktemp("new") / "project"
    done = installed.run("ebpf-codegen", "new", "connect", "--directory", folder)
    assert done.stderr == ""
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert written == list(FILES)
    assert done.stdout.startswith(f"wrote {folder}/bpf/connect.bpf.c\n")
    return folder


@pytest.fixture(scope="module")
def user(
    make_environment: MakeEnvironment, project: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An environment with the package's wheel, which was built in isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    built = make_environment().build_wheel(project, folder, f"--find-links={wheel.parent}", isolated=True)
    assert built.name == "connect_probes-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(built) as archive:
        packed = sorted(name for name in archive.namelist() if ".dist-info/" not in name)
        assert packed == [name.replace("hello", "connect") for name in PACKED]
    environment = make_environment(wheel)
    environment.pip("install", "--no-deps", built)
    return environment


def test_its_test_type_checks(user: Environment, project: Path) -> None:
    mypy = (sys.executable, "-m", "mypy", "--strict", f"--python-executable={user.python}")
    done = user.run(*mypy, project / "tests", check=False)
    assert done.stdout == "Success: no issues found in 1 source file\n"


def test_its_python_is_formatted(project: Path, user: Environment) -> None:
    user.run(sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", project)
    user.run(
        sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "--check", "--line-length=120", project
    )


@pytest.mark.kernel
def test_its_test_passes(user: Environment, project: Path) -> None:
    done = user.run("python", "-W", "error", "-m", "unittest", "discover", project / "tests", check=False)
    assert "\nRan 1 test in " in done.stderr
    assert done.stderr.endswith("\n\nOK\n"), done.stderr
