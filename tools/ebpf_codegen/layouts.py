# SPDX-License-Identifier: Apache-2.0
"""Values, records and enums of C as frozen records, with every offset taken from BTF.

`Layouts` turns BTF types into them, each once, and keeps the records and enums that it met on the way. Names are still
C names; types without one get that of the place they stand in: `event_header` for the anonymous struct of a member
`header` of `struct event`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, TypeVar

from . import btf
from .errors import BtfError, UnsupportedError
from .source import Documentation
from .streams import OneOf

__all__ = [
    "ArrayOf",
    "Bits",
    "EnumRef",
    "EnumType",
    "Layouts",
    "Member",
    "Opaque",
    "Padding",
    "RecordRef",
    "RecordType",
    "Scalar",
    "Text",
    "ValueType",
    "holes",
    "ordered",
]

_MAX_DEPTH: Final = 64  # of pointers and arrays, and of structs in structs
_MAX_PARTS: Final = 0xFFFF  # members of a struct, enumerators of an enum; BTF_MAX_VLEN of most kernels
_MAX_SPELLING: Final = 200


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number: *kind* is u8 … u128, s8 … s128, f32, f64, boolean or pointer."""

    kind: str
    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class EnumRef:
    """A value of the enum with this name; *signed* where its enumerators do not show that it is."""

    name: str
    size: int
    c_type: str
    signed: bool = False


@dataclass(frozen=True, slots=True)
class RecordRef:
    """The struct or union with this name."""

    name: str
    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class Text:
    """A `char` array: NUL-terminated text unless it fills the array."""

    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class Padding:
    """A member named pad0, _pad1 …: zeroed, and no part of the record's value."""

    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A number of a size that Python's struct module has no code for, as its bytes."""

    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """*count* elements in a row; 0 for a flexible array, which adds nothing to the record's size."""

    element: ValueType
    count: int
    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class Bits:
    """A bitfield: *width* bits from bit *first* of the record on, in *size* bytes; *base* is its declared type.

    Bits count as in BTF: from the least significant one of a byte, in a big-endian object from the most significant.
    """

    base: Scalar | EnumRef
    first: int
    width: int
    size: int
    c_type: str


ValueType = Scalar | EnumRef | RecordRef | Text | Padding | Opaque | ArrayOf | Bits | OneOf


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a record or one variable of a section.

    Attributes:
        tags: Its declaration tags, in order of their text.
        shared: Whether it is a member of a union.
    """

    name: str
    offset: int
    type: ValueType
    doc: str
    tags: tuple[str, ...] = ()
    shared: bool = False

    def span(self) -> tuple[int, int]:
        """Return its first bit and the one behind its last."""
        if isinstance(self.type, Bits):
            return self.type.first, self.type.first + self.type.width
        return 8 * self.offset, 8 * (self.offset + self.type.size)


@dataclass(frozen=True, slots=True)
class EnumType:
    """An enum with (enumerator, value, documentation) in order of declaration."""

    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int, str], ...]
    doc: str
    c_name: str = ""


@dataclass(frozen=True, slots=True)
class RecordType:
    """A struct or union; its members in layout order, those of anonymous members promoted as in C."""

    name: str
    c_name: str
    size: int
    members: tuple[Member, ...]
    doc: str
    is_union: bool = False


_Named = TypeVar("_Named", EnumType, RecordType)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: for messages, for the name of a type that has none, and for how C would call that."""

    text: str
    name: str
    path: str


class Layouts:
    """The types of one object.

    Attributes:
        records: The structs and unions met so far, by their names; a second one of a name gets a number.
        enums: The enums met so far, likewise.
    """

    def __init__(self, types: btf.Btf, source: str, documentation: Documentation, *, pad: bool) -> None:
        self.btf = types
        self.source = source
        self.docs = documentation
        self.pad = pad
        self.records: dict[str, RecordType] = {}
        self.enums: dict[str, EnumType] = {}
        self._names: dict[int, str] = {}
        self._kept: dict[RecordType | EnumType, str] = {}
        self._counts: dict[str, int] = {}
        self._member_counts: dict[int, int] = {}
        self._in_progress: list[int] = []
        self._tags: dict[tuple[int, int], list[str]] = {}
        for _, tag in types.of_kind(btf.DeclTag):
            self._tags.setdefault((id(types[tag.target]), tag.component), []).append(tag.text)

    def fail(self, where: str, reason: str, remedy: str = "The BTF is damaged.") -> UnsupportedError:
        return UnsupportedError(f"{self.source}: {where}: {reason}. {remedy}")

    def value(self, type_id: int, where: str, name: str = "", path: str = "") -> ValueType:
        """Return the value type of a BTF type, noting the records and enums it needs.

        Args:
            type_id: The type.
            where: The place, for messages.
            name: What the type is called if it has no name of its own.
            path: The place as C would write it.
        Raises:
            UnsupportedError: It has no size, or contradicts itself.
        """
        return self._value(type_id, _Place(where, name, path or name))

    def all_named(self) -> None:
        """Note every struct and union that has a name, its own or that of a typedef."""
        structs = self.btf.of_kind(btf.Struct)
        if len(structs) > _MAX_PARTS:
            raise self.fail("--all-types", f"there are {len(structs)} structs and unions", "Leave the option out.")
        for type_id, item in structs:
            if item.name:
                self.value(type_id, f"type {type_id}")
        for type_id, typedef in self.btf.of_kind(btf.Typedef):
            if isinstance(self.btf[self.btf.resolve(type_id)], btf.Struct):
                self.value(type_id, f"typedef {typedef.name!r}")

    def _value(self, type_id: int, place: _Place) -> ValueType:
        resolved = self.btf.resolve(type_id)
        item = self.btf[resolved]
        match item:
            case btf.Int() if item.is_bool and item.size == 1:
                return Scalar("boolean", 1, self.spell(type_id))
            case btf.Int():
                return self._number("s" if item.signed else "u", item.size, (1, 2, 4, 8, 16), type_id)
            case btf.Float():
                return self._number("f", item.size, (4, 8), type_id)
            case btf.Ptr():
                return Scalar("pointer", 8, self.spell(type_id))
            case btf.Enum() if item.values and item.size in (1, 2, 4, 8):
                return self._enum(type_id, resolved, item, place)
            case btf.Enum():
                return self._number("s" if item.signed else "u", item.size, (1, 2, 4, 8), type_id)
            case btf.Array():
                return self._array(item, self.spell(type_id), place)
            case btf.Struct():
                if resolved not in self._names:
                    self._names[resolved] = self._record(type_id, resolved, item, place)
                name = self._names[resolved]
                is_named = item.name or self._typedef(type_id)
                return RecordRef(name, item.size, self.spell(type_id) if is_named else self.records[name].c_name)
            case _:
                what = self.spell(type_id) or "this type"
                raise self.fail(place.text, f"{what} has no Python form", "Use a sized type.")

    def _number(self, letter: str, size: int, sizes: tuple[int, ...], type_id: int) -> ValueType:
        c_type = self.spell(type_id)
        return Scalar(f"{letter}{8 * size}", size, c_type) if size in sizes else Opaque(size, c_type)

    def _array(self, item: btf.Array, c_type: str, place: _Place) -> ValueType:
        size = self.btf.size(item.element) * item.length
        element = self.btf[self.btf.resolve(item.element)]
        if isinstance(element, btf.Void):
            raise self.fail(place.text, "its elements have no type", btf.ATOMIC_ARRAYS)
        if isinstance(element, btf.Int) and element.name == "char" and element.size == 1:
            return Text(size, c_type)
        return ArrayOf(self._value(item.element, place), item.length, size, c_type)

    def _enum(self, type_id: int, resolved: int, item: btf.Enum, place: _Place) -> EnumRef:
        own = item.name or self._typedef(type_id)
        if resolved not in self._names:
            name = own or place.name or "enum"
            c_name = own if own and not item.name else f"enum {own or place.path or name}"
            if len(item.values) > _MAX_PARTS:
                raise self.fail(c_name, f"it has {len(item.values)} enumerators", f"The kernel takes {_MAX_PARTS}.")
            values = tuple((n, v, self.docs.members.get((name, n), "")) for n, v in item.values)
            made = EnumType(name, item.size, item.signed, values, self.docs.types.get(name, ""), c_name)
            self._names[resolved] = self._keep(self.enums, made)
        name = self._names[resolved]
        signed = item.signed and all(value >= 0 for _, value in item.values)
        return EnumRef(name, item.size, self.spell(type_id) if own else self.enums[name].c_name, signed)

    def _record(self, type_id: int, resolved: int, item: btf.Struct, place: _Place) -> str:
        keyword = "union" if item.is_union else "struct"
        own = item.name or self._typedef(type_id)
        name = own or place.name or keyword
        path = own or place.path or name
        c_name = own if own and not item.name else f"{keyword} {path}"
        if resolved in self._in_progress:
            raise self.fail(c_name, "it contains itself")
        if len(self._in_progress) == _MAX_DEPTH:
            raise self.fail(c_name, f"structs nest deeper than {_MAX_DEPTH} levels", "Nest fewer.")
        self._in_progress.append(resolved)
        if self._count(resolved) > _MAX_PARTS:
            raise self.fail(c_name, "it has too many members", f"The kernel takes {_MAX_PARTS}.")
        members = list(self._members(item, _Place(c_name, name, path), item.size, 0, item.is_union))
        self._in_progress.pop()
        ordered_members = self._in_order(members, c_name)
        made = RecordType(name, c_name, item.size, ordered_members, self.docs.types.get(name, ""), item.is_union)
        if self.pad and not item.is_union:
            made = _padded(made)
        return self._keep(self.records, made)

    def _count(self, resolved: int, depth: int = 0) -> int:
        """Return how many members a struct has with those of its anonymous ones, which a few bytes make billions."""
        item = self.btf[resolved]
        if not isinstance(item, btf.Struct) or depth > _MAX_DEPTH:
            return 1
        if resolved not in self._member_counts:
            inner = (
                1 if member.name else self._count(self.btf.resolve(member.type), depth + 1) for member in item.members
            )
            self._member_counts[resolved] = sum(inner)
        return self._member_counts[resolved]

    def _keep(self, table: dict[str, _Named], item: _Named) -> str:
        """Put a type into the table, and return the name it has there; another type of its name gets a number."""
        if item in self._kept:
            return self._kept[item]
        if len(self._kept) == _MAX_PARTS:
            raise self.fail(item.c_name, f"it is not among the first {_MAX_PARTS} types", "Generate from less.")
        self._counts[item.name] = number = self._counts.get(item.name, 0) + 1
        name = item.name if number == 1 else f"{item.name} {number}"
        table[name] = item if number == 1 else replace(item, name=name)
        self._kept[item] = name
        return name

    def _in_order(self, members: list[Member], c_name: str) -> tuple[Member, ...]:
        """Return members so that those which share no bytes stand in the order of their offsets."""
        starts = [member.span()[0] for member in members if not member.shared]
        if any(one > other for one, other in pairwise(starts)):
            members = sorted(members, key=lambda member: member.span()[0])
        end = 0
        for member in members:
            first, last = member.span()
            if not member.shared:
                if first < end:
                    raise self.fail(f"{c_name}, member {member.name!r}", f"it overlaps the one before byte {end // 8}")
                end = last
        return tuple(members)

    def _members(self, item: btf.Struct, place: _Place, size: int, base: int, shared: bool) -> Iterator[Member]:
        """Yield the members of a struct that begins *base* bits into a record of *size* bytes."""
        for number, member in enumerate(item.members):
            first = base + member.bit_offset
            where = f"{place.text}, member {member.name!r}"
            inner = self.btf[self.btf.resolve(member.type)]
            if not member.name:
                if isinstance(inner, btf.Struct) and not member.bits:
                    yield from self._promoted(inner, place, size, first, shared or inner.is_union)
                continue  # an unnamed bitfield is padding
            if isinstance(inner, btf.Void):
                kind: ValueType = self._atomic(self._room(item, number), where)
            else:
                own = _Place(where, f"{place.name}_{member.name}", f"{place.path}.{member.name}")
                kind = self._value(member.type, own)
            if member.bits or first % 8 or (isinstance(inner, btf.Int) and inner.bits < 8 * inner.size):
                kind = self._bits(kind, member, inner, first, where)
            elif not shared and _is_padding(member.name) and isinstance(kind, ArrayOf | Scalar | Text):
                kind = Padding(kind.size, kind.c_type)
            doc = self.docs.members.get((place.name, member.name), "")
            made = Member(member.name, first // 8, kind, doc, self.tags(item, number), shared)
            if isinstance(kind, Bits):
                made = replace(made, offset=kind.first // 8)
            end = -(-made.span()[1] // 8)
            if end > size:
                raise self.fail(where, f"it ends at byte {end} of {size}")
            yield made

    def tags(self, item: btf.Struct | btf.Var, number: int = -1) -> tuple[str, ...]:
        """Return the declaration tags of a variable, or of a member by its number, and of the typedefs of its type."""
        if not self._tags:
            return ()
        found = list(self._tags.get((id(item), number), ()))
        type_id = item.type if isinstance(item, btf.Var) else item.members[number].type
        for _ in range(_MAX_DEPTH):
            described = self.btf[type_id]
            if not isinstance(described, btf.Modifier | btf.Typedef):
                break
            found += self._tags.get((id(described), -1), ())
            type_id = described.target
        return tuple(sorted(set(found)))

    def _promoted(self, inner: btf.Struct, place: _Place, size: int, first: int, shared: bool) -> Iterator[Member]:
        if len(self._in_progress) == _MAX_DEPTH:
            raise self.fail(place.text, f"structs nest deeper than {_MAX_DEPTH} levels", "Nest fewer.")
        self._in_progress.append(-1)
        yield from self._members(inner, place, size, first, shared)
        self._in_progress.pop()

    @staticmethod
    def _room(item: btf.Struct, number: int) -> int:
        """Return the bytes up to the next member, or to the end."""
        start = item.members[number].bit_offset
        later = [member.bit_offset for member in item.members if member.bit_offset > start]
        return (min(later, default=8 * item.size) - start) // 8

    def _atomic(self, room: int, where: str) -> ValueType:
        """Return the type of what BTF gives none, as clang does for _Atomic: an integer of its size."""
        if room <= 0:
            raise self.fail(where, "this type has no Python form", "Use a sized type.")
        size = next((size for size in (16, 8, 4, 2, 1) if size <= room), 1)
        return Scalar(f"u{8 * size}", size, f"_Atomic, {size} bytes")

    def atomic(self, size: int, where: str) -> ValueType:
        """Return the type of a variable of *size* bytes that BTF gives none."""
        return self._atomic(size, where) if size in (1, 2, 4, 8, 16) else Opaque(size, f"_Atomic, {size} bytes")

    def _bits(self, kind: ValueType, member: btf.Member, inner: btf.BtfType, first: int, where: str) -> Bits:
        width = member.bits
        if not width and isinstance(inner, btf.Int):  # as compilers wrote them before there was a flag
            first, width = first + inner.bit_offset, inner.bits
        width = width or 8 * kind.size
        if not isinstance(kind, Scalar | EnumRef) or kind.size > 16 or not 0 < width <= 8 * kind.size:
            raise self.fail(where, f"{width} bits at bit {first} are no bitfield of {kind.c_type}")
        size = (first % 8 + width + 7) // 8
        return Bits(kind, first, width, size, f"{kind.c_type}:{width}")

    def _typedef(self, type_id: int) -> str:
        """Return the innermost typedef, which names a type without a tag."""
        name = ""
        for _ in range(_MAX_DEPTH):
            item = self.btf[self.btf.strip(type_id)]
            if not isinstance(item, btf.Typedef):
                break
            name, type_id = item.name, item.target
        return name

    def spell(self, type_id: int, bounds: str = "", depth: int = 0) -> str:
        """Return the type as C spells it, for documentation; *bounds* are those of the arrays around it."""
        if depth > _MAX_DEPTH:
            raise BtfError(f"{self.source}: type {type_id}: its pointers and arrays form a cycle. {btf.ATOMIC_ARRAYS}")
        item = self.btf[self.btf.strip(type_id)]
        match item:
            case btf.Array():
                return self.spell(item.element, f"{bounds}[{item.length or ''}]", depth + 1)
            case btf.Ptr():
                target = self.btf[self.btf.strip(item.target)]
                if isinstance(target, btf.FuncProto) and not depth:
                    text = self._prototype(target)
                else:
                    text = f"{self.spell(item.target, depth=depth + 1) or 'void'} *"
            case btf.Struct():
                text = f"{'union' if item.is_union else 'struct'} {item.name}".strip()
            case btf.Fwd():
                text = f"{'union' if item.is_union else 'struct'} {item.name}"
            case btf.Enum():
                text = f"enum {item.name}".strip()
            case btf.Int() | btf.Float() | btf.Typedef():
                text = item.name
            case btf.FuncProto():
                text = "function"
            case _:
                text = ""
        return text + bounds

    def _prototype(self, item: btf.FuncProto) -> str:
        """Return the type of a pointer to functions; one that is too long only says what it is."""
        text = ""
        for name, parameter in item.parameters[:_MAX_DEPTH]:
            spelled = self.spell(parameter, depth=1) if parameter or name else "..."
            text += f"{', ' if text else ''}{spelled}"
            if len(text) > _MAX_SPELLING:
                return "function *"
        return f"{self.spell(item.returns, depth=1) or 'void'} (*)({text or 'void'})"


def _is_padding(name: str) -> bool:
    return name.strip("_").rstrip("0123456789") == "pad"


def holes(record: RecordType) -> Iterator[tuple[int, int, str]]:
    """Yield the bits that belong to no member: the first, the one behind the last, the member that follows."""
    end = 0
    for first, last, name in sorted((*member.span(), member.name) for member in record.members):
        if first > end:
            yield end, first, name
        end = max(end, last)
    if end < 8 * record.size:
        yield end, 8 * record.size, ""


def _padded(record: RecordType) -> RecordType:
    """Return a record whose whole bytes of implicit padding have names."""
    gaps = [(-(-first // 8), last // 8) for first, last, _ in holes(record)]
    gaps = [(start, end) for start, end in gaps if start < end]
    if not gaps:
        return record
    members: list[Member] = []
    number = 0
    for member in record.members:
        while gaps and gaps[0][1] <= member.offset:
            start, end = gaps.pop(0)
            members.append(Member(f"_pad{number}", start, Padding(end - start, "padding"), ""))
            number += 1
        members.append(member)
    for start, end in gaps:
        members.append(Member(f"_pad{number}", start, Padding(end - start, "padding"), ""))
        number += 1
    return replace(record, members=tuple(members))


def ordered(records: dict[str, RecordType]) -> Iterator[RecordType]:
    """Yield records by name, but each after those it holds."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[RecordType]:
        if name in done:
            return
        done.add(name)
        for member in records[name].members:
            inner: ValueType = member.type
            while isinstance(inner, ArrayOf):
                inner = inner.element
            if isinstance(inner, RecordRef):
                yield from visit(inner.name)
        yield records[name]

    for name in sorted(records):
        yield from visit(name)
