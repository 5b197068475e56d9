# SPDX-License-Identifier: Apache-2.0
"""Which records a source writes into its ring buffers, perf buffers and iterators, found at the calls that write them.

`infer(tree)` follows the calls from each program through helpers of the source, with the map and the record as their
arguments, and looks at the types that the expressions have. A size that is not `sizeof` of the record decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .syntax import Node, Tree

__all__ = ["HELPERS", "LOCAL", "Inferred", "Written", "canonical", "infer", "pointee"]

# Helper -> the positions of map, data and size among its arguments; an iterator's stream counts as its map.
_WRITERS: Final = {
    "bpf_ringbuf_output": (0, 1, 2),
    "bpf_perf_event_output": (1, 3, 4),
    "bpf_skb_output": (1, 3, 4),
    "bpf_xdp_output": (1, 3, 4),
    "bpf_seq_write": (0, 1, 2),
}
_RESERVE: Final = "bpf_ringbuf_reserve"
_DYNPTR: Final = "bpf_ringbuf_reserve_dynptr"
HELPERS: Final = (*_WRITERS, _RESERVE, _DYNPTR)
ROWS: Final = "bpf_seq_write"
LOCAL: Final = "has no name at file scope"  # said of types that no macro and no option can name

_CASTS: Final = ("ImplicitCastExpr", "CStyleCastExpr", "ParenExpr")
_UNTYPED: Final = re.compile(r"void|(?:un)?signed char|char|__u8|__s8|u8|s8|uint8_t|int8_t")
_QUALIFIER: Final = re.compile(r"\b(?:const|volatile|restrict|__restrict)\b ?")
_TYPEOF: Final = re.compile(r"(?:__)?typeof(?:__)?\((.*)\)")
_MAX_DEPTH: Final = 32


@dataclass(slots=True)
class Written:
    """What is written into one map or by one iterator: C types, and why some call tells none."""

    types: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Inferred:
    """What is written, by the name of the map or of the iterator program."""

    maps: dict[str, Written] = field(default_factory=dict)
    rows: dict[str, Written] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """What a caller passes at this position."""

    index: int


@dataclass(frozen=True, slots=True)
class _Result:
    """What a caller makes of the function's result."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One write: the maps it may go to, the types of the pointer to its data, and of the operand of its `sizeof`."""

    maps: frozenset[str | _Parameter]
    data: frozenset[str | _Parameter | _Result]
    size: str | _Parameter | None
    helper: str
    function: str


def canonical(tree: Tree, name: str) -> str:
    """Return a type's name without qualifiers and typedefs; a typedef of a struct without a tag keeps its name."""
    name = _QUALIFIER.sub("", name).strip()
    if (match := _TYPEOF.fullmatch(name)) is not None:
        name = match[1]
    for _ in range(_MAX_DEPTH):
        other = tree.typedefs.get(name)
        if other is None or other == name or (other.partition(" ")[2] == name and other not in tree.tags):
            break
        name = _QUALIFIER.sub("", other).strip()
    return name


def pointee(node: Node) -> str:
    """Return what an expression or variable of pointer type points to, else nothing."""
    for spelled in node.type:
        text = re.sub(r"\*(?:const|restrict|volatile|__restrict| )+$", "*", spelled).strip()
        if text.endswith("*"):
            return _QUALIFIER.sub("", text[:-1]).strip()
    return ""


def infer(tree: Tree) -> Inferred:
    """Return what the programs of a source write, as types of C that can be named at file scope."""
    return _Inference(tree).run()


class _Inference:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.found: dict[str, tuple[_Call, ...]] = {}
        self.active: list[str] = []
        self.result = Inferred()

    def run(self) -> Inferred:
        for name in self.tree.functions:
            section = self.tree.sections.get(name, "").removeprefix("?")
            if not section:
                continue
            is_iterator = section.startswith(("iter/", "iter.s/"))
            for call in self.calls(name):
                if call.helper == ROWS:
                    if is_iterator:
                        self.note(self.result.rows.setdefault(name, Written()), call)
                    continue
                for target in sorted(item for item in call.maps if isinstance(item, str)):
                    self.note(self.result.maps.setdefault(target, Written()), call)
        return self.result

    def note(self, written: Written, call: _Call) -> None:
        found, reason = self.record(call)
        if found:
            if self.canonical(found) not in map(self.canonical, written.types):
                written.types.append(found)
        elif reason not in written.unknown:
            written.unknown.append(reason)

    def record(self, call: _Call) -> tuple[str, str]:
        """Return the type of what a call writes, or why it cannot be told."""
        where = f"{call.function}() calls {call.helper}"
        if call.helper == _DYNPTR:
            return "", f"{where}, whose records have no type"
        size = call.size if isinstance(call.size, str) else ""
        if not size:
            return "", f"{where} with a size that is not sizeof of the record"
        head, size = size.startswith("+"), size.removeprefix("+")
        pointees = {item for item in call.data if isinstance(item, str) and not _UNTYPED.fullmatch(item)}
        exact = self.canonical(size)
        if pointees and exact not in {self.canonical(item) for item in pointees}:
            element = exact.partition("[")[0].rstrip()
            if element not in {self.canonical(item) for item in pointees}:
                names = " or ".join(sorted(pointees))
                return "", f"{where} with sizeof({size}) for a {names}"
        if "(unnamed" in exact or "(anonymous" in exact:
            return "", f"{where} with a struct that {LOCAL}"
        if exact in self.tree.local_types or size in self.tree.local_types:
            return "", f"{where} with {size}, which {LOCAL}"
        if exact.endswith("*") or (head and not exact.startswith("struct ")):
            return "", f"{where} with sizeof({size}), which is no record"
        return (exact if exact.startswith(("struct ", "union ", "enum ")) else size), ""

    # Types by name

    def canonical(self, name: str) -> str:
        return canonical(self.tree, name)

    # Calls

    def calls(self, function: str) -> tuple[_Call, ...]:
        """Return the writes of a function and of those it calls or passes on, in its own terms."""
        if function in self.found:
            return self.found[function]
        if function in self.active or len(self.active) == _MAX_DEPTH:
            return ()
        self.active.append(function)
        node = self.tree.functions[function]
        found: dict[_Call, None] = {}
        for inner in node.walk():
            if inner.kind == "CallExpr":
                found |= dict.fromkeys(self.call(function, inner))
            elif inner.kind == "DeclRefExpr":
                kind, _, name = inner.reference
                if kind == "Function" and name in self.tree.functions and not self.is_called(inner):
                    found |= dict.fromkeys(self.calls(name))
        self.active.pop()
        self.found[function] = tuple(found)
        return self.found[function]

    def call(self, function: str, node: Node) -> Iterator[_Call]:
        """Yield the writes that one call makes."""
        name = self.callee(node)
        arguments = node.children[1:]
        if name in _WRITERS and len(arguments) > max(_WRITERS[name]):
            target, data, size = (arguments[index] for index in _WRITERS[name])
            maps = frozenset[str | _Parameter]() if name == ROWS else frozenset(self.maps(function, target))
            yield _Call(maps, frozenset(self.data(function, data)), self.size(function, size), name, function)
        elif name == _RESERVE and len(arguments) > 1:
            data_types = frozenset(self.uses(function, node))
            maps = frozenset(self.maps(function, arguments[0]))
            yield _Call(maps, data_types, self.size(function, arguments[1]), name, function)
        elif name == _DYNPTR and arguments:
            yield _Call(frozenset(self.maps(function, arguments[0])), frozenset(), None, name, function)
        elif name in self.tree.functions:
            for inner in self.calls(name):
                yield self.substitute(inner, function, node)

    def substitute(self, call: _Call, function: str, node: Node) -> _Call:
        """Return a write of a called function in terms of the caller."""
        arguments = node.children[1:]

        def passed(item: object) -> Node | None:
            return arguments[item.index] if isinstance(item, _Parameter) and item.index < len(arguments) else None

        maps: set[str | _Parameter] = set()
        for target in call.maps:
            argument = passed(target)
            maps |= set(self.maps(function, argument)) if argument is not None else {target}
        data: set[str | _Parameter | _Result] = set()
        for item in call.data:
            argument = passed(item)
            if argument is not None:
                data |= set(self.data(function, argument))
            elif isinstance(item, _Result):
                data |= set(self.uses(function, node))
            else:
                data.add(item)
        argument = passed(call.size)
        size = self.size(function, argument) if argument is not None else call.size
        return _Call(frozenset(maps), frozenset(data), size, call.helper, call.function)

    def callee(self, node: Node) -> str:
        """Return the name of the function or helper that a call names, else nothing."""
        target = node.children[0] if node.children else None
        while target is not None and target.kind in _CASTS and target.children:
            target = target.children[0]
        return target.reference[2] if target is not None and target.kind == "DeclRefExpr" else ""

    @staticmethod
    def is_called(node: Node) -> bool:
        while node.parent is not None and node.parent.kind in _CASTS:
            node = node.parent
        return node.parent is not None and node.parent.kind == "CallExpr" and node.parent.children[0] is node

    # Arguments

    def parameter(self, function: str, declaration: str) -> _Parameter | None:
        ids = [child.id for child in self.tree.functions[function].children if child.kind == "ParmVarDecl"]
        return _Parameter(ids.index(declaration)) if declaration in ids else None

    def assigned(self, function: str, declaration: str) -> Iterator[Node]:
        """Yield what a local variable is set to."""
        for node in self.tree.functions[function].walk():
            if node.kind == "VarDecl" and node.id == declaration:
                yield from (child for child in node.children[-1:] if not child.kind.endswith("Attr"))
            elif (
                node.kind == "BinaryOperator"
                and node.text.endswith("'='")
                and node.children
                and self.bare(node.children[0]).reference[1] == declaration
            ):
                yield node.children[1]

    @staticmethod
    def bare(node: Node) -> Node:
        """Return an expression without casts and brackets around it; of a statement expression, its last one."""
        while node.children:
            if node.kind in _CASTS:
                node = node.children[0]
            elif node.kind in ("StmtExpr", "CompoundStmt"):
                node = node.children[-1]
            else:
                break
        return node

    def maps(self, function: str, node: Node, depth: int = 0) -> Iterator[str | _Parameter]:
        """Yield the maps that a pointer to a map may mean."""
        node = self.bare(node)
        if depth > _MAX_DEPTH:
            return
        if node.kind == "ConditionalOperator":
            for child in node.children[1:]:
                yield from self.maps(function, child, depth + 1)
        elif node.kind == "UnaryOperator" and "prefix '&'" in node.text and node.children:
            kind, declaration, name = self.bare(node.children[0]).reference
            if kind == "Var" and declaration in self.tree.variables_by_id:
                yield name
        elif node.kind == "DeclRefExpr":
            kind, declaration, _ = node.reference
            parameter = self.parameter(function, declaration)
            if parameter is not None:
                yield parameter
            elif kind == "Var":
                for value in self.assigned(function, declaration):
                    yield from self.maps(function, value, depth + 1)

    def data(self, function: str, node: Node, depth: int = 0) -> Iterator[str | _Parameter | _Result]:
        """Yield the types that a pointer to data points to, from the outermost cast that names one."""
        if depth > _MAX_DEPTH:
            return
        while True:
            target = pointee(node)
            if target and not _UNTYPED.fullmatch(target):
                yield target
                return
            if node.kind in ("StmtExpr", "CompoundStmt") and node.children:
                node = node.children[-1]
            elif node.kind in _CASTS and node.children:
                node = node.children[0]
            else:
                break
        if node.kind == "ConditionalOperator":
            for child in node.children[1:]:
                yield from self.data(function, child, depth + 1)
        elif node.kind == "DeclRefExpr":
            _, declaration, _ = node.reference
            parameter = self.parameter(function, declaration)
            if parameter is not None:
                yield parameter
            else:
                for value in self.assigned(function, declaration):
                    yield from self.data(function, value, depth + 1)

    def uses(self, function: str, node: Node, depth: int = 0) -> Iterator[str | _Result]:
        """Yield the types as which the pointer that an expression gives is used."""
        if depth > _MAX_DEPTH:
            return
        while node.parent is not None:
            target = pointee(node)
            if target and not _UNTYPED.fullmatch(target):
                yield target
                return
            parent = node.parent
            if parent.kind == "ReturnStmt":
                yield _Result()
                return
            if parent.kind == "VarDecl":
                yield from self.variable_uses(function, parent.id, depth + 1)
                return
            if parent.kind == "BinaryOperator":
                if parent.text.endswith("'='") and parent.children[-1] is node:
                    declaration = self.bare(parent.children[0]).reference[1]
                    yield from self.variable_uses(function, declaration, depth + 1)
                return
            if parent.kind == "CallExpr" and parent.children[0] is not node:
                name = self.callee(parent)
                if name in self.tree.functions:
                    parameters = [c for c in self.tree.functions[name].children if c.kind == "ParmVarDecl"]
                    index = next(i for i, child in enumerate(parent.children) if child is node) - 1
                    if index < len(parameters):
                        yield from self.variable_uses(name, parameters[index].id, depth + 1)
                return
            if parent.kind not in (*_CASTS, "StmtExpr", "ConditionalOperator") and not (
                parent.kind == "CompoundStmt" and parent.parent is not None and parent.parent.kind == "StmtExpr"
            ):
                return
            node = parent

    def variable_uses(self, function: str, declaration: str, depth: int) -> Iterator[str | _Result]:
        if not declaration or depth > _MAX_DEPTH:
            return
        for node in self.tree.functions[function].walk():
            if node.kind == "DeclRefExpr" and node.reference[1] == declaration:
                yield from self.uses(function, node, depth + 1)

    def size(self, function: str, node: Node, depth: int = 0) -> str | _Parameter | None:
        """Return the type of which a size is that, with `+` before it where more follows; None if it is another."""
        node = self.bare(node)
        if depth > _MAX_DEPTH:
            return None
        if node.kind == "UnaryExprOrTypeTraitExpr" and (match := re.search(r"\bsizeof\b(?: '([^']*)')?", node.text)):
            if match[1]:
                return _QUALIFIER.sub("", match[1]).strip()
            return _QUALIFIER.sub("", node.children[0].type[0]).strip() if node.children else None
        if node.kind == "ConstantExpr" and node.children:
            return self.size(function, node.children[0], depth + 1)
        if node.kind == "BinaryOperator" and node.text.endswith("'+'") and node.children:
            first = self.size(function, node.children[0], depth + 1)
            return f"+{first.removeprefix('+')}" if isinstance(first, str) else None
        if node.kind == "DeclRefExpr":
            _, declaration, _ = node.reference
            parameter = self.parameter(function, declaration)
            if parameter is not None:
                return parameter
            values = list(self.assigned(function, declaration))
            if not values and declaration in self.tree.variables_by_id:
                values = self.tree.variables_by_id[declaration].children[:1]
            if len(values) == 1:
                return self.size(function, values[0], depth + 1)
        return None
