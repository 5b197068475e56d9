# SPDX-License-Identifier: Apache-2.0
"""The kernel tests on other kernels, and there each kill, queue and map by every variant; the answers make a page.

Needs root (QEMU's file sharing does) and, for a kernel that is not in the cache, the network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.expected import assert_compared, assert_passed, assert_variants_equal, numbers, works_on
from tests.vm.guests import GUEST_LIMIT_S, MATRIX, SAME_READINGS, Boot, Fleet
from tests.vm.machines import ROOT, Machine, arm64_machine
from tests.vm.matrix import Answers
from tests.vm.results import COLUMNS, Outcomes, Results
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.kernels import Cache, default_cache
from tests.vm.vmtest.qemu import emulator_for

LOCKDOWN = Path("tests/vm/inside_lockdown.py")
REFUSAL = Path("tests/vm/inside_refusal.py")
WITHOUT_BTF = Path("tests/vm/inside_without_btf.py")
# The kernel tests in two guests of about the same length.
_KERNEL = {path.relative_to(ROOT) for path in (ROOT / "tests/kernel").glob("test_*.py")}
STREAMS = tuple(sorted(path for path in _KERNEL if path.name.startswith("test_streams_")))
SUITE = (*sorted(_KERNEL - set(STREAMS)), Path("tests/acceptance/test_tcp_queue_length.py"))
# Skips that are right on every kernel: nothing there for the test to do.
ALWAYS = {"test_a_selected_variant_that_the_kernel_refuses_says_so"}

pytestmark = [pytest.mark.vm, pytest.mark.timeout(GUEST_LIMIT_S + 600)]


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """The guests of all tests that are to run; without an emulator there is nothing to try, so this ends the run."""
    directory = tmp_path_factory.mktemp("guests")
    architecture = request.config.getoption("--architecture", default="amd64")
    cache = Cache(default_cache())
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, directory / "root", ignore_errors=True)
        try:
            if os.geteuid() != 0:
                raise VmtestError("start a guest: EPERM, virtiofsd needs root. Run make vm as root, or with sudo.")
            emulator_for(cache, architecture=architecture)
            machine = Machine() if architecture == "amd64" else arm64_machine(cache, directory / "root")
        except VmtestError as error:
            pytest.exit(f"make vm: {error}", returncode=pytest.ExitCode.TESTS_FAILED)
        fleet = cleanup.enter_context(closing(Fleet(directory, machine)))
        results.width, results.architecture = fleet.width, machine.architecture
        for item in request.session.items:
            mark = item.get_closest_marker("guest")
            if mark is not None and isinstance(item, pytest.Function):
                series = str(item.callspec.params["series"])
                if not mark.args[0].refusal(series):
                    fleet.start(series, mark.args[0])
        yield fleet


@dataclass(frozen=True)
class Guest:
    """What a test's guest found."""

    series: str
    outcomes: Outcomes
    answers: Answers
    works: dict[str, set[str]]
    """The variants of each probe that the kernel must take."""


@pytest.fixture
def guest(request: pytest.FixtureRequest, fleet: Fleet, series: str, results: Results) -> Guest:
    """The guest that the test's mark describes, after its run."""
    mark = request.node.get_closest_marker("guest")
    assert mark is not None
    boot: Boot = mark.args[0]
    if reason := boot.refusal(series):
        pytest.skip(reason)
    try:
        finished = fleet.finished(series, boot)
    except VmtestError as error:
        raise pytest.fail.Exception(f"Linux {series}: {error}", pytrace=False) from None
    print(finished.said)  # pytest shows it if the test fails
    results.add(series, boot.title, finished)
    return Guest(series, finished.outcomes, finished.answers, works_on(series, fleet.machine.architecture))


@pytest.mark.guest(Boot(SUITE, title="kernel tests"))
def test_the_kernel_tests_pass(guest: Guest) -> None:
    assert_passed(guest.outcomes, ("every kill",), ALWAYS, guest.series, guest.works["oom_kill"])


@pytest.mark.guest(Boot(STREAMS, title="kernel tests of streams"))
def test_the_kernel_tests_of_streams_pass(guest: Guest) -> None:
    assert guest.outcomes.names("passed")
    assert_passed(guest.outcomes, (), set(), guest.series, ())


@pytest.mark.guest(Boot(SAME_READINGS))
def test_all_variants_are_equal(guest: Guest) -> None:
    columns = (column for column in COLUMNS if column != "every kill")
    assert_passed(guest.outcomes, columns, set(), guest.series, guest.works["oom_kill"])
    assert_variants_equal(guest.outcomes)
    assert guest.answers.all_that_works() == guest.works
    assert guest.answers.default.keys() == guest.works.keys()
    assert all(answer["origin"] == "co_re" for answer in guest.answers.default.values())
    assert_compared(guest.answers, "v2")


@pytest.mark.guest(Boot(SAME_READINGS, title="cgroup v1", cgroup="v1"))
def test_all_variants_are_equal_with_cgroup_version_1(guest: Guest) -> None:
    columns, group_kill = ("loaded", "attached", "equal kills"), {"test_a_group_kill_is_equal_in_all_variants"}
    assert_passed(guest.outcomes, columns, group_kill, guest.series, guest.works["oom_kill"])
    assert_variants_equal(guest.outcomes)
    assert guest.answers.all_that_works() == guest.works
    assert_compared(guest.answers, "v1")


@pytest.mark.guest(
    Boot((MATRIX, WITHOUT_BTF), title="no BTF", choose="test_what_loads_by_default or inside_without_btf", btf=False)
)
def test_with_headers_and_without_types_the_compiler_makes_a_probe(guest: Guest) -> None:
    outcomes, answers = guest.outcomes, guest.answers
    assert not outcomes.names("failed") | outcomes.names("error")
    old = numbers(guest.series) < (5, 11)
    assert outcomes.names("skipped") == ({"test_embedded_btf_serves_co_re"} if old else set())
    assert {
        "test_what_loads_by_default_reads_and_what_does_not_says_why",
        "test_the_compiler_takes_the_types_from_kernel_headers",
    } <= outcomes.names("passed")
    assert answers.default["oom_kill"]["origin"] == "compiled"
    assert answers.default["tcp_queue_length"] == {"variant": "kprobe_only", "origin": "compiled", "loads": ""}


@pytest.mark.guest(Boot((REFUSAL,), title="no BTF, headers and compiler", btf=False, headers=False))
def test_without_types_headers_and_compiler_the_refusal_is_clear(guest: Guest) -> None:
    passed = guest.outcomes.names("passed")
    assert passed == {"test_without_types_headers_and_compiler_the_refusal_is_clear"}
    assert all(answer["loads"] for answer in guest.answers.default.values())


@pytest.mark.guest(
    Boot(
        (MATRIX, LOCKDOWN),
        title="lockdown=confidentiality",
        choose="test_every_variant_is_tried or test_what_loads_by_default or inside_lockdown",
        parameters="lockdown=confidentiality",
    )
)
def test_lockdown(guest: Guest) -> None:
    """Programs that read the kernel's memory by a helper are refused, and each probe says that lockdown is why."""
    outcomes, answers = guest.outcomes, guest.answers
    assert not outcomes.names("failed") | outcomes.names("error")
    assert "test_lockdown_is_not_permitted_to_the_collector" in outcomes.names("passed")
    # The kernel's types are asked first, of what came with these.
    later = {
        variant
        for variant, since in (("tp_btf_send_length", (6, 3)), ("task_vma", (5, 12)))
        if numbers(guest.series) < since
    }
    for probe, variants in answers.variants.items():
        for answer in (*(answer for name, answer in variants.items() if name not in later), answers.default[probe]):
            reason, _, line = answer["loads"].partition(" Log: ")
            assert reason == locked_down(probe)
            assert "bpf_probe_read" in line
    assert answers.default.keys() == {"oom_kill", "tcp_queue_length", "ebpf_inventory"}


def locked_down(probe: str) -> str:
    return (
        f"EINVAL: load probe {probe!r}: EINVAL, the kernel is locked down for confidentiality, so no program may read "
        "its memory. Boot it with lockdown=integrity, or without."
    )
