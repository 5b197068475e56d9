# SPDX-License-Identifier: Apache-2.0
"""`_Atomic` in what a source shows: clang before 20 gives it no type in BTF, clang 20 that of the plain type.

The same source would have other bindings with each compiler, and arrays would have no size. So its syntax tree tells
what is atomic, and any compiler's user is told the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .errors import UnsupportedError

__all__ = ["concerns", "refuse"]

_MENTIONED: Final = re.compile(r"\b_Atomic\b")
_TOP: Final = re.compile(r"[|`]-(Var|Record|Typedef)Decl\b.*")
_MEMBER: Final = re.compile(r"[| ] .*[|`]-FieldDecl\b.*")
_TAG: Final = re.compile(r"\b(?:struct|union) \w+(?= definition$)")
_NAMED: Final = re.compile(r"(?: (\w+))? ('[^']*'(?::'[^']*')?)(?: bitfield| mutable)*( static)?")


def concerns(text: str) -> bool:
    """Return whether a source says `_Atomic`, be it in a comment."""
    return bool(_MENTIONED.search(text))


def refuse(dump: str, source: str) -> None:
    """Refuse global variables, members and keys and values of maps that are `_Atomic`, or made of what is.

    Args:
        dump: clang's syntax tree of the source, as `compiler.syntax_dump` returns it.
        source: Names the source in errors.
    Raises:
        UnsupportedError: There is one; names the first.
    """
    for place in _places(dump):
        raise UnsupportedError(
            f"{source}: {place}: it is _Atomic, which clang before 20 leaves out of BTF. "
            "Declare it without, and change it by __sync_fetch_and_add() and its like."
        )


def _places(dump: str) -> Iterator[str]:
    """Yield each place; a type without a tag is called like the first variable or typedef of it."""
    atomic = {"_Atomic"}
    owner = ""
    members: list[str] = []
    for line in dump.splitlines():
        if top := _TOP.match(line):
            named = _NAMED.search(line)
            name = named[1] if named else ""
            if top[1] != "Record" and members and not owner:
                yield f"{name}, member {members[0]!r}"
            owner, members = "", []
            if top[1] == "Record":
                tag = _TAG.search(line)
                owner = tag[0] if tag else ""
            elif named and atomic.intersection(re.findall(r"\w+", named[2])):
                if top[1] == "Typedef":
                    atomic.add(name)
                elif not named[3]:
                    yield f"variable {name!r}"
        elif _MEMBER.match(line):
            named = _NAMED.search(line)
            if named and atomic.intersection(re.findall(r"\w+", named[2])):
                members.append(named[1])
                if owner:
                    yield f"{owner}, member {named[1]!r}"
