# SPDX-License-Identifier: Apache-2.0
"""What the tests in a guest said, read from pytest's report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

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
_ROW = "{:<36} {:<8}" + " {:<16}" * len(COLUMNS)


@dataclass(frozen=True)
class Outcomes:
    """Names of tests by what became of them: `passed`, `failed`, `error` or `skipped`."""

    by_name: dict[str, str]

    @classmethod
    def read(cls, report: Path) -> Outcomes:
        """Read a report in JUnit's format."""
        outcomes = {}
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
            # A test may pass and its fixtures fail in the end: what is worse counts.
            found = [kinds[part.tag] for part in case if part.tag in kinds]
            name = case.get("name", "")
            if found or name not in outcomes:
                outcomes[name] = found[0] if found else "passed"
        return cls(outcomes)

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

    def table(self) -> Iterator[str]:
        """Yield one line per guest and variant, and a heading."""
        if self.guests:
            yield _ROW.format("kernel", "variant", *COLUMNS).rstrip()
        for guest, outcomes in self.guests.items():
            for variant in VARIANTS:
                cells = [outcomes.cell(column, variant) for column in COLUMNS]
                yield _ROW.format(guest, variant, *cells).rstrip()
