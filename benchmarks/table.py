# SPDX-License-Identifier: Apache-2.0
"""Results as text, and as the sections of docs/performance.md, one a job."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from benchmarks.race import TIME, Bar, Result, Unit

__all__ = ["as_json", "as_markdown", "as_text", "write"]

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_MANY_TIMES = 1 / 8  # a ratio that is better said the other way round


def as_text(result: Result) -> str:
    job = result.job
    base = min(result.seconds[job.reference])
    width = max(map(len, result.seconds))
    unit = job.unit
    heads = f"{f'min {unit.name}':>10} {f'median {unit.name}':>10} {'x reference':>12}"
    lines = [job.title, f"  {'':{width}} {heads}"]
    for name, seconds in result.seconds.items():
        mark = "  (reference)" if name == job.reference else ""
        lines.append(
            f"  {name:{width}} {unit.each * min(seconds):10.3f} {unit.each * result.median(name):10.3f} "
            f"{min(seconds) / base:12.4g}{mark}"
        )
    for bar, ratio in result.verdicts():
        lines.append(f"  {_words(bar, unit)}: {_verdict(bar, ratio, unit)}")
    lines += [f"  {note}" for note in _notes(result)]
    return "\n".join(lines)


def as_markdown(name: str, result: Result) -> str:
    job = result.job
    base = min(result.seconds[job.reference])
    rounds = len(result.seconds[job.reference])
    lines = [f"## {name}: {job.title}", "", f"{_machine()}, {rounds} rounds.", ""]
    unit = job.unit
    lines += [f"| contender | min {unit.name} | median {unit.name} | x reference |", "|---|---|---|---|"]
    for contender, seconds in result.seconds.items():
        shown = f"{contender} (reference)" if contender == job.reference else contender
        least, median = unit.each * min(seconds), unit.each * result.median(contender)
        lines.append(f"| {shown} | {least:.4g} | {median:.4g} | {min(seconds) / base:.4g} |")
    if job.bars:
        lines += ["", "| bar | measured |", "|---|---|"]
        lines += [f"| {_words(bar, unit)} | {_verdict(bar, ratio, unit)} |" for bar, ratio in result.verdicts()]
    for note in _notes(result):
        lines += ["", f"{note}."]
    return "\n".join(lines)


def as_json(name: str, result: Result) -> dict[str, object]:
    return {
        "job": name,
        "title": result.job.title,
        "reference": result.job.reference,
        "void": result.void,
        "notes": result.job.notes,
        "unit": "s" if result.job.unit is TIME else result.job.unit.name,
        "seconds": dict(result.seconds),
        "bars": [
            {"contender": bar.contender, "reference": bar.reference, "at_most": bar.ratio, "measured": ratio}
            for bar, ratio in result.verdicts()
        ],
    }


def write(name: str, result: Result) -> None:
    """Put the section of one job into the page, in place of its last one."""
    page = _PAGE.read_text()
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{as_markdown(name, result)}\n{end}\n"
    old = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    page = old.sub(lambda _: section, page) if old.search(page) else f"{page}\n{section}"
    _PAGE.write_text(page)


def _machine() -> str:
    release = ".".join(re.findall(r"\d+", platform.release())[:2])
    return f"Linux {release}, {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def _words(bar: Bar, unit: Unit) -> str:
    if bar.ratio <= _MANY_TIMES:
        return f"{bar.contender}: at least {1 / bar.ratio:.4g}x {unit.less} than {bar.reference}"
    return f"{bar.contender}: at most {bar.ratio:.4g}x of {bar.reference}"


def _verdict(bar: Bar, ratio: float | None, unit: Unit) -> str:
    if ratio is None:
        return "not measured"
    measured = f"{1 / ratio:.4g}x {unit.less}" if bar.ratio <= _MANY_TIMES else f"{ratio:.4g}x"
    return measured if ratio <= bar.ratio else f"{measured}, MISSED"


def _notes(result: Result) -> list[str]:
    return [*result.job.notes, *([f"VOID: {result.void}"] if result.void else [])]
