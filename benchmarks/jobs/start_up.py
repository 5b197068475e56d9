# SPDX-License-Identifier: Apache-2.0
"""From exec to the first program attached, each time in a fresh process.

Every contender says "attached" on its standard output, and is timed until it has: what its end costs is not counted.
Python is the distribution's, with the packages installed in a virtual environment, and runs a script of three lines.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.jobs import Options
from benchmarks.peers import HERE, SYSTEM_PYTHON, bcc_environment, bcc_refusal, compiled
from benchmarks.probes import Installation, build, environment, installation
from benchmarks.race import MEMORY, Bar, Job, Sample, Yardstick
from ebpf_runtime.specs import architecture

__all__ = ["memory", "start_up"]

_C = "C, libbpf skeleton"
_LIGHT = "light path"
_LIBBPF = "libbpf path"
_BCC = "bcc, its tcp tool"
_TRIES = 50  # a process may be gone before it is looked at
_PROBE = "tcp_tracer"
_PAUSE = 0.06  # the kernel's grace period after the process before is not the next one's
_SCRIPT = """\
from tcp_tracer_package.tcp_tracer import TcpTracer
probe = TcpTracer.open_and_load().attach()
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
    """The most memory that the same processes had resident when they were attached."""
    with _contenders() as (commands, notes):
        contenders = {name: partial(_resident, *command) for name, command in commands.items()}
        bars = (Bar(_LIGHT, _BCC, 1 / 8), Bar(_LIBBPF, _BCC, 1 / 8))
        yield Job(
            "most memory of a process from its start to its first program attached", _C, contenders, bars, None, notes,
            checked=False, unit=MEMORY,
        )  # fmt: skip


@contextmanager
def _contenders() -> Iterator[tuple[dict[str, tuple[list[str], Mapping[str, str]]], list[str]]]:
    """Give commands and their environments, and what the table must say."""
    with TemporaryDirectory(prefix="ebpf-start-up-") as name:
        scratch = Path(name)
        installed = installation(scratch / "installed")
        _packages(installed)
        python, light = installed.python, environment()
        script = scratch / "start.py"
        script.write_text(_SCRIPT)
        c = str(compiled("start_up", _skeleton(installed.packages, scratch)))
        commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
            "/bin/echo": (["/bin/echo"], light),
            "python -c pass": ([python, "-c", "print()"], light),
            _C: ([c], light),
            _LIGHT: ([python, str(script)], light),
            _LIBBPF: ([python, str(script)], {**light, "EBPF_LIBBPF": "libbpf.so.1"}),
        }
        notes = [refusal] if (refusal := bcc_refusal()) else []
        if not refusal:
            commands[_BCC] = ([SYSTEM_PYTHON, str(HERE / "start_up_bcc.py")], bcc_environment())
        yield commands, notes


def _packages(installed: Installation) -> None:
    """Install the probe and the runtime."""
    import ebpf_runtime
    from ebpf_runtime import light_maker

    build(installed.packages, _PROBE)
    if light_maker.main([str(installed.packages / f"{_PROBE}_package"), _PROBE]):
        raise RuntimeError(f"make the loader program of {_PROBE}: see above")
    installed.install([ebpf_runtime])


def _skeleton(packages: Path, scratch: Path) -> Path:
    """Make the C skeleton of the very object that Python loads."""
    image = packages / f"{_PROBE}_package" / f"{_PROBE}.{architecture()}.bpf.o"
    with (scratch / f"{_PROBE}.skel.h").open("wb") as out:
        subprocess.run(
            ["bpftool", "gen", "skeleton", str(image), "name", _PROBE],
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
    """Return the most memory that a process had resident when it was attached, in MiB."""
    for _ in range(_TRIES):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return Sample(int(line.split()[1]) / (1 << 10))
    raise RuntimeError(f"{' '.join(command)} ends too soon to be looked at")
