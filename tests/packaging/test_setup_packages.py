# SPDX-License-Identifier: Apache-2.0
"""Which packages of the distribution `make` asks for, and what it says where it cannot have them.

apt-get is replaced by a command that writes down what it was asked for: tests install nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import MakeEnvironment

pytestmark = pytest.mark.packaging

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "setup-packages"
HEADERS = Path("/usr/include/bpf")
COMMANDS = ("echo", "id", "mount", "sh", "unshare", "xargs")


class Machine:
    """A machine with few commands, and perhaps an apt-get that installs nothing."""

    def __init__(self, make_environment: MakeEnvironment, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.asked = folder / "asked"
        for command in COMMANDS:
            path = shutil.which(command)
            assert path is not None
            (self.bin / command).symlink_to(path)
        (self.bin / "python3").symlink_to(Path(sys.base_prefix, "bin", "python3"))
        self._environment = make_environment(PATH=str(self.bin))

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, what: str, *hidden: Path) -> subprocess.CompletedProcess[str]:
        return self._environment.run(SCRIPT, what, hidden=hidden, check=False)


@pytest.fixture
def machine(make_environment: MakeEnvironment, tmp_path: Path) -> Machine:
    return Machine(make_environment, tmp_path)


def test_nothing_is_said_where_nothing_is_missing(machine: Machine) -> None:
    done = machine.run("run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_named_and_asked_for(machine: Machine) -> None:
    machine.command("apt-get", f'echo "$@" >>{machine.asked}')
    machine.command("sudo", 'shift; exec "$@"')
    done = machine.run("run", HEADERS)
    assert done.stdout == "==> installing packages of the distribution: libbpf-dev\n"
    assert machine.asked.read_text().splitlines() == [
        "--quiet=2 update",
        "--quiet=2 install --no-install-recommends --yes libbpf-dev",
    ]
    # The replaced apt-get installed nothing, and that is noticed.
    assert done.returncode == 1
    assert done.stderr.startswith("install libbpf-dev: installed, but still not usable.")


def test_without_apt_get_the_remedy_is_named(machine: Machine) -> None:
    done = machine.run("run", HEADERS)
    assert done.returncode == 1
    assert done.stderr == (
        "install libbpf-dev: there is no apt-get here. Install them by hand"
        " (dnf install python3 libbpf libbpf-devel) and try again.\n"
    )


def test_tests_do_without_what_cannot_be_installed(machine: Machine) -> None:
    machine.command("apt-get", f'echo "$@" >>{machine.asked}')
    machine.command("apt-cache", '[ "$2" = clang-19 ]')
    machine.command("sudo", 'shift; exec "$@"')
    done = machine.run("test", Path("/usr/sbin"))
    assert done.returncode == 0
    assert done.stdout == "==> installing packages of the distribution for tests: clang-19\n"
    assert done.stderr.splitlines() == [
        "==> not offered by this distribution, some tests cannot run: clang-16",
        "==> not offered by this distribution, some tests cannot run: bpftool",
        "==> not offered by this distribution, some tests cannot run: iproute2",
    ]
    assert machine.asked.read_text().splitlines() == [
        "--quiet=2 update",
        "--quiet=2 install --no-install-recommends --yes clang-19",
    ]
