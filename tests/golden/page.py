# SPDX-License-Identifier: Apache-2.0
"""docs/from-c-to-python.md, made from the cases: every declaration of theirs beside the line that it became."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .cases import BOUND, CASES, GOLDEN, ROOT

__all__ = ["PAGE", "page"]

PAGE = ROOT / "docs" / "from-c-to-python.md"
# Cases that show how a module is laid out, and nothing of C that others do not show.
FORM = ("long_names", "one_of_each", "one_too_long")

INTRODUCTION = """\
# From C to Python

What each construct of BPF C becomes in the bindings. This page is made from the cases in
`tests/golden/`, each of which is compiled by three compilers and compared byte for byte
(`pytest tests/golden --update` writes it anew); what stands in a table is what the generator prints.

- Every offset, size and bit comes from BTF. ctypes takes no part, and nothing depends on the machine
  that reads.
- A member keeps its name; a keyword of Python gets an underscore behind it.
- A record is immutable, compares and hashes by its bytes, and decodes a member when it is asked for.
  `Record.from_bytes`, `bytes(record)`, `replace`, `asdict` and `zeroed` convert; `fields(T)` and
  `sizeof(T)` tell the layout, `dtype(T)` the same for numpy.
- Members of anonymous structs and unions belong to the record around them, as in C. Of members that share
  their bytes the constructor takes one; all can be read. A type without a name is called like its place.
- Bytes are: arrays of unsigned char, padding, numbers of sizes that no Python number has (`long double`,
  integers of 3 bytes), and keys and values of which the object tells only the size. Text has its bytes
  beside it in `record.raw(name)`. A flexible array is empty: it adds nothing to the record's size.
- A pointer is a number of 64 bits, whatever it points to; its C type stands in the documentation.
- `_Atomic` is refused in global variables, members, keys and values, because only clang 20 tells their
  types. In foreign objects such a variable is a number of its size, unsigned where its type is missing.
- A record of a big-endian object says so (`byte_order="big"`) and reads and writes its bytes; a bitfield
  is counted as BTF does, in a big-endian record from a byte's most significant bit. In numpy it is the
  integer around it.
- Padding has a name and is zero in what is made here. In the sources of a package it is refused where
  it is implicit; in foreign objects, and by `ebpf-codegen run`, it is named `_padN`.
"""
BYTES = """\
## What stays bytes

| C | why |
|---|---|
| `unsigned char[N]`, `__u8[N]` | it is declared as bytes |
| integers of other sizes than 1, 2, 4, 8 and 16 bytes | Python has no code for them, and C for BPF no name |
| floating point numbers of other sizes than 4 and 8 bytes | Python has no code for them, and C for BPF no name |
| a key or value of which the map tells only a size | its type is nowhere in the object |
| events that no macro, no `--record` and no code gives a type | a warning says what to add |
"""


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION]
    for case in BOUND:
        rows = [] if case in FORM else list(_rows(case))
        if rows:
            lines = [f"| {_cell(c)} | {_cell(python)} |" for c, python in dict.fromkeys(rows)]
            head = [f"## {_title(case)}", "", _sentence(case), "", "| C | Python |", "|---|---|"]
            parts.append("\n".join([*head, *lines, ""]))
    parts.append(BYTES)
    refused = [f"| {_sentence(case)} | {_cell(_refusal(case))} |" for case in CASES if case not in BOUND]
    parts.append("\n".join(["## What is refused", "", "| C | what is said |", "|---|---|", *refused, ""]))
    return "\n".join(parts)


def _title(case: str) -> str:
    return case.replace("_", " ").capitalize()


def _sentence(case: str) -> str:
    """Return what the case's first comment says, its first paragraph on one line."""
    text = _source(case)
    comment = re.search(r"/\*(?! SPDX)(.*?)\*/", text, re.DOTALL)
    words = comment[1] if comment and comment.start() < text.index("#include") else _FALLBACK.get(case, "")
    return " ".join(re.sub(r"^\s*\*", "", words, flags=re.MULTILINE).split("\n\n")[0].split())


_FALLBACK = {"variants": "Programs that are alternatives to each other: the first variant that loads is used."}


def _source(case: str) -> str:
    return (GOLDEN / case / "case.bpf.c").read_text("utf-8")


def _refusal(case: str) -> str:
    return (GOLDEN / case / "refusal.txt").read_text("utf-8").strip().removeprefix("case.bpf.c: ")


def _cell(text: str) -> str:
    """Return code for a cell of a table."""
    marks = "``" if "`" in text else "`"
    return f"{marks}{' '.join(text.split())}{marks}".replace("|", "\\|")


def _rows(case: str) -> Iterator[tuple[str, str]]:
    """Yield (declaration, line of the module) of a case."""
    texts = (_source(case), *(path.read_text("utf-8") for path in sorted((GOLDEN / case).glob("*.h"))))
    source = re.sub(r"/\*.*?\*/|//[^\n]*", "", "\n".join(texts), flags=re.DOTALL)
    text = (GOLDEN / case / "case.py").read_text("utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield _constant(source, node.target.id), ast.get_source_segment(text, node) or ""
        if isinstance(node, ast.ClassDef) and node.bases:
            yield from _class(node, text, source)


def _constant(source: str, name: str) -> str:
    found = re.search(rf"#define {name}\b(?:[^\n\\]|\\\n|\\.)*", source)
    if found:
        return found[0].replace("\\\n", " ")
    enumerator = re.search(rf"\b{name}\b(?:\s*=[^,}}]*)?", source)
    return f"enum {{ … {enumerator[0].strip()} … }};" if enumerator else ""


def _class(node: ast.ClassDef, text: str, source: str) -> Iterator[tuple[str, str]]:
    base = ast.unparse(node.bases[0])
    c_name = next((ast.literal_eval(word.value) for word in node.keywords if word.arg == "c_name"), "")
    if base == "CEnum":
        yield from _enum(node, source)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and base == "Record":
            yield from _meaning(statement, source, c_name)
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name, line = statement.target.id, ast.get_source_segment(text, statement) or ""
        declaration = ""
        if base in ("Record", "Variables"):
            declaration = _declaration(source, name, c_name)
        elif base == "Maps" and not name.endswith("values"):  # with a map of this name cases show their types
            declaration = _map(source, name)
        elif base == "Programs":
            declaration = _program(source, name)
        if declaration:
            yield declaration, line


def _meaning(accessor: ast.FunctionDef, source: str, c_name: str) -> Iterator[tuple[str, str]]:
    """Yield the member that an accessor of a meaning reads, and the accessor."""
    body = ast.unparse(accessor)
    member = re.search(r"self\.(?:raw\(['\"])?(\w+)", body)
    if member and accessor.returns:
        yield _declaration(source, member[1], c_name), f"{accessor.name}: {ast.unparse(accessor.returns)}  # a property"


def _enum(node: ast.ClassDef, source: str) -> Iterator[tuple[str, str]]:
    names = [statement.targets[0] for statement in node.body if isinstance(statement, ast.Assign)]
    values = [ast.unparse(statement) for statement in node.body if isinstance(statement, ast.Assign)]
    c_name = re.search(r"C: (?:enum )?(\w+)", ast.get_docstring(node) or "")
    body = re.search(rf"enum {c_name[1]}\b[^{{;]*{{[^}}]*}}", source) if c_name else None
    if names and body:
        yield f"{body[0]};", f"class {node.name}(CEnum): {'; '.join(values)}"


def _declaration(source: str, name: str, c_name: str) -> str:
    """Return the statement that declares a member or variable; that of the struct *c_name* before others."""
    stem = name.removesuffix("_")
    places = [source]
    found = re.search(rf"\b{re.escape(c_name.partition('.')[0])}\b[^;{{]*{{", source) if c_name else None
    if found:
        places.insert(0, _braced(source, found.end() - 1))
    for place in places:
        plain = re.search(
            rf"(?m)^[ \t]*([^;{{}}\n]*[\s*(]{stem}\b(?:\s*:\s*\w+)?[^;{{}}(\n]*(?:\([^;{{}}\n]*\))?[^;{{}}\n]*"
            r"(?:= \{[^{}\n]*\})?;)",
            place,
        )
        if plain:
            return plain[1]
        closing = re.search(rf"}}\s*({stem}\b[^;]*;)", place)
        if closing:
            return f"{_keyword(place, closing.start())} {{ … }} {closing[1]}"
    return ""


def _keyword(source: str, closing: int) -> str:
    """Return what stands before the brace that belongs to a closing one: struct, union or enum."""
    depth = 0
    for position in range(closing, -1, -1):
        depth += {"}": 1, "{": -1}.get(source[position], 0)
        if not depth:
            return source[:position].split()[-1]
    return "struct"


def _braced(source: str, start: int) -> str:
    depth = 0
    for position in range(start, len(source)):
        depth += {"{": 1, "}": -1}.get(source[position], 0)
        if not depth:
            return source[start + 1 : position]
    return ""


def _map(source: str, name: str) -> str:
    name = name.removesuffix("_")
    found = re.search(rf"struct {{([^{{}}]*(?:{{[^{{}}]*}}[^{{}}]*)*)}} {name} SEC", source)
    if not found:
        return ""
    kept = [line.strip() for line in found[1].strip().splitlines() if "max_entries" not in line]
    return f'struct {{ {" ".join(kept)} … }} {name} SEC(".maps");'


def _program(source: str, name: str) -> str:
    name = name.removesuffix("_")
    found = re.search(rf'SEC\("[^"]*"\)\s+[^;{{]*?\b{name}\b[^;{{]*\)', source)
    return found[0] if found else ""
