# SPDX-License-Identifier: Apache-2.0
"""What a change of an object breaks for those who read its maps, events and variables.

A change breaks when code written against the old object is wrong with the new one: a member that moved, a map of other
sizes, an enumerator with another value, a program that is gone. New things break nothing. Variables are found by name
when the object is opened, so where they stand in their section does not matter, their type does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from . import btf, definitions, shapes
from .elf import Elf

__all__ = ["Change", "compare", "text"]

_SECTIONS: Final = (".rodata", ".data", ".bss")
# Flags and bounds of a map that say nothing about its bytes.
_HARMLESS: Final = ("map_flags", "map_extra", "max_entries", "numa_node")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: what it is about, as in `map 'flows'`, and what changed, in words."""

    breaking: bool
    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class _Record:
    keyword: str
    size: int
    leaves: tuple[shapes.Leaf, ...]


@dataclass(frozen=True, slots=True)
class _Value:
    """A key or value or variable: its bytes, what they mean, and how C spells that."""

    size: int
    shape: str
    c_type: str


@dataclass(frozen=True, slots=True)
class _Face:
    """What others see of an object, by name."""

    byte_order: str
    maps: dict[str, definitions.MapDefinition]
    values: dict[tuple[str, str], _Value | None]
    programs: dict[str, definitions.ProgramDefinition]
    streams: dict[str, set[str]]
    variables: dict[str, tuple[str, _Value]]
    records: dict[str, _Record]
    enums: dict[str, btf.Enum]


def compare(old: Elf, new: Elf) -> tuple[Change, ...]:
    """Return the differences between two objects' public faces, the breaking ones first.

    Raises:
        BtfError: The type information of one of them contradicts itself.
    """
    before, after = _face(old), _face(new)
    changes = [
        *_byte_orders(before, after),
        *_maps(before, after),
        *_programs(before, after),
        *_variables(before, after),
        *_records(before, after),
        *_enums(before, after),
    ]
    return tuple(sorted(changes, key=lambda change: not change.breaking))


def _face(elf: Elf) -> _Face:
    types = elf.btf
    roots: list[int] = []
    values: dict[tuple[str, str], _Value | None] = {}
    maps: dict[str, definitions.MapDefinition] = {}
    waiting = list(definitions.maps(elf))[::-1]
    while waiting:
        item = waiting.pop()
        maps[item.name] = item
        if item.inner:
            waiting.append(item.inner)
        for part, type_id in (("key", item.key), ("value", item.value)):
            size = item.size_of(types, part)
            values[item.name, part] = _value(types, type_id, size) if size else None
            roots += [type_id] if type_id is not None else []
    streams: dict[str, set[str]] = {}
    for name, found_records in definitions.records(elf).items():
        streams[name] = {shapes.shape(types, type_id) for type_id in found_records}
        roots += found_records
    variables: dict[str, tuple[str, _Value]] = {}
    for variable in definitions.variables(elf):
        if variable.linkage == "static":
            continue
        if variable.section.startswith(_SECTIONS):
            variables[variable.name] = (variable.section, _value(types, variable.type, variable.size))
            roots.append(variable.type)
    records: dict[str, _Record] = {}
    enums: dict[str, btf.Enum] = {}
    names = {type_id: name for name, type_id in shapes.named(types)}
    for type_id in shapes.reachable(types, roots):
        found = types[type_id]
        name = names.get(type_id, "")
        if isinstance(found, btf.Struct) and name:
            keyword = "union" if found.is_union else "struct"
            records[_unique(name, records)] = _Record(keyword, found.size, shapes.leaves(types, found))
        elif isinstance(found, btf.Enum) and name:
            enums[_unique(name, enums)] = found
    programs = {item.name: item for item in definitions.programs(elf)}
    return _Face(elf.byte_order, maps, values, programs, streams, variables, records, enums)


def _unique(name: str, taken: Mapping[str, object]) -> str:
    """Return a name for one more type of this name, as objects that were linked together have."""
    number, unique = 2, name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def _value(types: btf.Btf, type_id: int | None, size: int) -> _Value:
    if not type_id:
        return _Value(size, f"u8[{size}]", f"{size} bytes")
    return _Value(size, shapes.shape(types, type_id), shapes.spell(types, type_id))


def _byte_orders(old: _Face, new: _Face) -> Iterator[Change]:
    if old.byte_order != new.byte_order:
        yield Change(True, "object", f"its byte order was {old.byte_order}-endian, now {new.byte_order}-endian")


def _maps(old: _Face, new: _Face) -> Iterator[Change]:
    for name in _both(old.maps, new.maps):
        subject = f"map {name!r}"
        if name not in new.maps:
            yield Change(True, subject, "it is gone")
            continue
        if name not in old.maps:
            yield Change(False, subject, "it is new")
            continue
        before, after = old.maps[name], new.maps[name]
        if before.type != after.type:
            yield Change(True, subject, f"its type was {before.type}, now {after.type}")
        for part in ("key", "value"):
            yield from _values(subject, f"{part} ", old.values[name, part], new.values[name, part])
        yield from _streams(subject, old.streams.get(name, set()), new.streams.get(name, set()))
        for number in _HARMLESS:
            first, second = before.numbers.get(number, 0), after.numbers.get(number, 0)
            if first != second:
                yield Change(False, subject, f"its {number} was {first}, now {second}")
        first, second = before.numbers.get("pinning", 0), after.numbers.get("pinning", 0)
        if first != second:
            yield Change(first == 1, subject, "it is no longer pinned by name" if first else "it is pinned by name")


def _values(subject: str, part: str, old: _Value | None, new: _Value | None) -> Iterator[Change]:
    if old is None or new is None:
        if old is not new:
            yield Change(True, subject, f"its {part}{'is gone' if new is None else 'is new'}")
    elif old.size != new.size:
        yield Change(True, subject, f"its {part}size was {old.size} ({old.c_type}), now {new.size} ({new.c_type})")
    elif old.shape != new.shape:
        yield Change(True, subject, f"its {part}type was {old.c_type}, now {new.c_type}")


def _streams(subject: str, old: set[str], new: set[str]) -> Iterator[Change]:
    """Compare the types of records; a reader that knows one type takes another one for it."""
    if old != new:
        words = (" or ".join(sorted(names)) or "without a type" for names in (old, new))
        yield Change(bool(old), subject, "its records were {}, now {}".format(*words))


def _programs(old: _Face, new: _Face) -> Iterator[Change]:
    for name in _both(old.programs, new.programs):
        subject = f"program {name!r}"
        if name not in new.programs:
            yield Change(True, subject, "it is gone")
            continue
        if name not in old.programs:
            yield Change(False, subject, "it is new")
            continue
        before, after = old.programs[name], new.programs[name]
        if before.section != after.section:
            kinds = before.section.partition("/")[0], after.section.partition("/")[0]
            yield Change(kinds[0] != kinds[1], subject, f"its section was {before.section}, now {after.section}")
        yield from _streams(subject, old.streams.get(name, set()), new.streams.get(name, set()))
        if before.autoload != after.autoload:
            word = "now" if after.autoload else "no longer"
            yield Change(before.autoload, subject, f"it is {word} loaded by default")


def _variables(old: _Face, new: _Face) -> Iterator[Change]:
    for name in _both(old.variables, new.variables):
        subject = f"variable {name!r}"
        if name not in new.variables:
            yield Change(True, subject, "it is gone")
            continue
        if name not in old.variables:
            yield Change(False, subject, "it is new")
            continue
        (first, before), (second, after) = old.variables[name], new.variables[name]
        if first != second:
            yield Change(True, subject, f"its section was {first}, now {second}")
        yield from _values(subject, "", before, after)


def _records(old: _Face, new: _Face) -> Iterator[Change]:
    for name in _both(old.records, new.records):
        if name not in new.records:
            yield Change(True, f"{old.records[name].keyword} {name}", "it is gone")
            continue
        subject = f"{new.records[name].keyword} {name}"
        if name not in old.records:
            yield Change(False, subject, "it is new")
            continue
        before, after = old.records[name], new.records[name]
        if before.keyword != after.keyword:
            yield Change(True, subject, f"it was a {before.keyword}")
        if before.size != after.size:
            yield Change(True, subject, f"its size was {before.size}, now {after.size}")
        yield from _members(subject, before, after)


def _members(subject: str, old: _Record, new: _Record) -> Iterator[Change]:
    before = {leaf.name: leaf for leaf in old.leaves}
    after = {leaf.name: leaf for leaf in new.leaves}
    for name in _both(before, after):
        member = f"{subject}, member {name!r}"
        if name not in after:
            first = before[name]
            same = [leaf.name for leaf in new.leaves if _place(leaf) == _place(first) and leaf.name not in before]
            yield Change(True, member, f"it is gone; {same[0]!r} stands in its place" if same else "it is gone")
        elif name not in before:
            yield Change(False, member, f"it is new, at offset {_offset(after[name])}")
        else:
            first, second = before[name], after[name]
            if first.bit_offset != second.bit_offset:
                yield Change(True, member, f"its offset was {_offset(first)}, now {_offset(second)}")
            if first.bits != second.bits:
                yield Change(True, member, f"its width was {_width(first)}, now {_width(second)}")
            if first.size != second.size and not first.bits:
                what = f"its size was {first.size} ({first.c_type}), now {second.size} ({second.c_type})"
                yield Change(True, member, what)
            elif first.shape != second.shape:
                yield Change(True, member, f"its type was {first.c_type}, now {second.c_type}")


def _place(leaf: shapes.Leaf) -> tuple[int, int, str]:
    return leaf.bit_offset, leaf.bits, leaf.shape


def _offset(leaf: shapes.Leaf) -> str:
    byte, bit = divmod(leaf.bit_offset, 8)
    return f"{byte}, bit {bit}" if leaf.bits else str(byte)


def _width(leaf: shapes.Leaf) -> str:
    return f"{leaf.bits} bits" if leaf.bits else f"{leaf.size} bytes"


def _enums(old: _Face, new: _Face) -> Iterator[Change]:
    for name in _both(old.enums, new.enums):
        subject = f"enum {name}"
        if name not in new.enums:
            yield Change(True, subject, "it is gone")
            continue
        if name not in old.enums:
            yield Change(False, subject, "it is new")
            continue
        before, after = old.enums[name], new.enums[name]
        if before.size != after.size:
            yield Change(True, subject, f"its size was {before.size}, now {after.size}")
        first, second = dict(before.values), dict(after.values)
        for enumerator in _both(first, second):
            place = f"{subject}, enumerator {enumerator}"
            if enumerator not in second:
                yield Change(True, place, f"it is gone; it was {first[enumerator]}")
            elif enumerator not in first:
                yield Change(False, place, f"it is new: {second[enumerator]}")
            elif first[enumerator] != second[enumerator]:
                yield Change(True, place, f"its value was {first[enumerator]}, now {second[enumerator]}")


def _both(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the names of both, the old ones in their order, then the new ones."""
    return list({**old, **new})


def text(changes: tuple[Change, ...]) -> str:
    """Return changes for people: a line each, marked where it breaks, and a line that sums up."""
    lines = [f"{'BREAKS' if change.breaking else 'fine  '}  {change.subject}: {change.what}" for change in changes]
    breaking = sum(change.breaking for change in changes)
    if not changes:
        lines.append("nothing changed that others see")
    else:
        lines.append(f"{len(changes)} {'change' if len(changes) == 1 else 'changes'}, {breaking} breaking")
    return "\n".join(lines) + "\n"
