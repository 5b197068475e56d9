# SPDX-License-Identifier: Apache-2.0
"""Which kernels to boot, and a table of what they said."""

from __future__ import annotations

import pytest

from tests.vm.machines import SERIES
from tests.vm.matrix import PAGE, page
from tests.vm.results import Results
from tests.vm.vmtest.kernels import SUITES

_results = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel",
        action="append",
        metavar="SERIES",
        help=f"kernel to boot: {', '.join(SUITES)}, or another that Debian has (default: these that the "
        "architecture has; may be repeated)",
    )
    parser.addoption("--architecture", choices=tuple(SERIES), default="amd64", help="of the guests")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_results] = Results()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "series" in metafunc.fixturenames:
        # By its scope, kernel after kernel.
        architecture = metafunc.config.getoption("--architecture", default="amd64")
        series = metafunc.config.getoption("--kernel", default=None) or SERIES[architecture]
        metafunc.parametrize("series", series, scope="module")


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    """What the guests found; printed at the end."""
    return request.config.stash[_results]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[_results]
    for line in results.table():
        terminalreporter.write_line(line)
    if sections := results.sections():
        PAGE.write_text(page(PAGE.read_text() if PAGE.exists() else "", sections))
        terminalreporter.write_line(f"wrote {len(sections)} sections of {PAGE}")
