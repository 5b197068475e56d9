# SPDX-License-Identifier: Apache-2.0
"""The kernel tests on other kernels, and there each kill, queue and map by every variant; the answers make a page.

Needs root (QEMU's file sharing does) and, for a kernel that is not in the cache, the network.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.vm.matrix import Answers
from tests.vm.results import COLUMNS, VARIANTS, Outcomes, Results
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.guest import Guest, kept_variables
from tests.vm.vmtest.kernels import Cache, default_cache, kernel_for
from tests.vm.vmtest.qemu import Emulator, emulator_for
from tests.vm.vmtest.shares import Share

ROOT = Path(__file__).resolve().parents[2]
MATRIX = Path("tests/vm/inside_matrix.py")
REFUSAL = Path("tests/vm/inside_refusal.py")
WITHOUT_BTF = Path("tests/vm/inside_without_btf.py")
VARIANTS_EQUAL = (Path("tests/vm/inside_equal_variants.py"), Path("tests/vm/inside_tcp_queue_length.py"))
SUITE = (Path("tests/kernel"), Path("tests/acceptance/test_tcp_queue_length.py"))
# Emulated, the suite takes some minutes; on a machine that is busy otherwise several times as long.
GUEST_LIMIT_S = 2400
TEST_LIMIT_S = 600
REPORT = Path("/run/report")
# Skips that are right on every kernel: nothing there for the test to do.
ALWAYS = {"test_a_selected_variant_that_the_kernel_refuses_says_so"}
_FLOOR = re.compile(r"\((?:before|from) (?:Linux )?(\d+)\.(\d+)")

pytestmark = [pytest.mark.vm, pytest.mark.timeout(GUEST_LIMIT_S + 600)]


@pytest.fixture(scope="module")
def emulator(request: pytest.FixtureRequest) -> Emulator:
    """The QEMU to use; without one there is nothing to try, so this ends the run."""
    if request.config.getoption("--architecture", default="x86_64") != "x86_64":
        pytest.skip("the guest is arm64")
    try:
        if os.geteuid() != 0:
            raise VmtestError("start a guest: EPERM, virtiofsd needs root. Run make vm as root, or with sudo.")
        return emulator_for(Cache(default_cache()))
    except VmtestError as error:
        pytest.exit(f"make vm: {error}", returncode=pytest.ExitCode.TESTS_FAILED)


# Without the first ss(8) does not know how large buffers are; the others are what packets of the tests pass through.
_MODULES = ("tcp_diag", "veth", "sch_ingress", "cls_matchall", "act_bpf")


class Run:
    """Boots guests for one test, and adds what they answer to the page."""

    def __init__(self, emulator: Emulator, series: str, reports: Path, results: Results) -> None:
        self._emulator = emulator
        self._reports = reports
        self._results = results
        self.series = series

    def __call__(
        self,
        *tests: Path,
        title: str = "",
        choose: str = "",
        cgroup: str = "v2",
        btf: bool = True,
        headers: bool = True,
        parameters: str = "",
    ) -> tuple[Outcomes, Answers]:
        """Boot the kernel and run tests under it; return what became of them, and the answers for the page.

        Args:
            title: What is special about the guest, for the page; empty: nothing.
            choose: Names of tests, as pytest's -k has it; empty: all.
        """
        answers = REPORT / "matrix.json"
        # -P keeps the checkout off the path: what is tested is the installed wheel.
        command = [sys.executable, "-B", "-P", "-m", "pytest", "-p", "no:cacheprovider", "-m", "kernel or acceptance"]
        command += ["-k", choose] if choose else ["--require-kernel"]
        command += [f"--timeout={TEST_LIMIT_S}", f"--junitxml={REPORT / 'report.xml'}", *map(str, tests)]
        start = time.monotonic()
        try:
            kernel = kernel_for(Cache(default_cache()), self.series)
            status = Guest(
                kernel,
                self._emulator,
                command,
                ROOT,
                environment=kept_variables() | {"EBPF_MATRIX": str(answers)},
                shares=[Share(self._reports, REPORT, writable=True)],
                modules=_MODULES,
                cgroup=cgroup,
                btf=btf,
                headers=headers,
                parameters=parameters,
                timeout_s=GUEST_LIMIT_S,
            ).run()
        except VmtestError as error:
            raise pytest.fail.Exception(f"Linux {self.series}: {error}", pytrace=False) from None
        if not (self._reports / "report.xml").exists():
            pytest.fail(
                f"Linux {self.series}: pytest exited with {status} and wrote no report, see its output", pytrace=False
            )
        outcomes = Outcomes.read(self._reports / "report.xml")
        found = Answers.read(self._reports / "matrix.json", outcomes.by_name)
        name = f"{self.series}{f', {title}' if title else ''}"
        self._results.add(name, f"{kernel.release} ({kernel.version})", outcomes, found, time.monotonic() - start)
        return outcomes, found


@pytest.fixture
def run(emulator: Emulator, series: str, tmp_path: Path, results: Results) -> Run:
    return Run(emulator, series, tmp_path, results)


def assert_passed(outcomes: Outcomes, columns: Iterable[str], skipped: set[str], series: str) -> None:
    """Fail if a test failed, was skipped though the kernel is new enough, or one of those behind *columns* did not run.

    Args:
        skipped: Tests that may be skipped whatever the kernel's age.
    """
    assert not outcomes.names("failed") | outcomes.names("error")
    for name in outcomes.names("skipped") - skipped:
        floor = _FLOOR.search(outcomes.reasons.get(name, ""))
        assert floor, f"{name} was skipped, and no kernel is named that need not be: {outcomes.reasons.get(name)}"
        assert tuple(map(int, series.split("."))) < tuple(map(int, floor.groups())), f"{name}: {floor[0]}"
    cells = {f"{variant} {column}": outcomes.cell(column, variant) for variant in VARIANTS for column in columns}
    assert cells == dict.fromkeys(cells, "passed")


def assert_variants_equal(outcomes: Outcomes) -> None:
    assert {
        "test_every_variant_is_tried",
        "test_kills_are_equal_in_all_variants",
        "test_tcp_variants_are_equal",
        "test_what_loads_by_default_reads_and_what_does_not_says_why",
    } <= outcomes.names("passed")


def works(answers: Answers, probe: str) -> set[str]:
    """Return the variants of a probe that load and attach."""
    return {variant for variant, answer in answers.variants[probe].items() if not any(answer.values())}


def test_the_kernel_tests_pass(run: Run) -> None:
    outcomes, _ = run(*SUITE, title="kernel tests")
    assert_passed(outcomes, ("every kill",), ALWAYS, run.series)


def test_all_variants_are_equal(run: Run) -> None:
    outcomes, answers = run(*VARIANTS_EQUAL, MATRIX)
    assert_passed(outcomes, (column for column in COLUMNS if column != "every kill"), set(), run.series)
    assert_variants_equal(outcomes)
    # What was proven for these kernels, once and for all.
    assert works(answers, "oom_kill") == {"fentry", "kprobe", "raw_tp"}
    since_6_3 = {"tp_btf_send_length"} if tuple(map(int, run.series.split("."))) >= (6, 3) else set()
    always = {"fentry", "kprobe", "kprobe_only", "tp_btf_probe", "iter"}
    assert works(answers, "tcp_queue_length") == always | since_6_3
    since_5_12 = {"task_vma"} if tuple(map(int, run.series.split("."))) >= (5, 12) else set()
    assert works(answers, "ebpf_inventory") == {"task_file"} | since_5_12
    assert all(answer["origin"] == "co_re" for answer in answers.default.values())


def test_all_variants_are_equal_with_cgroup_version_1(run: Run) -> None:
    if tuple(map(int, run.series.split("."))) >= (6, 12):
        pytest.skip("this kernel has no memory controller of cgroup version 1 (Debian's from 6.12 on)")
    outcomes, answers = run(*VARIANTS_EQUAL, MATRIX, title="cgroup v1", cgroup="v1")
    assert_passed(
        outcomes, ("loaded", "attached", "equal kills"), {"test_a_group_kill_is_equal_in_all_variants"}, run.series
    )
    assert_variants_equal(outcomes)
    assert works(answers, "oom_kill") == {"fentry", "kprobe", "raw_tp"}


def test_with_headers_and_without_types_the_compiler_makes_a_probe(run: Run) -> None:
    choose = "test_what_loads_by_default or inside_without_btf"
    outcomes, answers = run(MATRIX, WITHOUT_BTF, title="no BTF", choose=choose, btf=False)
    assert not outcomes.names("failed") | outcomes.names("error")
    old = tuple(map(int, run.series.split("."))) < (5, 11)
    assert outcomes.names("skipped") == ({"test_embedded_btf_serves_co_re"} if old else set())
    assert {
        "test_what_loads_by_default_reads_and_what_does_not_says_why",
        "test_the_compiler_takes_the_types_from_kernel_headers",
    } <= outcomes.names("passed")
    assert answers.default["oom_kill"]["origin"] == "compiled"
    assert answers.default["tcp_queue_length"] == {"variant": "kprobe_only", "origin": "compiled", "loads": ""}


def test_without_types_headers_and_compiler_the_refusal_is_clear(run: Run) -> None:
    outcomes, answers = run(REFUSAL, title="no BTF, headers and compiler", btf=False, headers=False)
    assert outcomes.names("passed") == {"test_without_types_headers_and_compiler_the_refusal_is_clear"}
    assert all(answer["loads"] for answer in answers.default.values())


def test_lockdown(run: Run) -> None:
    """Programs that read the kernel's memory by a helper are refused, and the probe says so, or goes another way."""
    outcomes, answers = run(
        MATRIX,
        title="lockdown=confidentiality",
        choose="test_every_variant_is_tried or test_what_loads_by_default",
        parameters="lockdown=confidentiality",
    )
    assert not outcomes.names("failed") | outcomes.names("error")
    tried = [(name, answer) for variants in answers.variants.values() for name, answer in variants.items()]
    # Of a tracepoint that came with Linux 6.3 the kernel's types are asked first.
    refusals = [answer for name, answer in tried if any(answer.values()) and name != "tp_btf_send_length"]
    assert refusals  # the guest is what it is said to be
    assert all("".join(answer.values()).startswith(("EPERM: ", "EACCES: ", "EINVAL: ")) for answer in refusals)
