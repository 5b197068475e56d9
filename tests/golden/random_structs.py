# SPDX-License-Identifier: Apache-2.0
"""Random C structs with values: drawn by Hypothesis, printed as C, with questions that the compiler answers.

The compiler lays each struct out and puts its answers into the object: a table of sizes and offsets, one object for
each bitfield in which only its bits are set, and one with a value in every member.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

__all__ = ["Array", "Bitfield", "Group", "Leaf", "Member", "Struct", "Value", "program", "structs"]

Value = int | float | str | list["Value"] | dict[str, "Value"]

# C type -> (bits, signed); of enums those of the declarations below.
INTEGERS = {
    "_Bool": (1, False),
    "signed char": (8, True),
    "unsigned char": (8, False),
    "short": (16, True),
    "unsigned short": (16, False),
    "int": (32, True),
    "unsigned int": (32, False),
    "long long": (64, True),
    "unsigned long long": (64, False),
    "__int128": (128, True),
    "unsigned __int128": (128, False),
    "port_t": (16, False),
    "enum plain": (2, False),
    "enum minus": (2, True),
    "enum wide": (64, False),
}
# Of bitfields; wider ones than their type C does not have.
WIDTHS = {
    "_Bool": 1, "signed char": 8, "unsigned char": 8, "short": 16, "unsigned short": 16, "int": 32,
    "unsigned int": 32, "long long": 64, "unsigned long long": 64, "port_t": 16, "enum plain": 32, "enum minus": 32,
}  # fmt: skip
POINTERS = ("void *", "struct elsewhere *", "const char *", "function_t ")
PRELUDE = """\
#define offset_of(type, member) __builtin_offsetof(type, member)
typedef unsigned short port_t;
enum plain { PLAIN_NONE, PLAIN_ONE, PLAIN_TWO, PLAIN_THREE };
enum minus { MINUS_TWO = -2, MINUS_ONE, MINUS_ZERO, MINUS_PLUS };
enum wide { WIDE_NONE, WIDE_MOST = 0xffffffffffffffffULL };
struct elsewhere;
"""


@dataclass(frozen=True)
class Leaf:
    """A number, pointer or text: *c_type* as C spells it."""

    c_type: str
    value: int | float


@dataclass(frozen=True)
class Text:
    """A char array."""

    size: int
    value: str


@dataclass(frozen=True)
class Array:
    """An array; its elements are of one type but have a value each."""

    elements: tuple[Leaf | Array | Group, ...]


@dataclass(frozen=True)
class Bitfield:
    """A bitfield; without a name it is padding, and of width 0 the end of a unit."""

    c_type: str
    width: int
    value: int


@dataclass(frozen=True)
class Group:
    """A struct or union without a tag inside of another; *chosen* is the member of a union that has a value."""

    keyword: str
    attributes: str
    members: tuple[Member, ...]
    chosen: int


Type = Leaf | Text | Array | Bitfield | Group


@dataclass(frozen=True)
class Member:
    """A member; an empty name for an anonymous struct or union, or for a bitfield that is padding."""

    name: str
    type: Type
    attributes: str = ""


@dataclass(frozen=True)
class Struct:
    """A struct or union with a tag, which is given when it is printed."""

    group: Group

    def value(self) -> dict[str, Value]:
        """Return the values that were given, by name as Python has them."""
        return _values(self.group)


def _values(group: Group) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for member in _given(group):
        if isinstance(member.type, Group) and not member.name:
            found.update(_values(member.type))
        elif member.name:
            found[member.name] = _value(member.type)
    return found


def _given(group: Group) -> tuple[Member, ...]:
    return group.members if group.keyword == "struct" else (group.members[group.chosen],)


def _value(kind: Type) -> Value:
    if isinstance(kind, Array):
        return [_value(element) for element in kind.elements]
    return _values(kind) if isinstance(kind, Group) else kind.value


# Drawing: Hypothesis decides the layout, which it can make simpler when a test fails; values come from a seed.

_GROUP_ATTRIBUTES = st.sampled_from(("", "", "", "packed", "aligned(16)", "packed, aligned(4)", "aligned(32)"))
_MEMBER_ATTRIBUTES = st.sampled_from(("", "", "", "", "", "packed", "aligned(8)", "aligned(16)", "aligned(1)"))
_KEYWORDS = st.sampled_from(("struct", "struct", "struct", "union"))
_NUMBERS = st.sampled_from((*sorted(INTEGERS), "float", "double", *POINTERS))
_FIELD_TYPES = st.sampled_from(sorted(WIDTHS))
_KINDS = st.sampled_from(("number", "number", "bitfield", "bitfield", "array", "text", "group", "group"))
_LENGTHS = st.integers(1, 3)
_PERCENT = st.integers(0, 99)


class _Drawing:
    """One struct in the making."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.random = random.Random(draw(st.integers(0, 1 << 32)))
        self.names = (f"m{number}" for number in range(10_000))

    def group(self, depth: int) -> Group:
        keyword = self.draw(_KEYWORDS)
        members = []
        for _ in range(self.draw(_LENGTHS) * (2 if depth else 1)):
            kind = self.kind(depth)
            name = next(self.names)
            if isinstance(kind, Group) and self.draw(_PERCENT) < 50:
                name = ""
            plain = isinstance(kind, Bitfield) or (isinstance(kind, Group) and not name)
            members.append(Member(name, kind, "" if plain else self.draw(_MEMBER_ATTRIBUTES)))
            if isinstance(kind, Bitfield) and keyword == "struct" and self.draw(_PERCENT) < 20:
                members.append(Member("", Bitfield(kind.c_type, self.draw(_PERCENT) % 2, 0)))
        chosen = self.random.randrange(len(members))
        return Group(keyword, self.draw(_GROUP_ATTRIBUTES), tuple(members), chosen)

    def kind(self, depth: int) -> Type:
        match self.draw(_KINDS):
            case "bitfield":
                c_type = self.draw(_FIELD_TYPES)
                least = 2 if c_type.startswith("enum") else 1
                width = least + self.draw(_PERCENT) % (WIDTHS[c_type] - least + 1)
                return Bitfield(c_type, width, self.integer(c_type, width))
            case "array":
                c_type = self.draw(_NUMBERS)
                counts = [self.draw(_LENGTHS) for _ in range(1 + self.draw(_PERCENT) % 2)]
                return self.array(c_type, counts)
            case "text":
                size = 1 + self.draw(_PERCENT) % 17
                return Text(size, "".join(self.random.choices("abcXYZ09 _", k=self.random.randint(0, size))))
            case "group" if depth:
                group = self.group(depth - 1)
                return group if self.draw(_PERCENT) < 75 else Array((group,) * self.draw(_LENGTHS))
            case _:
                return self.leaf(self.draw(_NUMBERS))

    def array(self, c_type: str, counts: list[int]) -> Array:
        first, *rest = counts
        elements = (self.array(c_type, rest) if rest else self.leaf(c_type) for _ in range(first))
        return Array(tuple(elements))

    def leaf(self, c_type: str) -> Leaf:
        if c_type in POINTERS:
            return Leaf(c_type, self.random.getrandbits(64))
        if c_type in INTEGERS:
            return Leaf(c_type, self.integer(c_type))
        return Leaf(c_type, self.random.randint(-(1 << 20), 1 << 20) / 16)

    def integer(self, c_type: str, width: int = 128) -> int:
        bits, signed = INTEGERS[c_type]
        bits = min(bits, width)
        low, high = -(1 << bits - 1) if signed else 0, (1 << bits - signed) - 1
        return self.random.choice((low, high, self.random.randint(low, high)))


@st.composite
def structs(draw: st.DrawFn) -> Struct:
    """Draw a struct or union of up to three levels."""
    return Struct(_Drawing(draw).group(2))


# Printing


def program(found: list[Struct]) -> str:
    """Return C that declares `struct s0`, …, and has the compiler's answers about them.

    `struct s0 value_0` holds the values, `bits_0_m3` has the bits of the bitfield m3 set, and `answers_0` is a table of
    unsigned long long: the size of the struct, then offset and size of each of its other members, in their order.
    """
    parts = [PRELUDE, "typedef int (*function_t)(void *);\n"]
    for number, struct in enumerate(found):
        keyword = struct.group.keyword
        tag = f"{keyword} s{number}"
        parts.append(f"{tag} {_body(struct.group)};\n")
        parts.append(f"{tag} value_{number} = {_initialiser(struct.group)};\n")
        for path in bitfields(struct.group):
            parts.append(f"{tag} bits_{number}_{path.replace('.', '__')} = {{ .{path} = -1 }};\n")
        answers = [f"sizeof({tag})"]
        for path in members(struct.group):
            answers += [f"offset_of({tag}, {path})", f"sizeof((({tag} *)0)->{path})"]
        parts.append(f"unsigned long long answers_{number}[] = {{ {', '.join(answers)} }};\n")
    return "".join(parts)


def bitfields(group: Group) -> Iterator[str]:
    """Yield the paths of all bitfields with a name: `m1`, `m2.m3`; those of anonymous groups as C has them."""
    yield from (path for path, kind in _paths(group, "") if isinstance(kind, Bitfield))


def members(group: Group) -> Iterator[str]:
    """Yield the paths of all other members."""
    yield from (path for path, kind in _paths(group, "") if not isinstance(kind, Bitfield))


def _paths(group: Group, prefix: str) -> Iterator[tuple[str, Type]]:
    for member in group.members:
        if member.name:
            yield f"{prefix}{member.name}", member.type
        if isinstance(member.type, Group):
            yield from _paths(member.type, f"{prefix}{member.name}." if member.name else prefix)


def _body(group: Group) -> str:
    attributes = f" __attribute__(({group.attributes}))" if group.attributes else ""
    return f"{{ {' '.join(map(_declaration, group.members))} }}{attributes}"


def _declaration(member: Member) -> str:
    attributes = f" __attribute__(({member.attributes}))" if member.attributes else ""
    kind = member.type
    if isinstance(kind, Bitfield):
        return f"{kind.c_type} {member.name}:{kind.width};"
    if isinstance(kind, Group):
        return f"{kind.keyword} {_body(kind)} {member.name}{attributes};"
    if isinstance(kind, Text):
        return f"char {member.name}[{kind.size}]{attributes};"
    bounds = ""
    while isinstance(kind, Array):
        bounds += f"[{len(kind.elements)}]"
        kind = kind.elements[0]
    if isinstance(kind, Group):
        return f"{kind.keyword} {_body(kind)} {member.name}{bounds}{attributes};"
    assert isinstance(kind, Leaf)
    return f"{kind.c_type} {member.name}{bounds}{attributes};"


def _initialiser(kind: Type) -> str:
    if isinstance(kind, Group):
        return f"{{ {', '.join(_designated(kind))} }}"
    if isinstance(kind, Array):
        return f"{{ {', '.join(map(_initialiser, kind.elements))} }}"
    if isinstance(kind, Text):
        return "{ " + ", ".join([*(f"'{letter}'" for letter in kind.value), *(["0"] if not kind.value else [])]) + " }"
    if kind.c_type in POINTERS:
        return f"({kind.c_type}){kind.value:#x}ULL"
    if isinstance(kind.value, float):
        return f"({kind.c_type}){kind.value!r}"
    return _number(kind.c_type, kind.value)


def _designated(group: Group) -> Iterator[str]:
    """Yield initialisers with a designator each, those of anonymous members included."""
    for member in _given(group):
        if member.name:
            yield f".{member.name} = {_initialiser(member.type)}"
        elif isinstance(member.type, Group):
            yield from _designated(member.type)


def _number(c_type: str, value: int) -> str:
    magnitude = abs(value)
    text = f"((unsigned __int128){magnitude >> 64:#x}ULL << 64 | {magnitude & (1 << 64) - 1:#x}ULL)"
    if magnitude < 1 << 63:
        text = f"{magnitude:#x}LL"
    elif magnitude < 1 << 64:
        text = f"{magnitude:#x}ULL"
    if value >= 0:
        return f"({c_type}){text}"
    return f"({c_type})-(__int128){text}"
