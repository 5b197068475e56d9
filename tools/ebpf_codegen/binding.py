# SPDX-License-Identifier: Apache-2.0
"""Which record type belongs to which ring buffer, perf buffer and iterator: the macro, the option, what is written.

What no macro says is added to the source as the pointers that the macros of probe.bpf.h are made of. So the record
reaches BTF, and the object tells its records to every tool that reads it, also where it is compiled on the host.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .errors import UnsupportedError
from .events import HELPERS, LOCAL, Inferred, Written, canonical, infer, pointee
from .pointers import BINDINGS, INFERRED, target
from .syntax import Tree

__all__ = ["Binding", "bind", "concerns"]

_MENTIONED: Final = re.compile(rf"\b(?:{'|'.join(HELPERS)})\b")


@dataclass(frozen=True, slots=True)
class Binding:
    """What to add to a source, as lines of C, and what could not be told, by map or program."""

    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def concerns(text: str) -> bool:
    """Return whether a source calls anything that writes records."""
    return bool(_MENTIONED.search(text))


def bind(tree: Tree, options: Mapping[str, Sequence[str]], source: str) -> Binding:
    """Decide which records belong to what a source writes.

    Args:
        tree: The source.
        options: Types by map or program, as the command line names them.
        source: Names the source in errors.
    Raises:
        UnsupportedError: Macro, option and what is written disagree, or an option names what is not there.
    """
    return _Binder(tree, options, source).bind()


class _Binder:
    def __init__(self, tree: Tree, options: Mapping[str, Sequence[str]], source: str) -> None:
        self.tree = tree
        self.source = source
        self.inferred: Inferred = infer(tree)
        self.maps = [name for name in tree.variables if tree.sections.get(name) == ".maps"]
        self.programs = [
            name
            for name in tree.functions
            if tree.sections.get(name, "").removeprefix("?").startswith(("iter/", "iter.s/"))
        ]
        self.options = {name: [self.option(name, item) for item in items] for name, items in options.items()}
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def fail(self, where: str, reason: str, remedy: str) -> UnsupportedError:
        return UnsupportedError(f"{self.source}: {where}: {reason}. {remedy}")

    def bind(self) -> Binding:
        for section, kind, names, written in (
            (".ringbuf_record", "map", self.maps, self.inferred.maps),
            (".iter_record", "program", self.programs, self.inferred.rows),
        ):
            macros = self.macros(section, names)
            for name in names:
                self.one(section, kind, name, macros.get(name, []), written.get(name, Written()))
        return Binding(tuple(self.lines), tuple(self.warnings))

    def macros(self, section: str, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the types that macros bind."""
        found: dict[str, list[str]] = {}
        for name, node in self.tree.variables.items():
            bound, _ = target(section, name, names) if self.tree.sections.get(name) == section else ("", False)
            if bound:
                found.setdefault(bound, []).append(pointee(node))
        return found

    def one(self, section: str, kind: str, name: str, macros: list[str], written: Written) -> None:
        """Bind one map or program."""
        where, macro = f"{kind} {name!r}", BINDINGS[section]
        options = self.options.get(name, [])
        if macros and options and self.names(macros) != self.names(options):
            said = f"{macro} says {_list(macros)}, --record says {_list(options)}"
            raise self.fail(where, said, "Keep one of them.")
        declared = options or macros
        if declared:
            said = f"{'--record' if options else macro} says {_list(declared)}"
            into = "into it" if kind == "map" else "by it"
            others = [item for item in written.types if not self.names([item]) <= self.names(declared)]
            if others:
                raise self.fail(where, f"{said}, but {_list(others)} is written {into}", "Correct it, or leave it out.")
            unwritten = [item for item in declared if not self.names([item]) <= self.names(written.types)]
            if written.types and not written.unknown and unwritten:
                said = f"{said}, but only {_list(written.types)} is written {into}"
                raise self.fail(where, said, "Correct it, or leave it out.")
            if options and not macros:
                self.add(section, f"__{section[1:]}_", name, options)
            return
        what = "records" if kind == "map" else "rows"
        if written.unknown:
            add = f"Add {macro}({name}, struct …) below it."
            reason = f"{written.unknown[0]}. {'Define it there.' if written.unknown[0].endswith(LOCAL) else add}"
        elif len(written.types) > 1 and kind == "program":
            reason = f"{_list(written.types)} are written. Write one type only."
        else:
            self.add(section, INFERRED, name, written.types)
            return
        self.warnings.append(f"{self.source}: {where}: its {what} stay bytes: {reason}")

    def names(self, types: Sequence[str]) -> set[str]:
        return {canonical(self.tree, item) for item in types}

    def add(self, section: str, prefix: str, name: str, types: Sequence[str]) -> None:
        for number, item in enumerate(types):
            spelled = f"__typeof__({item})" if item.endswith("]") else item
            self.lines.append(
                f"const {spelled} *const {prefix}{name}__{number} "
                f'__attribute__((section("{section}"), used)) = (const {spelled} *)0;'
            )

    def option(self, name: str, spelled: str) -> str:
        """Return the type of C that an option means."""
        where = f"--record {name}={spelled}"
        known = [*self.maps, *self.programs]
        if name not in known:
            raise self.fail(where, f"there is no map and no iterator {name!r}", self.near(name, known))
        tag = spelled if " " in spelled else f"struct {spelled}"
        if tag in self.tree.tags:
            return tag
        if spelled in self.tree.typedefs:
            found = canonical(self.tree, spelled)
            return found if " " in found else spelled
        types = [*(item.partition(" ")[2] for item in sorted(self.tree.tags)), *sorted(self.tree.typedefs)]
        raise self.fail(where, f"there is no struct and no typedef {spelled!r}", self.near(spelled, types))

    @staticmethod
    def near(name: str, known: Sequence[str]) -> str:
        close = difflib.get_close_matches(name.rpartition(" ")[2], known, 3)
        return f"Did you mean {' or '.join(close)}?" if close else "Name one of this source."


def _list(types: Sequence[str]) -> str:
    return " and ".join(types)
