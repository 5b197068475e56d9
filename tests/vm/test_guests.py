# SPDX-License-Identifier: Apache-2.0
"""The kernel tests on other kernels, and there each kill, and each queue, by every variant.

Needs root (QEMU's file sharing does) and, for a kernel that is not in the cache, the network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.vm.results import COLUMNS, VARIANTS, Outcomes, Results
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.guest import Guest
from tests.vm.vmtest.kernels import Cache, default_cache, kernel_for
from tests.vm.vmtest.qemu import Emulator, emulator_for
from tests.vm.vmtest.shares import Share

ROOT = Path(__file__).resolve().parents[2]
INSIDE = (Path("tests/vm/inside_equal_variants.py"), Path("tests/vm/inside_tcp_queue_length.py"))
WITHOUT_BTF = Path("tests/vm/inside_without_btf.py")
SUITE = Path("tests/kernel")
# Emulated, the suite takes one to two minutes.
GUEST_LIMIT_S = 1500
TEST_LIMIT_S = 600

pytestmark = [pytest.mark.vm, pytest.mark.timeout(GUEST_LIMIT_S + 600)]


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    """The QEMU to use; without one there is nothing to try, so this ends the run."""
    try:
        if os.geteuid() != 0:
            raise VmtestError("start a guest: EPERM, virtiofsd needs root. Run make vm as root, or with sudo.")
        return emulator_for(Cache(default_cache()))
    except VmtestError as error:
        pytest.exit(f"make vm: {error}", returncode=pytest.ExitCode.TESTS_FAILED)


def run_inside(
    emulator: Emulator, series: str, reports: Path, *tests: Path, cgroup: str = "v2", has_btf: bool = True
) -> tuple[str, Outcomes]:
    """Boot a kernel and run tests under it; return its release and what became of them."""
    report = Path("/run/report")
    # -P keeps the checkout off the path: what is tested is the installed wheel.
    command = [sys.executable, "-B", "-P", "-m", "pytest", "-p", "no:cacheprovider", "-m", "kernel", "--require-kernel"]
    command += [f"--timeout={TEST_LIMIT_S}", f"--junitxml={report / 'report.xml'}", *map(str, tests)]
    try:
        kernel = kernel_for(Cache(default_cache()), series)
        shares = [Share(reports, report, writable=True)]
        guest = Guest(
            kernel, emulator, command, ROOT, shares=shares, cgroup=cgroup, btf=has_btf, timeout_s=GUEST_LIMIT_S
        )
        status = guest.run()
    except VmtestError as error:
        raise pytest.fail.Exception(f"Linux {series}: {error}", pytrace=False) from None
    if not (reports / "report.xml").exists():
        pytest.fail(f"Linux {series}: pytest exited with {status} and wrote no report, see its output", pytrace=False)
    return kernel.release, Outcomes.read(reports / "report.xml")


def without_send_length(series: str) -> set[str]:
    """Return the tests that are skipped because the tracepoint sock_send_length came with Linux 6.3."""
    if tuple(map(int, series.split("."))) >= (6, 3):
        return set()
    names = ("test_each_variant_notes_both_queues_exactly", "test_each_variant_polls_a_reader_that_never_reads")
    return {f"{name}[tp_btf_send_length]" for name in names}


def assert_passed(outcomes: Outcomes, columns: Iterable[str], skipped: set[str]) -> None:
    """Fail if a test failed, others than *skipped* were skipped, or one of those behind *columns* did not run."""
    assert not outcomes.names("failed") | outcomes.names("error")
    assert outcomes.names("skipped") == skipped
    assert {"test_tcp_variant_is_exact[tp_btf_probe]", "test_tcp_variants_are_equal"} <= outcomes.names("passed")
    cells = {f"{variant} {column}": outcomes.cell(column, variant) for variant in VARIANTS for column in columns}
    assert cells == dict.fromkeys(cells, "passed")


def test_the_kernel_tests_pass_and_all_variants_are_equal(
    emulator: Emulator, series: str, tmp_path: Path, results: Results
) -> None:
    release, outcomes = run_inside(emulator, series, tmp_path, SUITE, *INSIDE)
    results.guests[release] = outcomes
    skipped = {"test_a_selected_variant_that_the_kernel_refuses_says_so"} | without_send_length(series)
    assert_passed(outcomes, COLUMNS, skipped)


def test_all_variants_are_equal_with_cgroup_version_1(
    emulator: Emulator, request: pytest.FixtureRequest, tmp_path: Path, results: Results
) -> None:
    series = "6.1"  # the newest of the series with a memory controller of version 1
    asked = request.config.getoption("--kernel", default=None)
    if asked and series not in asked:
        pytest.skip(f"--kernel does not name {series}")
    release, outcomes = run_inside(emulator, series, tmp_path, *INSIDE, cgroup="v1")
    results.guests[f"{release}, cgroup v1"] = outcomes
    columns = ("loaded", "attached", "equal kills")
    assert_passed(outcomes, columns, skipped={"test_a_group_kill_is_equal_in_all_variants"})


def test_a_kernel_that_shows_no_btf_is_compiled_for_or_refused(emulator: Emulator, series: str, tmp_path: Path) -> None:
    _, outcomes = run_inside(emulator, series, tmp_path, WITHOUT_BTF, has_btf=False)
    assert not outcomes.names("failed") | outcomes.names("error")
    old = tuple(map(int, series.split("."))) < (5, 11)
    assert outcomes.names("skipped") == ({"test_embedded_btf_serves_co_re"} if old else set())
    assert "test_the_compiler_takes_the_types_from_kernel_headers" in outcomes.names("passed")
