# SPDX-License-Identifier: Apache-2.0
"""The page docs/kernels.md: what each kernel takes, written by the run that found it out.

The page has one section for each guest. A run replaces the sections of the guests that it booted and leaves the
others as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "Answers", "cell", "page", "rows"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
# The tests whose success says that the readings of variants are equal, by probe.
EQUAL = {
    "oom_kill": "test_kills_are_equal_in_all_variants",
    "tcp_queue_length": "test_tcp_variants_are_equal",
    "ebpf_inventory": "test_inventory_variants_are_equal",
}
_HEAD = """\
# What works on which kernel

Written by `make vm`; do not edit. Each section is a guest, with a kernel of Debian. *Readings equal*: all variants
that load were attached at once, and said the same of the same kills, of the same connection, and of the same maps.
Where a cell is not *yes*, it has the error's number and the kernel's or libbpf's own line.
"""
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_LONGEST = 300


@dataclass(frozen=True)
class Answers:
    """What one guest answered: as `inside_matrix.py` wrote it, and what became of the tests."""

    variants: Mapping[str, Mapping[str, Mapping[str, str]]]
    """By probe and variant: `loads` and `attaches`, each empty if it worked, else the reason."""
    default: Mapping[str, Mapping[str, str]]
    """By probe: `variant`, `origin` and `loads`, of what is loaded when nobody asks for a variant."""
    tests: Mapping[str, str]
    """Outcomes by the name of the test."""

    @classmethod
    def read(cls, path: Path, tests: Mapping[str, str]) -> Answers:
        """Read what a guest has left in *path*."""
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return cls(found.get("variants", {}), found.get("default", {}), tests)

    def equal(self, probe: str) -> str:
        """Return `yes` if the readings of a probe's variants were compared and are equal, or what became of that."""
        if sum(not any(answer.values()) for answer in self.variants[probe].values()) == 1:
            return "the only one"
        outcome = self.tests.get(EQUAL[probe], "not compared")
        return "yes" if outcome == "passed" else outcome


def rows(answers: Answers) -> Iterator[str]:
    """Yield the lines of a guest's table."""
    if answers.variants:
        yield "| probe | variant | loads | attaches | readings equal |"
        yield "|---|---|---|---|---|"
    for probe, variants in answers.variants.items():
        for variant, answer in variants.items():
            loads, attaches = answer.get("loads", "not tried"), answer.get("attaches", "")
            works = not loads and not attaches
            cells = [cell(loads), "" if loads else cell(attaches), answers.equal(probe) if works else ""]
            yield f"| `{probe}` | `{variant}` | {' | '.join(cells)} |"
    if answers.variants and answers.default:
        yield ""
    if answers.default:
        yield "| probe | by default | readings right |"
        yield "|---|---|---|"
    for probe, answer in answers.default.items():
        if answer["loads"]:
            yield f"| `{probe}` | {cell(answer['loads'])} | |"
        else:
            yield f"| `{probe}` | `{answer['variant']}`, origin `{answer['origin']}` | yes |"


def page(before: str, sections: Mapping[str, list[str]]) -> str:
    """Return the page with some sections new, the kernels in order.

    Args:
        before: The page as it is, perhaps empty.
        sections: Lines by title; a title begins with the kernel's series.
    """
    parts = _SECTION.split(before)
    known = dict(zip(parts[1::2], (body.strip() for body in parts[2::2]), strict=True))
    known |= {title: "\n".join(lines) for title, lines in sections.items()}
    ordered = sorted(known, key=lambda title: (_numbers(title), title))
    return _HEAD + "".join(f"\n## {title}\n\n{known[title]}\n" for title in ordered)


def _numbers(title: str) -> tuple[int, ...]:
    found = re.match(r"(?:Linux )?(\d+)\.(\d+)", title)
    return tuple(map(int, found.groups())) if found else (1 << 16,)


def cell(reason: str) -> str:
    """Return what a cell of a table says: *yes*, or a reason why not."""
    if not reason:
        return "yes"
    text = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} …"
    return text.replace("|", "\\|").replace("<", "&lt;")
