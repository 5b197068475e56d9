# SPDX-License-Identifier: Apache-2.0
"""The guests of a run: what each boots and runs, and as many at a time as the machine has room for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.builds import BUILDS, serve_builds
from tests.support.sources import INCLUDE
from tests.support.walker import WALKER, compile_walker
from tests.vm.expected import numbers
from tests.vm.machines import ROOT, Machine
from tests.vm.matrix import Answers
from tests.vm.results import Finished, Outcomes
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.kernels import Cache, default_cache, kernel_for

__all__ = ["GUEST_LIMIT_S", "MATRIX", "SAME_READINGS", "Boot", "Fleet"]

# Emulated, a guest takes some minutes; on a machine that is busy otherwise several times as long.
GUEST_LIMIT_S = 2400
TEST_LIMIT_S = 600
MEMORY_GIB = 2
REPORT = Path("/run/report")
MATRIX = Path("tests/vm/inside_matrix.py")
# All variants of each probe, on the same kills, connection and maps.
SAME_READINGS = (Path("tests/vm/inside_equal_variants.py"), Path("tests/vm/inside_tcp_queue_length.py"), MATRIX)
# Without the first ss(8) does not know how large buffers are; the others are what packets of the tests pass through.
_MODULES = ("tcp_diag", "veth", "sch_ingress", "cls_matchall", "act_bpf")


@dataclass(frozen=True)
class Boot:
    """A guest, and the tests that run in it."""

    tests: tuple[Path, ...]
    title: str = ""
    """What is special about the guest, for the page; empty: nothing."""
    choose: str = ""
    """Names of tests, as pytest's -k has it; empty: all."""
    cgroup: str = "v2"
    btf: bool = True
    headers: bool = True
    parameters: str = ""

    def refusal(self, series: str) -> str:
        """Return why a kernel cannot be booted like this; empty if it can."""
        if self.cgroup == "v1" and numbers(series) >= (6, 12):
            return "this kernel has no memory controller of cgroup version 1 (Debian's from 6.12 on)"
        return ""

    def command(self, series: str, machine: Machine, reports: Path) -> list[str]:
        """Return the command that boots the kernel and leaves reports in a directory."""
        command = [sys.executable, "-B", "-m", "tests.vm.vmtest", "--kernel", series, "--cgroup", self.cgroup]
        command += machine.options()
        command += [*([] if self.btf else ["--no-btf"]), *([] if self.headers else ["--no-headers"])]
        command += ["--append", self.parameters, "--timeout", str(GUEST_LIMIT_S), "--memory", f"{MEMORY_GIB}G"]
        for module in _MODULES:
            command += ["--module", module]
        command += ["--dir", f"{reports}:{REPORT}:rw", "--env", f"EBPF_MATRIX={REPORT / 'matrix.json'}"]
        command += ["--env", f"{WALKER}={REPORT / 'walker.so'}", "--env", f"{BUILDS}={REPORT / 'builds'}", "--"]
        # -P keeps the checkout off the path: what is tested is the installed wheel.
        command += [machine.python, "-B", "-P", "-m", "pytest", "-p", "no:cacheprovider"]
        command += ["-m", "(kernel or acceptance) and not any_kernel"]
        command += ["-k", self.choose] if self.choose else ["--require-kernel"]
        command += [f"--timeout={TEST_LIMIT_S}", f"--junitxml={REPORT / 'report.xml'}", "--durations=20"]
        return [*command, *map(str, self.tests)]


class Fleet:
    """Guests that wait, run or have finished."""

    def __init__(self, directory: Path, machine: Machine) -> None:
        """Start nothing yet.

        Args:
            directory: Where reports are left.
            machine: What all guests are.
        """
        self.width = width()
        self._directory = directory
        self.machine = machine
        self._pool = ThreadPoolExecutor(self.width)
        self._futures: dict[tuple[str, Boot], Future[Finished]] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()

    def start(self, series: str, boot: Boot) -> None:
        """Boot a guest as soon as its turn comes, unless it is to come already."""
        if (series, boot) not in self._futures:
            reports = self._directory / f"{series} {boot.title}".strip().translate(str.maketrans(" =,", "---"))
            self._futures[series, boot] = self._pool.submit(self._run, series, boot, reports)

    def finished(self, series: str, boot: Boot) -> Finished:
        """Wait for a guest and return what it found.

        Raises:
            VmtestError: There was no guest, it died, took too long, or wrote no report.
        """
        self.start(series, boot)
        return self._futures[series, boot].result()

    def close(self) -> None:
        """Stop all guests that wait or run."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.terminate()
        self._pool.shutdown()

    def _run(self, series: str, boot: Boot, reports: Path) -> Finished:
        machine = self.machine
        kernel = kernel_for(Cache(default_cache()), series, architecture=machine.architecture)
        machine.show(kernel)
        reports.mkdir()
        compile_walker(reports / "walker.so", machine.target)
        (builds := reports / "builds").mkdir()
        (kept := self._directory / "built").mkdir(exist_ok=True)
        # The guest's output is read by people, when its test failed.
        output = reports / "output.txt"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        start = time.monotonic()
        with output.open("wb") as file, serve_builds(builds, kept, INCLUDE):
            process = subprocess.Popen(
                boot.command(series, machine, reports), cwd=ROOT, env=environment,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._processes.add(process)
            try:
                status = process.wait()
            finally:
                self._processes.discard(process)
        said = output.read_text(errors="replace")
        if not (reports / "report.xml").exists():
            raise VmtestError(f"run the tests: the guest ended with {status} and wrote no report. It said\n{said}")
        outcomes = Outcomes.read(reports / "report.xml")
        answers = Answers.read(reports / "matrix.json")
        release = f"{kernel.release} ({kernel.version})"
        return Finished(release, outcomes, answers, start, time.monotonic(), said)


def width() -> int:
    """Return how many guests run at a time: each keeps one processor busy, and has its memory."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found
    return max(1, min(len(os.sched_getaffinity(0)), int(found[1]) // (MEMORY_GIB + 1 << 20)))
