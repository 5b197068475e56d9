# SPDX-License-Identifier: Apache-2.0
"""From exec to the first program attached, each time in a fresh process.

Every contender says "attached" on its standard output, and is timed until it has: what its end costs is not counted.
Python is the distribution's, with the packages that this process has on its path, and runs a script of three lines.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

from benchmarks.jobs import Options
from benchmarks.peers import HERE, bcc_environment, bcc_refusal, compiled
from benchmarks.race import Bar, Job, Sample, Yardstick

__all__ = ["memory", "start_up"]

PYTHON = "/usr/bin/python3"
_C = "C, libbpf skeleton"
_LIGHT = "light path"
_LIBBPF = "libbpf path"
_BCC = "bcc, its tcp tool"
_PAUSE = 0.06  # the kernel's grace period after the process before is not the next one's
_SCRIPT = """\
from ebpf_probes.{module} import {cls}
probe = {cls}.open_and_load().attach()
print("attached", flush=True)
"""


@contextmanager
def start_up(_options: Options) -> Iterator[Job]:
    with _contenders() as (commands, notes):
        contenders = {name: partial(_timed, *command) for name, command in commands.items()}
        bars = (Bar(_LIGHT, _C, 1.5), Bar(_LIBBPF, _C, 2.0), Bar(_LIGHT, _BCC, 1 / 60))
        yield Job(
            "process start to first program attached", _C, contenders, bars, Yardstick(_BCC, _C, 137.0), notes,
            checked=False,
        )  # fmt: skip


@contextmanager
def memory(_options: Options) -> Iterator[Job]:
    """The same processes' largest resident memory; a "second" is a GiB here."""
    with _contenders() as (commands, notes):
        contenders = {name: partial(_resident, *command) for name, command in commands.items()}
        bars = (Bar(_LIGHT, _BCC, 1 / 8),)
        yield Job("memory of a process with one program attached", _C, contenders, bars, None, notes, checked=False)


@contextmanager
def _contenders() -> Iterator[tuple[dict[str, tuple[list[str], Mapping[str, str]]], list[str]]]:
    """Give commands and their environments, and what the table must say."""
    with TemporaryDirectory(prefix="ebpf-start-up-") as name:
        scratch = Path(name)
        _packages(scratch)
        light = _environment(scratch)
        script = scratch / "oom.py"
        script.write_text(_SCRIPT.format(module="oom_kill", cls="OomKill"))
        c = str(compiled("start_up", _skeleton(scratch)))
        commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
            "/bin/echo": (["/bin/echo"], light),
            "python -c pass": ([PYTHON, "-c", "print()"], light),
            _C: ([c, "2"], light),
            f"{_C}, variants tried": ([c], light),
            _LIGHT: ([PYTHON, str(script)], light),
            _LIBBPF: ([PYTHON, str(script)], {**light, "EBPF_LIBBPF": "libbpf.so.1"}),
        }
        notes = [refusal] if (refusal := bcc_refusal()) else []
        if not refusal:
            commands[_BCC] = ([PYTHON, str(HERE / "start_up_bcc.py")], bcc_environment())
        yield commands, notes


def _environment(packages: Path) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "EBPF_LIBBPF"}, "PYTHONPATH": str(packages)}


def _packages(target: Path) -> None:
    """Copy the installed packages that the script needs, byte-compiled as pip would."""
    import ebpf_probes
    import ebpf_runtime

    for package in (ebpf_runtime, ebpf_probes):
        for directory in package.__path__:
            copytree(
                directory, target / package.__name__, dirs_exist_ok=True, ignore=ignore_patterns("__pycache__", "*.so")
            )
    subprocess.run([PYTHON, "-m", "compileall", "-q", str(target)], check=True)


def _skeleton(scratch: Path) -> Path:
    """Make the C skeleton of the very object that Python loads."""
    import ebpf_probes

    machine = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    images = (Path(directory, f"oom_kill.{machine}.bpf.o") for directory in ebpf_probes.__path__)
    image = next(path for path in images if path.exists())
    header = scratch / "oom_kill.skel.h"
    with header.open("wb") as out:
        subprocess.run(
            ["bpftool", "gen", "skeleton", str(image), "name", "oom_kill"],
            check=True, stdout=out, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return scratch


def _timed(command: list[str], environment: Mapping[str, str]) -> Sample:
    time.sleep(_PAUSE)
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        seconds = time.perf_counter() - started
    if process.returncode or not said:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Sample(seconds)


def _resident(command: list[str], environment: Mapping[str, str]) -> Sample:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Sample(usage.ru_maxrss * 1024 / (1 << 30))
