# SPDX-License-Identifier: Apache-2.0
"""What the whole suite needs: whether the kernel tests can run, and proof that they did."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest

from tests.support.kernel import refusal

_KERNEL_MARKS = ("kernel", "acceptance")
# How a probe of the kernel begins its answer; any other reason to skip a kernel test hides a failure, but for the one
# test of what `make deps` fetches.
_ANSWERS = ("the kernel ", "this kernel ", "the sources of libbpf are not in build/deps")
_ran = pytest.StashKey[int]()
_unexplained = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-kernel",
        action="store_true",
        help="fail if this machine could have run the kernel tests and did not",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it puts into the background with SIGINT ignored; tests interrupt themselves and children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_ran] = 0
    config.stash[_unexplained] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip kernel tests by the kernel's own answer, and others unless they are asked for."""
    reason = refusal()
    for item in items:
        if reason and any(item.get_closest_marker(mark) for mark in _KERNEL_MARKS):
            item.add_marker(pytest.mark.skip(reason=f"this machine runs no BPF for us: {reason}"))
        if item.get_closest_marker("vm") and "vm" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="boots other kernels; run by make vm"))
        if item.get_closest_marker("corpus") and "corpus" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="reads downloaded objects; run by make corpus"))


def _is_kernel(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(mark) for mark in _KERNEL_MARKS)


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in filter(_is_kernel, items):
        if item.get_closest_marker("any_kernel"):  # left out on purpose, in guests
            continue
        item.config.stash[_unexplained].append(f"{item.nodeid}: deselected")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _is_kernel(item):
        if report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "").removeprefix("Skipped: ")
            if not reason.startswith(_ANSWERS):
                item.config.stash[_unexplained].append(f"{item.nodeid}: {reason}")
        elif report.when == "call":
            item.config.stash[_ran] += 1
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    stash = session.config.stash
    if session.config.getoption("--require-kernel") and not refusal() and (not stash[_ran] or stash[_unexplained]):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran, reason = config.stash[_ran], refusal()
    if not reason and config.getoption("--require-kernel"):
        for text in config.stash[_unexplained]:
            terminalreporter.write_line(f"kernel: could have run and did not: {text}", red=True)
    if ran:
        terminalreporter.write_line(f"kernel: {ran} tests ran in the running kernel")
    elif reason:
        terminalreporter.write_line(f"kernel: no test ran in the running kernel: {reason}")
    else:
        terminalreporter.write_line(
            "kernel: no test ran in the running kernel, although it takes BPF from us", red=True
        )
