# SPDX-License-Identifier: Apache-2.0
"""The page docs/kernels.md: what each kernel takes, written by the run that found it out.

The page has one section for each guest. A run replaces the sections of the guests that it booted and leaves the
others as they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "Answers", "cell", "note_equal", "page", "rows", "write"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
_HEAD = """\
# What works on which kernel

Written by `make vm`; do not edit. Each section is a guest, with a kernel of Debian. *Readings equal* tells of what
all variants of the probe that have it in their cell said the same: the same *kills* and the same *calls* on a
connection, with all of them attached at once; the same *stalled* connection and the same *maps*, one after another.
Where a cell is not *yes*, it has the error's number, the reason, and behind *log* the line of the verifier's or
libbpf's log that decided, where there is one and the reason does not have it.
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
    equal: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    """By probe and variant: of what it said the same as the others."""

    @classmethod
    def read(cls, path: Path) -> Answers:
        """Read what a guest has left in *path*."""
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return cls(found.get("variants", {}), found.get("default", {}), found.get("equal", {}))

    def works(self, probe: str) -> set[str]:
        """Return the variants of a probe that load and attach."""
        return {variant for variant, answer in self.variants[probe].items() if not any(answer.values())}

    def all_that_works(self) -> dict[str, set[str]]:
        """Return the variants that load and attach, by probe."""
        return {probe: self.works(probe) for probe in self.variants}

    def compared(self, probe: str, variant: str) -> str:
        """Return of what a variant said the same as the others of its probe."""
        if len(self.works(probe)) == 1:
            return "the only one"
        return ", ".join(self.equal.get(probe, {}).get(variant, ())) or "not compared"


def write(section: str, answers: object) -> None:
    """Add a section to the guest's file of answers; does nothing outside of a guest."""
    if "EBPF_MATRIX" not in os.environ:
        return
    path = Path(os.environ["EBPF_MATRIX"])
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {section: answers}))


def note_equal(probe: str, variants: Iterable[str], what: str) -> None:
    """Note in the guest's file of answers that these variants, two at least, said the same of something."""
    names = list(variants)
    if len(names) < 2 or "EBPF_MATRIX" not in os.environ:
        return
    equal = {name: dict(of) for name, of in Answers.read(Path(os.environ["EBPF_MATRIX"])).equal.items()}
    of_probe = equal.setdefault(probe, {})
    for name in names:
        of_probe[name] = [*of_probe.get(name, []), what]
    write("equal", equal)


def rows(answers: Answers) -> Iterator[str]:
    """Yield the lines of a guest's table."""
    if answers.variants:
        yield "| probe | variant | loads | attaches | readings equal |"
        yield "|---|---|---|---|---|"
    for probe, variants in answers.variants.items():
        for variant, answer in variants.items():
            loads, attaches = answer.get("loads", "not tried"), answer.get("attaches", "")
            works = not loads and not attaches
            cells = [cell(loads), "" if loads else cell(attaches), answers.compared(probe, variant) if works else ""]
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
