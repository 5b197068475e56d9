# SPDX-License-Identifier: Apache-2.0
"""Constants that a source shares with its users: macros and enumerators of its own headers.

Own are headers that stand beside the source, not those found in include directories. Of the `.bpf.c` itself only what
a documentation comment, `/** … */`, describes is meant for users. A macro takes no parameters, is in capitals without
an underscore in front, and is an integer or a string when the whole source has been read; others are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .source import Token, clean, members_of, tokens_of

__all__ = ["Candidate", "Constant", "candidates", "constants", "probing", "values"]

_DEFINE: Final = re.compile(r"\s*#\s*define\s+([A-Z][A-Z0-9_]*)(?!\w|\()(.*)", re.DOTALL)
_LINE: Final = re.compile(r'\s*#\s*line\s+(\d+)\s+"([^"]*)"')
_COMMENT: Final = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_STRINGS: Final = re.compile(r'(?:"(?:[^"\\\n]|\\.)*"\s*)+')
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_PREFIX: Final = "__constant_"
_DUMPED: Final = re.compile(rf"EnumConstantDecl .*\b{_PREFIX}(\d+) '|\|-value: Int (-?\d+)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name that may be a constant, its documentation, and its value where it is a string."""

    name: str
    doc: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant with its value and its documentation."""

    name: str
    value: int | str
    doc: str


def candidates(text: str, main: str, is_own: Callable[[str], bool]) -> list[Candidate]:
    """Return what may be a constant, in the order of the source.

    Args:
        text: The flattened source.
        main: The name of the `.bpf.c` in its `#line` directives.
        is_own: Tells whether a header of this name stands beside the source.
    """
    found: dict[str, Candidate] = {}
    file = main
    tokens = list(tokens_of(text))
    index = 0
    comment: Token | None = None
    while index < len(tokens):
        token = tokens[index]
        touching = comment.text if comment is not None and comment.end_line + 1 >= token.line else ""
        comment = token if token.kind == "comment" else None
        if token.kind == "directive" and (line := _LINE.match(token.text)):
            file = line[2]
        elif token.kind == "directive":
            shown = touching.startswith("/**") if file == main else is_own(file)
            if shown and (candidate := _macro(token.text, touching)) is not None:
                found[candidate.name] = candidate
        elif token.text == "enum":
            opening = next((i for i in (index + 1, index + 2) if i < len(tokens) and tokens[i].text == "{"), None)
            end = index
            if opening is not None:
                end = next((i for i in range(opening, len(tokens)) if tokens[i].text == "}"), len(tokens))
            shown = touching.startswith("/**") if file == main else is_own(file)
            if shown and opening is not None:
                found |= {item.name: item for item in _enumerators(tokens[opening + 1 : end])}
            index = end
        index += 1
    return list(found.values())


def _macro(directive: str, comment: str) -> Candidate | None:
    match = _DEFINE.match(directive)
    if match is None:
        return None
    body = " ".join(_COMMENT.sub(" ", match[2]).replace("\\\n", " ").split())
    behind = _COMMENT.search(match[2])
    doc = clean(comment) if comment else clean(behind[0]) if behind else ""
    if not body:
        return None
    return Candidate(match[1], doc, _string(body) if _STRINGS.fullmatch(body) else None)


def _string(body: str) -> str:
    """Return the text of C string literals in a row."""

    def escape(match: re.Match[str]) -> str:
        if match[1] or match[2]:
            return chr(int(match[1], 16) if match[1] else int(match[2], 8))
        return _ESCAPED.get(match[3], match[3])

    parts = re.findall(r'"((?:[^"\\]|\\.)*)"', body)
    return "".join(_ESCAPE.sub(escape, part) for part in parts)


def _enumerators(body: list[Token]) -> Iterator[Candidate]:
    """Yield the enumerators of one definition."""
    docs = dict(members_of(body, ","))
    expects_name = True
    depth = 0
    for token in body:
        if token.kind == "comment" or token.kind == "directive":
            continue
        depth += (token.text in "({[") - (token.text in ")}]")
        if expects_name and token.kind == "word":
            yield Candidate(token.text, docs.get(token.text, ""))
        expects_name = token.text == "," and depth == 0


def probing(names: Sequence[str]) -> str:
    """Return C to put behind a source: each name as the value of an enumerator, which need not compile."""
    return "".join(f"enum {{ {_PREFIX}{number} = ({name}) }};\n" for number, name in enumerate(names))


def values(dump: str, names: Sequence[str]) -> dict[str, int]:
    """Return the integers that clang's dump of such enumerators tells."""
    found: dict[str, int] = {}
    current = ""
    for match in _DUMPED.finditer(dump):
        if match[1] is not None:
            number = int(match[1])
            current = names[number] if number < len(names) else ""
        elif current:
            found.setdefault(current, int(match[2]))
            current = ""
    return found


def constants(found: Iterable[Candidate], integers: Mapping[str, int]) -> Iterator[Constant]:
    """Yield those of the candidates that are strings or integers."""
    for item in found:
        if item.text is not None:
            yield Constant(item.name, item.text, item.doc)
        elif item.name in integers:
            yield Constant(item.name, integers[item.name], item.doc)
