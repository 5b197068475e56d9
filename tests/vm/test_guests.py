# SPDX-License-Identifier: Apache-2.0
"""The kernel tests on other kernels, and there each kill, queue and map by every variant; the answers make a page.

Needs root (QEMU's file sharing does) and, for a kernel that is not in the cache, the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.vm.guests import GUEST_LIMIT_S, ROOT, Boot, Fleet, numbers
from tests.vm.matrix import Answers
from tests.vm.results import COLUMNS, VARIANTS, Outcomes, Results
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.kernels import Cache, default_cache
from tests.vm.vmtest.qemu import emulator_for

MATRIX = Path("tests/vm/inside_matrix.py")
LOCKDOWN = Path("tests/vm/inside_lockdown.py")
REFUSAL = Path("tests/vm/inside_refusal.py")
WITHOUT_BTF = Path("tests/vm/inside_without_btf.py")
VARIANTS_EQUAL = (Path("tests/vm/inside_equal_variants.py"), Path("tests/vm/inside_tcp_queue_length.py"))
# The kernel tests in two guests of about the same length.
_KERNEL = {path.relative_to(ROOT) for path in (ROOT / "tests/kernel").glob("test_*.py")}
STREAMS = tuple(sorted(path for path in _KERNEL if path.name.startswith("test_streams_")))
SUITE = (*sorted(_KERNEL - set(STREAMS)), Path("tests/acceptance/test_tcp_queue_length.py"))
# Skips that are right on every kernel: nothing there for the test to do.
ALWAYS = {"test_a_selected_variant_that_the_kernel_refuses_says_so"}
_FLOOR = re.compile(r"\((?:before|from) (?:Linux )?(\d+)\.(\d+)")

pytestmark = [pytest.mark.vm, pytest.mark.timeout(GUEST_LIMIT_S + 600)]


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """The guests of all tests that are to run; without an emulator there is nothing to try, so this ends the run."""
    if request.config.getoption("--architecture", default="x86_64") != "x86_64":
        pytest.skip("the guest is arm64")
    try:
        if os.geteuid() != 0:
            raise VmtestError("start a guest: EPERM, virtiofsd needs root. Run make vm as root, or with sudo.")
        emulator_for(Cache(default_cache()))
    except VmtestError as error:
        pytest.exit(f"make vm: {error}", returncode=pytest.ExitCode.TESTS_FAILED)
    with closing(Fleet(tmp_path_factory.mktemp("guests"))) as fleet:
        results.width = fleet.width
        for item in request.session.items:
            mark = item.get_closest_marker("guest")
            if mark is not None and isinstance(item, pytest.Function):
                series = str(item.callspec.params["series"])
                if not mark.args[0].refusal(series):
                    fleet.start(series, mark.args[0])
        yield fleet


class Guest:
    """What a test's guest found."""

    def __init__(self, series: str, outcomes: Outcomes, answers: Answers) -> None:
        self.series = series
        self.outcomes = outcomes
        self.answers = answers


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
    return Guest(series, finished.outcomes, finished.answers)


def assert_passed(outcomes: Outcomes, columns: Iterable[str], skipped: set[str], series: str) -> None:
    """Fail if a test failed, was skipped though the kernel is new enough, or one of those behind *columns* did not run.

    Args:
        skipped: Tests that may be skipped whatever the kernel's age.
    """
    assert not outcomes.names("failed") | outcomes.names("error")
    for name in outcomes.names("skipped") - skipped:
        floor = _FLOOR.search(outcomes.reasons.get(name, ""))
        assert floor, f"{name} was skipped, and no kernel is named that need not be: {outcomes.reasons.get(name)}"
        assert numbers(series) < tuple(map(int, floor.groups())), f"{name}: {floor[0]}"
    cells = {f"{variant} {column}": outcomes.cell(column, variant) for variant in VARIANTS for column in columns}
    assert cells == dict.fromkeys(cells, "passed")


def assert_variants_equal(outcomes: Outcomes) -> None:
    assert {
        "test_every_variant_is_tried",
        "test_kills_are_equal_in_all_variants",
        "test_tcp_variants_are_equal",
        "test_tcp_variants_poll_the_same",
        "test_what_loads_by_default_reads_and_what_does_not_says_why",
    } <= outcomes.names("passed")


def assert_compared(answers: Answers, cgroup: str) -> None:
    """Fail unless the readings of every variant that works were compared with those of another."""
    for probe in answers.variants:
        for variant in works(answers, probe):
            assert answers.compared(probe, variant) != "not compared", (probe, variant)
    calls = {name for name, of in answers.equal["tcp_queue_length"].items() if "calls" in of}
    unseen = {"iter"} if cgroup == "v2" else {"iter", "tp_btf_probe"}
    assert calls == works(answers, "tcp_queue_length") - unseen


def works(answers: Answers, probe: str) -> set[str]:
    """Return the variants of a probe that load and attach."""
    return {variant for variant, answer in answers.variants[probe].items() if not any(answer.values())}


@pytest.mark.guest(Boot(SUITE, title="kernel tests"))
def test_the_kernel_tests_pass(guest: Guest) -> None:
    assert_passed(guest.outcomes, ("every kill",), ALWAYS, guest.series)


@pytest.mark.guest(Boot(STREAMS, title="kernel tests of streams"))
def test_the_kernel_tests_of_streams_pass(guest: Guest) -> None:
    assert guest.outcomes.names("passed")
    assert_passed(guest.outcomes, (), set(), guest.series)


@pytest.mark.guest(Boot((*VARIANTS_EQUAL, MATRIX)))
def test_all_variants_are_equal(guest: Guest) -> None:
    outcomes, answers = guest.outcomes, guest.answers
    assert_passed(outcomes, (column for column in COLUMNS if column != "every kill"), set(), guest.series)
    assert_variants_equal(outcomes)
    # What was proven for these kernels, once and for all.
    assert works(answers, "oom_kill") == {"fentry", "kprobe", "raw_tp"}
    since_6_3 = {"tp_btf_send_length"} if numbers(guest.series) >= (6, 3) else set()
    always = {"fentry", "kprobe", "kprobe_only", "tp_btf_probe", "iter"}
    assert works(answers, "tcp_queue_length") == always | since_6_3
    since_5_12 = {"task_vma"} if numbers(guest.series) >= (5, 12) else set()
    assert works(answers, "ebpf_inventory") == {"task_file"} | since_5_12
    assert all(answer["origin"] == "co_re" for answer in answers.default.values())
    assert_compared(answers, "v2")


@pytest.mark.guest(Boot((*VARIANTS_EQUAL, MATRIX), title="cgroup v1", cgroup="v1"))
def test_all_variants_are_equal_with_cgroup_version_1(guest: Guest) -> None:
    columns, group_kill = ("loaded", "attached", "equal kills"), {"test_a_group_kill_is_equal_in_all_variants"}
    assert_passed(guest.outcomes, columns, group_kill, guest.series)
    assert_variants_equal(guest.outcomes)
    assert works(guest.answers, "oom_kill") == {"fentry", "kprobe", "raw_tp"}
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
