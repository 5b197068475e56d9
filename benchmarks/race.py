# SPDX-License-Identifier: Apache-2.0
"""Contenders of a job, run in turn round by round, and what their times are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["MEMORY", "TIME", "Bar", "Job", "Result", "Sample", "Unit", "Yardstick", "race"]


@dataclass(frozen=True)
class Unit:
    """What a job measures, how tables show it, and what less of it is called; *each* of *name* are one of a sample."""

    name: str
    each: float
    less: str


TIME = Unit("ms", 1e3, "faster")
MEMORY = Unit("MiB", 1, "smaller")


class Sample(NamedTuple):
    """One run: what it took, and a number that all contenders of the job that have one must agree in.

    What is not timed is told in its unit in place of seconds.
    """

    seconds: float
    check: int | None = None


@dataclass(frozen=True)
class Bar:
    """*contender* may take at most *ratio* of what *reference* takes; a ratio of 0.1 is "ten times faster"."""

    contender: str
    reference: str
    ratio: float


@dataclass(frozen=True)
class Yardstick:
    """The two peers' ratio as the reference has it; a run where it strays by more than half is void."""

    slower: str
    faster: str
    ratio: float


@dataclass
class Job:
    """What is raced.

    Attributes:
        title: One line for the table.
        reference: The contender whose time is 1.
        contenders: What runs; each answers with its time and check.
        bars: What must hold; those of an absent contender are left out and named.
        yardstick: The peers' ratio that must come out as known, if both run.
        notes: What the table must say besides, such as why a peer is missing.
        checked: Whether all contenders' checks must be equal.
        unit: What is measured.
    """

    title: str
    reference: str
    contenders: Mapping[str, Callable[[], Sample]]
    bars: tuple[Bar, ...] = ()
    yardstick: Yardstick | None = None
    notes: list[str] = field(default_factory=list)
    checked: bool = True
    unit: Unit = TIME


@dataclass(frozen=True)
class Result:
    """What one job took, one number for each round: seconds, or whatever its unit is."""

    job: Job
    seconds: Mapping[str, list[float]]

    def ratio(self, contender: str, reference: str) -> float:
        """Return the ratio of the fastest rounds."""
        return min(self.seconds[contender]) / min(self.seconds[reference])

    def median(self, contender: str) -> float:
        return statistics.median(self.seconds[contender])

    @property
    def void(self) -> str:
        """Why the run proves nothing; empty if it does."""
        stick = self.job.yardstick
        if stick is None or not {stick.slower, stick.faster} <= self.seconds.keys():
            return ""
        ratio = self.ratio(stick.slower, stick.faster)
        if abs(ratio / stick.ratio - 1) <= 0.5:
            return ""
        return f"{stick.slower} took {ratio:.3g}x of {stick.faster}, where {stick.ratio:.3g}x is known"

    def verdicts(self) -> list[tuple[Bar, float | None]]:
        """Return each bar with the ratio that was measured, None where a contender is absent."""
        return [
            (bar, self.ratio(bar.contender, bar.reference) if {bar.contender, bar.reference} <= self.seconds.keys()
             else None)
            for bar in self.job.bars
        ]  # fmt: skip


def race(job: Job, rounds: int) -> Result:
    """Run each contender once a round, after one round to warm up; each round begins with another contender.

    Raises:
        ValueError: Two contenders read something different.
    """
    seconds: dict[str, list[float]] = {name: [] for name in job.contenders}
    names = list(job.contenders)
    for number in range(rounds + 1):
        first = number % len(names)
        checks = {}
        for name in names[first:] + names[:first]:
            sample = job.contenders[name]()
            checks[name] = sample.check
            if number:
                seconds[name].append(sample.seconds)
        if job.checked and len({check for check in checks.values() if check is not None}) > 1:
            raise ValueError(f"{job.title}: the contenders read different things: {checks}")
    return Result(job, seconds)
