# SPDX-License-Identifier: Apache-2.0
"""Wheels and environments to install them into, made without a network.

Nothing is fetched: what an environment needs is packed into wheels again from the packages of the
environment that runs the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Protocol

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# What make made, and what must not leak into a copy of the sources.
NOT_SOURCES = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", ".*_cache")

# A mount namespace in which folders can be emptied without touching the machine.
NAMESPACE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


@dataclass(frozen=True)
class Environment:
    """A virtual environment without a network, and folders that its processes find empty."""

    path: Path
    wheelhouse: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.path)}))

    def run(
        self, *command: str | Path, hidden: Sequence[Path] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command outside the checkout; *hidden* folders are empty for it."""
        words = [str(word) for word in command]
        if hidden:
            mounts = "".join(f"mount -t tmpfs none {folder} && " for folder in hidden)
            words = [*NAMESPACE, "sh", "-c", f'{mounts}exec "$@"', "sh", *words]
        done = subprocess.run(
            words,
            cwd=self.path,
            env=self._variables(),
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{words} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def pip(
        self, *arguments: str | Path, hidden: Sequence[Path] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the pip of the tests' own environment on this one."""
        pip = (sys.executable, "-m", "pip", "--python", self.python, *arguments)
        return self.run(*pip, hidden=hidden, check=check)

    def build_wheel(
        self,
        project: Path,
        folder: Path,
        *options: str,
        isolated: bool = False,
        hidden: Sequence[Path] = (),
    ) -> Path:
        """Build the only wheel in a folder, from a project's folder or its sdist."""
        isolation = () if isolated else ("--no-build-isolation",)
        arguments = ("--no-deps", *isolation, *options, "--wheel-dir", folder, project)
        self.pip("wheel", *arguments, hidden=hidden)
        (built,) = folder.iterdir()
        return built

    def _variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        tools = sysconfig.get_path("scripts")  # cmake and ninja, where the system has none
        return {
            **kept,
            "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}:{tools}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_FIND_LINKS": str(self.wheelhouse),
            "PIP_NO_INDEX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.variables,
        }


class MakeEnvironment(Protocol):
    """Make an environment with requirements in it and variables set for its processes."""

    def __call__(self, *requirements: str | Path, **variables: str) -> Environment: ...


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's sources, as a clone has them."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("sources") / "tree", ignore=NOT_SOURCES)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: everything that the project's build and its wheel require."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    for name in _closure({"scikit-build-core", "jinja2", "pyelftools", "PyYAML"}):
        _pack(metadata.distribution(name), folder)
    return folder


@pytest.fixture(scope="session")
def make_environment(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeEnvironment:
    """A function that makes environments."""

    def make(*requirements: str | Path, **variables: str) -> Environment:
        path = tmp_path_factory.mktemp("environment")
        venv.create(path, symlinks=True)
        environment = Environment(path, wheelhouse, variables)
        if requirements:
            environment.pip("install", "--quiet", *requirements)
        return environment

    return make


@pytest.fixture(scope="session")
def builder(make_environment: MakeEnvironment) -> Environment:
    """An environment that can build the project without isolation, by a clang of the system."""
    return make_environment("scikit-build-core", "jinja2", "pyelftools")


@pytest.fixture(scope="session")
def wheel(builder: Environment, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of the sources."""
    return builder.build_wheel(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(make_environment: MakeEnvironment, wheel: Path) -> Environment:
    """An environment with the wheel, and all that a package with its own probes needs."""
    return make_environment(f"{wheel}[build]")


def _closure(names: set[str]) -> Iterator[str]:
    """Yield the names and all they require."""
    seen: set[str] = set()
    while names:
        name = names.pop()
        yield name
        seen.add(name.lower())
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name.lower() not in seen:
                names.add(requirement.name)


def _pack(distribution: metadata.Distribution, folder: Path) -> None:
    """Pack an installed distribution into a wheel again."""
    tag = re.search(r"^Tag: (\S+)$", distribution.read_text("WHEEL") or "", re.MULTILINE)
    assert tag is not None
    name = re.sub(r"[-_.]+", "_", distribution.name)
    with zipfile.ZipFile(folder / f"{name}-{distribution.version}-{tag[1]}.whl", "w") as archive:
        for file in distribution.files or ():
            installer = file.name in {"INSTALLER", "REQUESTED", "direct_url.json"}
            if not installer and file.suffix != ".pyc" and ".." not in file.parts:
                archive.write(str(file.locate()), str(file))
