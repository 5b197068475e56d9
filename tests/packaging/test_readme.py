# SPDX-License-Identifier: Apache-2.0
"""The README's code is built, by pip's isolation where it is a package, and runs."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.kills import kill_one, victims_cgroup

if TYPE_CHECKING:
    from .conftest import Environment, MakeEnvironment

pytestmark = pytest.mark.packaging

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
READ_AN_EVENT = re.compile(r"^## Read an event\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SUFFIXES = (
    ".arm64.bpf.o", ".arm64.light", ".flat.c", ".light.sha256", ".py", ".sha256", ".x86_64.bpf.o", ".x86_64.light",
)  # fmt: skip
EXPECTED = [f"hello_probes/hello{suffix}" for suffix in SUFFIXES]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the README names."""
    folder = tmp_path_factory.mktemp("hello")
    files = dict(BLOCK.findall(README.read_text()))
    assert sorted(files) == ["CMakeLists.txt", "hello.bpf.c", "hello.py", "pyproject.toml"]
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def hello(
    make_environment: MakeEnvironment,
    project: Path,
    wheel: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Its wheel, built in isolation: pip installs ebpf-runtime[build] from folders of wheels."""
    folder = tmp_path_factory.mktemp("wheel")
    return make_environment().build_wheel(project, folder, f"--find-links={wheel.parent}", isolated=True)


def probes(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if ".dist-info/" not in name)


def test_package_is_built_against_the_wheel(hello: Path) -> None:
    assert hello.name == "hello_probes-1.0-py3-none-any.whl"
    assert probes(hello) == EXPECTED


def test_package_is_built_without_isolation_and_without_libbpf_headers(
    installed: Environment, project: Path, hello: Path, tmp_path: Path
) -> None:
    built = installed.build_wheel(project, tmp_path, hidden=[Path("/usr/include/bpf")])
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(hello) as theirs:
        for name in EXPECTED:
            assert ours.read(name) == theirs.read(name), name


def test_package_is_built_against_an_editable_install(
    make_environment: MakeEnvironment, sources: Path, project: Path, tmp_path: Path
) -> None:
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools", "PyYAML")
    checkout = shutil.copytree(sources, tmp_path / "checkout")
    environment.pip("install", "--no-build-isolation", "--editable", checkout)
    assert probes(environment.build_wheel(project, tmp_path / "wheel")) == EXPECTED


@pytest.mark.kernel
def test_probe_sees_a_program_start(installed: Environment, hello: Path, project: Path, tmp_path: Path) -> None:
    installed.pip("install", "--no-deps", hello)
    program = shutil.copy("/bin/true", tmp_path / "hello-started")
    output = tmp_path / "output"
    started: set[int] = set()
    seen: set[int] = set()
    with (
        output.open("w") as stream,
        subprocess.Popen([installed.python, "-u", project / "hello.py"], cwd=tmp_path, stdout=stream) as reader,
    ):
        deadline = time.monotonic() + 60
        try:
            # Other programs start as well, before it and after it.
            while not seen and reader.poll() is None and time.monotonic() < deadline:
                with subprocess.Popen([program]) as child:
                    started.add(child.pid)
                time.sleep(0.05)
                lines = [line.split(" ", 2) for line in output.read_text().splitlines(keepends=True)]
                seen = {int(line[0]) for line in lines if line[1:] == ["0", "hello-started\n"]}
        finally:
            reader.send_signal(signal.SIGINT)
    assert seen
    assert seen <= started
    assert reader.returncode == -signal.SIGINT


@pytest.fixture(scope="module")
def read_an_event(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of the section "Read an event"."""
    block = READ_AN_EVENT.search(README.read_text())
    assert block is not None
    script = tmp_path_factory.mktemp("script") / "read.py"
    script.write_text(block[1])
    return script


def test_reading_an_event_type_checks(installed: Environment, read_an_event: Path) -> None:
    mypy = (sys.executable, "-m", "mypy", "--strict", f"--python-executable={installed.python}")
    done = installed.run(*mypy, read_an_event, check=False)
    assert done.stdout == "Success: no issues found in 1 source file\n"


@pytest.mark.kernel
def test_an_event_is_read(installed: Environment, read_an_event: Path, tmp_path: Path) -> None:
    with (
        victims_cgroup() as group,
        subprocess.Popen([installed.python, read_an_event], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as reader,
    ):
        killed = set()
        while reader.poll() is None:
            killed.add(kill_one(group, comm="readme").pid)
        assert reader.stdout is not None
        lines = [line.split() for line in reader.stdout.read().splitlines()]
    assert reader.returncode == 0
    seen = {int(pid) for comm, pid, _, constraint in lines if (comm, constraint) == ("readme", "MEMCG")}
    assert seen
    assert seen <= killed
