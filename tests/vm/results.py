# SPDX-License-Identifier: Apache-2.0
"""What the tests in a guest said, read from pytest's report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests.vm.matrix import Answers, rows

__all__ = ["COLUMNS", "VARIANTS", "Outcomes", "Results"]

VARIANTS = ("fentry", "kprobe", "raw_tp")
# Columns of the table, and the tests inside the guest that fill them; {} stands for the variant.
COLUMNS = {
    "loaded": "test_variant_loads[{}]",
    "attached": "test_variant_attaches[{}]",
    "every kill": "test_each_variant_reports_every_kill_once[{}]",
    "equal kills": "test_kills_are_equal_in_all_variants",
    "equal group kill": "test_a_group_kill_is_equal_in_all_variants",
}
_ROW = "{:<44} {:<8}" + " {:<16}" * len(COLUMNS)


@dataclass(frozen=True)
class Outcomes:
    """Names of tests by what became of them: `passed`, `failed`, `error` or `skipped`."""

    by_name: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a test was skipped, by its name."""

    @classmethod
    def read(cls, report: Path) -> Outcomes:
        """Read a report in JUnit's format."""
        outcomes: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
            # A test may pass and its fixtures fail in the end: what is worse counts.
            found = [kinds[part.tag] for part in case if part.tag in kinds]
            name = case.get("name", "")
            if found or name not in outcomes:
                outcomes[name] = found[0] if found else "passed"
            for skip in case.iter("skipped"):
                reasons[name] = skip.get("message", "")
        return cls(outcomes, reasons)

    def cell(self, column: str, variant: str) -> str:
        """Return what the table says of a variant; `-` if the test did not run."""
        return self.by_name.get(COLUMNS[column].format(variant), "-")

    def names(self, outcome: str) -> set[str]:
        """Return the tests with an outcome."""
        return {name for name, found in self.by_name.items() if found == outcome}


@dataclass
class Results:
    """The outcomes of all guests, by a text that names the guest."""

    guests: dict[str, Outcomes] = field(default_factory=dict)
    sections: dict[str, list[str]] = field(default_factory=dict)
    """What the page says of each guest."""

    def add(self, name: str, release: str, outcomes: Outcomes, answers: Answers, seconds: float) -> None:
        """Note what a guest said.

        Args:
            name: Kernel series, and what is special about the guest.
            release: The kernel's release and Debian's version.
            seconds: How long it ran.
        """
        self.guests[f"{name} ({seconds:.0f} s)"] = outcomes
        if answers.default:
            self.sections[name] = [f"Linux {release}.", "", *rows(answers)]

    def table(self) -> Iterator[str]:
        """Yield one line per guest and variant, and a heading."""
        if self.guests:
            yield _ROW.format("kernel", "variant", *COLUMNS).rstrip()
        for guest, outcomes in self.guests.items():
            for variant in VARIANTS:
                cells = [outcomes.cell(column, variant) for column in COLUMNS]
                yield _ROW.format(guest, variant, *cells).rstrip()
