# SPDX-License-Identifier: Apache-2.0
"""clang's syntax tree of a source: its functions, variables and names of types.

Read from clang's textual dump, which is made in the time of parsing the source and is a twentieth of its JSON form.
Only bodies of functions and initialisers of variables are kept; kernel types are most of a source and are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Node", "Tree", "read"]

_LINE: Final = re.compile(r"((?:[| ] )*)[|`]-(\w+)(?: (0x[0-9a-f]+))?(.*)")
_TYPE: Final = re.compile(r"'([^']*)'(?::'([^']*)')?")
_NAMED: Final = re.compile(r"(?:^| )([A-Za-z_]\w*) '([^']*)'(?::'([^']*)')?")
_REFERENCE: Final = re.compile(r"(Var|ParmVar|Function) (0x[0-9a-f]+) '(\w+)'")
_TAG: Final = re.compile(r"\b(struct|union|enum) (\w+) definition$")
_SECTION: Final = re.compile(r'\bsection "([^"]*)"')


@dataclass(slots=True, eq=False)
class Node:
    """One node: its kind as clang names it, the text behind its place in the source, and what hangs below it."""

    kind: str
    id: str
    text: str
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def type(self) -> tuple[str, str]:
        """The type as the source spells it, and without its outermost typedef; of an expression or declaration."""
        match = _TYPE.search(self.text)
        return (match[1], match[2] or match[1]) if match else ("", "")

    @property
    def name(self) -> str:
        """The name of a variable, parameter or function that is declared here."""
        match = _NAMED.search(self.text)
        return match[1] if match else ""

    @property
    def reference(self) -> tuple[str, str, str]:
        """What a DeclRefExpr refers to: Var, ParmVar or Function; the declaration's id; its name."""
        match = _REFERENCE.search(self.text)
        return (match[1], match[2], match[3]) if match else ("", "", "")

    def walk(self) -> Iterator[Node]:
        """Yield the node and all below it, in the order of the source."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(slots=True)
class Tree:
    """A source's functions with a body, its variables, its typedefs, and the tags and typedefs inside of functions.

    *sections* has the ELF section of each function and variable that has one, *typedefs* the type behind each name.
    """

    functions: dict[str, Node] = field(default_factory=dict)
    variables: dict[str, Node] = field(default_factory=dict)
    variables_by_id: dict[str, Node] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)
    typedefs: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    local_types: set[str] = field(default_factory=set)


def read(dump: str) -> Tree:
    """Return what a dump (`-Xclang -ast-dump`) says."""
    tree = Tree()
    stack: list[Node] = []
    kept = False
    for line in dump.splitlines():
        if line[:2] in ("|-", "`-"):
            if stack:
                _note(tree, stack[0])
            match = _LINE.match(line)
            stack = []
            kept = False
            if match is None:
                continue
            kind = match[2]
            if kind in ("FunctionDecl", "VarDecl"):
                stack = [Node(kind, match[3] or "", _behind_place(match[4]))]
                kept = True
            elif kind == "TypedefDecl":
                name = _NAMED.search(_behind_place(match[4]))
                if name is not None:
                    tree.typedefs[name[1]] = name[3] or name[2]
            elif tag := _TAG.search(line):
                tree.tags.add(f"{tag[1]} {tag[2]}")
        elif kept and (match := _LINE.match(line)):
            depth = len(match[1]) // 2
            del stack[depth:]
            node = Node(match[2], match[3] or "", _behind_place(match[4]), stack[-1])
            stack[-1].children.append(node)
            stack.append(node)
        elif line.endswith(" definition") and (tag := _TAG.search(line)):
            tree.tags.add(f"{tag[1]} {tag[2]}")
    if stack:
        _note(tree, stack[0])
    return tree


def _note(tree: Tree, node: Node) -> None:
    """Keep a top-level function or variable."""
    name = node.name
    for child in node.children:
        if child.kind == "SectionAttr" and (section := _SECTION.search(child.text)):
            tree.sections[name] = section[1]
    if node.kind == "VarDecl":
        tree.variables[name] = node
        tree.variables_by_id[node.id] = node
        return
    if not any(child.kind == "CompoundStmt" for child in node.children):
        return
    tree.functions[name] = node
    for inner in node.walk():
        if inner.kind in ("RecordDecl", "EnumDecl") and (tag := _TAG.search(inner.text)):
            tree.local_types.add(f"{tag[1]} {tag[2]}")
        elif inner.kind == "TypedefDecl":
            tree.local_types.add(inner.name)


def _behind_place(text: str) -> str:
    """Return what follows the source range, whose own angle brackets are balanced; before it may stand `prev 0x…`."""
    start = text.find("<")
    if start < 0:
        return text
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "<") - (text[index] == ">")
        if depth == 0:
            return text[index + 2 :]
    return text
