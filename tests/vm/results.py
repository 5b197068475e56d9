# SPDX-License-Identifier: Apache-2.0
"""What the tests in a guest said, read from pytest's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests.vm.matrix import Answers, cell, rows

__all__ = ["COLUMNS", "VARIANTS", "Finished", "Outcomes", "Results"]

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

    def rows(self) -> Iterator[str]:
        """Yield the lines of the page: how many tests passed, and why others were not run."""
        counts = Counter(self.by_name.values())
        yield f"{counts.pop('passed', 0)} tests passed."
        reasons = Counter(self.reasons[name] for name in self.names("skipped"))
        reasons.update({outcome: count for outcome, count in counts.items() if outcome != "skipped"})
        if reasons:
            yield ""
            yield "| tests | not passed because |"
            yield "|---|---|"
        for reason, count in sorted(reasons.items()):
            yield f"| {count} | {cell(reason)} |"


@dataclass(frozen=True)
class Finished:
    """A guest that ran: what it found, and when it did."""

    release: str
    """The kernel's release and Debian's version."""
    outcomes: Outcomes
    answers: Answers
    start: float
    """In seconds of a clock that only goes on."""
    end: float
    said: str = ""
    """What the guest wrote."""


@dataclass
class Results:
    """What all guests found, by series and by what is special about the guest."""

    guests: dict[tuple[str, str], Finished] = field(default_factory=dict)
    width: int = 1
    """How many ran at a time."""
    architecture: str = "amd64"
    """Of all of them, as Debian names it."""

    def add(self, series: str, title: str, finished: Finished) -> None:
        """Note what a guest found.

        Args:
            series: Of the kernel.
            title: What is special about the guest; empty: nothing.
        """
        self.guests[series, title] = finished

    def sections(self) -> dict[str, list[str]]:
        """Return the lines of the page by their headings."""
        return {self._name(*key): list(self._section(*key)) for key in self.guests}

    def _name(self, series: str, title: str) -> str:
        return ", ".join(filter(None, (series, "" if self.architecture == "amd64" else self.architecture, title)))

    def _section(self, series: str, title: str) -> Iterator[str]:
        finished = self.guests[series, title]
        yield f"Linux {finished.release}. The guest took {_minutes(finished.end - finished.start)}."
        if not title:
            yield self._whole(series)
        yield ""
        yield from rows(finished.answers) if finished.answers.default else finished.outcomes.rows()

    def _whole(self, series: str) -> str:
        """Return how long all guests of a kernel took that this run booted."""
        guests = [guest for (mine, _), guest in self.guests.items() if mine == series]
        seconds = max(guest.end for guest in guests) - min(guest.start for guest in guests)
        return f"The run booted {len(guests)} of its guests, {self.width} at a time: {_minutes(seconds)}."

    def table(self) -> Iterator[str]:
        """Yield one line per guest and variant, and a heading, and how long each kernel took."""
        if self.guests:
            yield _ROW.format("kernel", "variant", *COLUMNS).rstrip()
        for key, guest in self.guests.items():
            name = f"{self._name(*key)} ({guest.end - guest.start:.0f} s)"
            for variant in VARIANTS:
                cells = [guest.outcomes.cell(column, variant) for column in COLUMNS]
                yield _ROW.format(name, variant, *cells).rstrip()
        for series in dict.fromkeys(series for series, _ in self.guests):
            yield f"Linux {self._name(series, '')}: {self._whole(series)}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
