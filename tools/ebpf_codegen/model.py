# SPDX-License-Identifier: Apache-2.0
"""What a BPF object offers, as frozen records in output order.

`build(elf, documentation)` is a pure function: the same object gives the same model, whichever compiler wrote it.
Names are still C names; `render` turns them into Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from . import btf
from .binding import BINDINGS, target
from .elf import Elf, Symbol
from .errors import BtfError, ElfError, UnsupportedError
from .names import count
from .source import Documentation
from .streams import STREAMS, Alike, OneOf, WrongKindError, one_of

__all__ = [
    "ArrayOf",
    "EnumRef",
    "EnumType",
    "Map",
    "Member",
    "ObjectModel",
    "Options",
    "Padding",
    "Program",
    "RecordRef",
    "RecordType",
    "Scalar",
    "SectionModel",
    "Text",
    "ValueType",
    "build",
    "refuse_holes",
]

_VARIANT_TAG: Final = "variant:"
_DATA_SECTIONS: Final = (".rodata", ".data", ".bss")
# Sections that are no variables of the program, or whose variables the compiler made; the extern ones of `.ksyms` and
# `.kconfig` are refused, extern functions are not.
_OTHER_SECTIONS: Final = re.compile(
    r"\.maps|license|version|\.ringbuf_record|\.iter_record|\.rodata\.(str|cst)\d.*|\.(rodata|data|bss)"
)
_REMEDIES: Final = {
    ".kconfig": "Declare it const volatile and set it before load.",
    ".ksyms": "Pass its address in a const volatile variable, or use a kfunc.",
}
_MAX_DEPTH: Final = 64  # of pointers and arrays, and of structs in structs

# enum bpf_map_type of include/uapi/linux/bpf.h.
_MAP_TYPES: Final = (
    "UNSPEC", "HASH", "ARRAY", "PROG_ARRAY", "PERF_EVENT_ARRAY", "PERCPU_HASH", "PERCPU_ARRAY", "STACK_TRACE",
    "CGROUP_ARRAY", "LRU_HASH", "LRU_PERCPU_HASH", "LPM_TRIE", "ARRAY_OF_MAPS", "HASH_OF_MAPS", "DEVMAP", "SOCKMAP",
    "CPUMAP", "XSKMAP", "SOCKHASH", "CGROUP_STORAGE", "REUSEPORT_SOCKARRAY", "PERCPU_CGROUP_STORAGE", "QUEUE",
    "STACK", "SK_STORAGE", "DEVMAP_HASH", "STRUCT_OPS", "RINGBUF", "INODE_STORAGE", "TASK_STORAGE",
    "BLOOM_FILTER", "USER_RINGBUF", "CGRP_STORAGE", "ARENA", "INSN_ARRAY",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number: *kind* is u8 … u128, s8 … s128, f32, f64, boolean or pointer."""

    kind: str
    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class EnumRef:
    """A value of the enum with this C name."""

    name: str
    size: int
    c_type: str


@dataclass(frozen=True, slots=True)
class RecordRef:
    """A struct with this C name."""

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
class ArrayOf:
    """*count* elements in a row."""

    element: ValueType
    count: int
    size: int
    c_type: str


ValueType = Scalar | EnumRef | RecordRef | Text | Padding | ArrayOf | OneOf


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a record or one variable of a section; *tags* are its declaration tags, in order of their text."""

    name: str
    offset: int
    type: ValueType
    doc: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnumType:
    """An enum with (enumerator, value, documentation) in order of declaration."""

    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int, str], ...]
    doc: str


@dataclass(frozen=True, slots=True)
class RecordType:
    """A struct, its members in layout order."""

    name: str
    c_name: str
    size: int
    members: tuple[Member, ...]
    doc: str


@dataclass(frozen=True, slots=True)
class Map:
    """A map; key and value are None where it has none, *value* is the record for a ring buffer."""

    name: str
    type: str
    key: ValueType | None
    value: ValueType | None
    max_entries: int
    doc: str


@dataclass(frozen=True, slots=True)
class Program:
    """A program: *section* without the `?`, *variants* it belongs to (none: it always loads), *row* of an iterator."""

    name: str
    section: str
    autoload: bool
    variants: tuple[str, ...]
    row: ValueType | None
    doc: str


@dataclass(frozen=True, slots=True)
class SectionModel:
    """A data section with its global variables."""

    name: str
    size: int
    variables: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class ObjectModel:
    """Everything that a bindings module shows of one object."""

    name: str
    byte_order: str
    doc: str
    enums: tuple[EnumType, ...]
    records: tuple[RecordType, ...]
    maps: tuple[Map, ...]
    programs: tuple[Program, ...]
    sections: tuple[SectionModel, ...]
    variants: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What the user adds to what the object says.

    Attributes:
        records: Ring or perf buffer -> name of the struct that its events are.
        all_types: Whether every named struct and union is emitted, reachable or not.
    """

    records: Mapping[str, str] = field(default_factory=dict)
    all_types: bool = False


def build(elf: Elf, name: str, documentation: Documentation, options: Options | None = None) -> ObjectModel:
    """Return the model of one object.

    Args:
        elf: The object as read.
        name: The object's name, its file stem.
        documentation: Comments of its source.
        options: What the user adds; nothing by default.
    Raises:
        UnsupportedError: A type on the object's public face has no Python form; names type and member.
        ElfError: Symbols, sections and BTF contradict each other.
    """
    return _Builder(elf, name, documentation, options or Options()).build()


def refuse_holes(model: ObjectModel) -> None:
    """Refuse implicit padding in records, whose bytes would leak or make equal keys unequal.

    Raises:
        UnsupportedError: Names the record, where its hole is, and the remedy.
    """
    for record in model.records:
        end = 0
        for member in record.members:
            if member.offset > end:
                raise _hole(record, end, member.offset - end, f"before member {member.name!r}")
            end = max(end, member.offset + member.type.size)
        if end < record.size:
            raise _hole(record, end, record.size - end, "at its end")


def _hole(record: RecordType, offset: int, size: int, where: str) -> UnsupportedError:
    return UnsupportedError(
        f"{record.c_name}: {count(size, 'byte')} of implicit padding at offset {offset}, {where}. "
        f"Order members by size or add `__u8 pad0[{size}];` and zero it."
    )


class _Builder:
    def __init__(self, elf: Elf, name: str, documentation: Documentation, options: Options) -> None:
        self.elf = elf
        self.btf = elf.btf
        self.name = name
        self.docs = documentation
        self.options = options
        self.enums: dict[str, EnumType] = {}
        self.records: dict[str, RecordType] = {}
        self.in_progress: list[str] = []
        self.structs: dict[str, btf.Struct] = {}
        self.symbols = {symbol.name: symbol for symbol in elf.symbols}
        self.warnings: list[str] = []
        self.tags: dict[tuple[int, int], list[str]] = {}
        for item in self.btf.types:
            if isinstance(item, btf.DeclTag):
                self.tags.setdefault((id(self.btf[item.target]), item.component), []).append(item.text)

    def fail(self, where: str, reason: str, remedy: str) -> UnsupportedError:
        return UnsupportedError(f"{self.elf.source}: {where}: {reason}. {remedy}")

    def build(self) -> ObjectModel:
        for section in self.elf.sections:
            if section.name == "maps" or section.name.startswith("maps/"):
                where = f"section {section.name!r}"
                raise self.fail(where, "legacy map definitions", 'Define maps in SEC(".maps") with BTF.')
        self.refuse_sections()
        maps = tuple(self.maps())
        sections = tuple(self.sections())
        programs = tuple(self.programs())
        variants = {variant for program in programs for variant in program.variants}
        return ObjectModel(
            name=self.name,
            byte_order=self.elf.byte_order,
            doc=self.docs.file,
            enums=tuple(sorted(self.enums.values(), key=lambda item: item.name)),
            records=tuple(self.ordered_records()),
            maps=maps,
            programs=programs,
            sections=sections,
            variants=self.ranked(variants),
            warnings=tuple(self.warnings),
        )

    def refuse_sections(self) -> None:
        """Refuse public variables of sections that the bindings would leave out; static and hidden ones are private."""
        for section in self.btf.types:
            if not isinstance(section, btf.Datasec) or _OTHER_SECTIONS.fullmatch(section.name):
                continue
            for variable in section.variables:
                var = self.btf[variable.var]
                if not isinstance(var, btf.Var) or (var.linkage != 2 and not self.is_public(var)):
                    continue
                where = f"{section.name}, variable {var.name!r}"
                remedy = _REMEDIES.get(section.name, f'Leave out its SEC("{section.name}").')
                raise self.fail(where, "variables of this section have no Python form yet", remedy)

    def is_public(self, var: btf.Var) -> bool:
        return var.linkage == 1 and self.symbol(var.name).is_global

    def ordered_records(self) -> Iterator[RecordType]:
        """Yield records by name, but each after those it holds."""
        done: set[str] = set()

        def visit(name: str) -> Iterator[RecordType]:
            if name in done:
                return
            done.add(name)
            for member in self.records[name].members:
                inner: ValueType = member.type
                while isinstance(inner, ArrayOf):
                    inner = inner.element
                if isinstance(inner, RecordRef):
                    yield from visit(inner.name)
            yield self.records[name]

        for name in sorted(self.records):
            yield from visit(name)

    # Types

    def value(self, type_id: int, where: str) -> ValueType:
        """Return the value type of a BTF type, noting the records and enums it needs."""
        resolved = self.btf.resolve(type_id)
        item = self.btf[resolved]
        c_type = self.spell(type_id)
        match item:
            case btf.Int() if item.is_bool:
                return Scalar("boolean", item.size, c_type)
            case btf.Int() if item.size in (1, 2, 4, 8, 16) and item.bits == 8 * item.size:
                return Scalar(f"{'s' if item.signed else 'u'}{8 * item.size}", item.size, c_type)
            case btf.Float() if item.size in (4, 8):
                return Scalar(f"f{8 * item.size}", item.size, c_type)
            case btf.Ptr():
                return Scalar("pointer", 8, c_type)
            case btf.Enum() if item.name:
                self.note_enum(item)
                return EnumRef(item.name, item.size, c_type)
            case btf.Enum():
                return Scalar(f"{'s' if item.signed else 'u'}{8 * item.size}", item.size, c_type)
            case btf.Array():
                return self.array(item, c_type, where)
            case btf.Struct() if not item.is_union:
                name = item.name or self.typedef_name(type_id)
                if not name:
                    raise self.fail(where, "an anonymous struct has no Python form yet", "Give it a tag.")
                self.note_record(name, f"struct {item.name}" if item.name else name, item)
                return RecordRef(name, item.size, c_type)
            case btf.Struct():
                raise self.fail(where, f"{c_type} has no Python form yet", "Use a struct with one member each.")
            case _:
                raise self.fail(where, f"{c_type or 'this type'} has no Python form", "Use a sized type.")

    def array(self, item: btf.Array, c_type: str, where: str) -> ValueType:
        if item.count == 0:
            raise self.fail(where, "a flexible array has no Python form yet", "Give it a length.")
        size = self.btf.size(item.element) * item.count
        element = self.btf[self.btf.resolve(item.element)]
        if isinstance(element, btf.Int) and element.name == "char" and element.size == 1:
            return Text(size, c_type)
        return ArrayOf(self.value(item.element, where), item.count, size, c_type)

    def note_enum(self, item: btf.Enum) -> None:
        self.enums.setdefault(
            item.name,
            EnumType(
                item.name,
                item.size,
                item.signed,
                tuple((n, v, self.docs.members.get((item.name, n), "")) for n, v in item.values),
                self.docs.types.get(item.name, ""),
            ),
        )

    def note_record(self, name: str, c_name: str, item: btf.Struct) -> None:
        if self.structs.setdefault(name, item) != item:
            raise self.fail(c_name, "two types have this name", "Rename one of them.")
        if name in self.records:
            return
        if name in self.in_progress:
            raise self.fail(c_name, "it contains itself", "The BTF is damaged.")
        if len(self.in_progress) == _MAX_DEPTH:
            raise self.fail(c_name, f"structs nest deeper than {_MAX_DEPTH} levels", "Nest fewer.")
        self.in_progress.append(name)
        members = tuple(self.members(name, c_name, item))
        self.in_progress.pop()
        self.records[name] = RecordType(name, c_name, item.size, members, self.docs.types.get(name, ""))

    def members(self, name: str, c_name: str, item: btf.Struct) -> Iterator[Member]:
        for index, member in enumerate(item.members):
            where = f"{c_name}, member {member.name!r}"
            if member.bits or member.bit_offset % 8:
                raise self.fail(where, "bitfields have no Python form yet", "Use a whole integer and mask it.")
            if not member.name:
                raise self.fail(where, "anonymous members have no Python form yet", "Give it a name.")
            kind = self.value(member.type, where)
            offset = member.bit_offset // 8
            if offset + kind.size > item.size:
                raise self.fail(where, f"it ends at byte {offset + kind.size} of {item.size}", "The BTF is damaged.")
            stem = member.name.strip("_").rstrip("0123456789")
            if stem == "pad" and isinstance(kind, ArrayOf | Scalar | Text):
                kind = Padding(kind.size, kind.c_type)
            tags = self.member_tags(item, index)
            yield Member(member.name, offset, kind, self.docs.members.get((name, member.name), ""), tags)

    def member_tags(self, item: btf.Struct, index: int) -> tuple[str, ...]:
        """Return the declaration tags of a member and of the typedefs it is declared with."""
        found = list(self.tags.get((id(item), index), ()))
        type_id = item.members[index].type
        for _ in range(_MAX_DEPTH):
            described = self.btf[type_id]
            if not isinstance(described, btf.Modifier | btf.Typedef):
                break
            found += self.tags.get((id(described), -1), ())
            type_id = described.target
        return tuple(sorted(set(found)))

    def typedef_name(self, type_id: int) -> str:
        item = self.btf[self.btf.strip(type_id)]
        return item.name if isinstance(item, btf.Typedef) else ""

    def spell(self, type_id: int, bounds: str = "", depth: int = 0) -> str:
        """Return the type as C spells it, for documentation; *bounds* are those of the arrays around it."""
        if depth > _MAX_DEPTH:
            raise BtfError(f"{self.elf.source}: type {type_id}: its pointers and arrays form a cycle.")
        item = self.btf[self.btf.strip(type_id)]
        match item:
            case btf.Array():
                return self.spell(item.element, f"{bounds}[{item.count}]", depth + 1)
            case btf.Ptr():
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

    # Maps

    def maps(self) -> Iterator[Map]:
        section = self.datasec(".maps")
        found = {}
        for variable in section.variables if section else ():
            var = self.btf[variable.var]
            if isinstance(var, btf.Var):
                found[var.name] = (self.symbol(var.name).offset, var)
        records = self.bindings(".ringbuf_record", list(found))
        for _, var in sorted(found.values(), key=lambda pair: pair[0]):
            yield self.map(var, records.pop(var.name, []))
        for name in records:
            raise self.fail(f"RINGBUF_RECORD({name}, …)", "there is no map of this name", "Name a map of this object.")

    def bindings(self, section_name: str, known: Sequence[str]) -> dict[str, list[tuple[int, bool]]]:
        """Return the type ids that are bound to maps or programs, and whether they were inferred."""
        section = self.datasec(section_name)
        found: dict[str, list[tuple[int, bool]]] = {}
        variables = [self.btf[variable.var] for variable in (section.variables if section else ())]
        named = [item for item in variables if isinstance(item, btf.Var)]
        for var in sorted(named, key=lambda item: self.symbol(item.name).offset):
            name, inferred = target(section_name, var.name, known)
            if not name:
                continue
            pointer = self.btf[self.btf.resolve(var.type)]
            if not isinstance(pointer, btf.Ptr):
                use = f"Use {BINDINGS[section_name]}(name, type)."
                raise self.fail(f"{section_name}, {var.name}", "it is no pointer", use)
            found.setdefault(name, []).append((pointer.target, inferred))
        return found

    def stream(self, name: str, map_type: str, records: Sequence[tuple[int, bool]]) -> ValueType | None:
        """Return what one record of a stream is; None if that cannot be told."""
        where = f"map {name!r}"
        kinds = [self.value(type_id, f"{where}, value") for type_id, _ in records]
        if len(kinds) < 2:
            return kinds[0] if kinds else None
        references = [kind for kind in kinds if isinstance(kind, RecordRef)]
        if len(references) < len(kinds):
            raise self.fail(where, "of several records each must be a struct", "Make structs of the others.")
        try:
            return one_of([(kind, self.records[kind.name]) for kind in references], self.enums, map_type)
        except WrongKindError as error:
            raise self.fail(where, str(error), "Correct KIND(…).") from error
        except Alike as error:
            remedy = "Begin each with the same enum member, and mark it with KIND(…)"
            if not records[0][1]:
                raise self.fail(where, str(error), f"{remedy}.") from error
            self.warnings.append(f"{self.elf.source}: {where}: its records stay bytes: {error}. {remedy}.")
            return None

    def map(self, var: btf.Var, records: Sequence[tuple[int, bool]]) -> Map:
        where = f"map {var.name!r}"
        definition = self.btf[self.btf.resolve(var.type)]
        if not isinstance(definition, btf.Struct):
            raise self.fail(where, "its definition is no struct", 'Define it as in SEC(".maps").')
        numbers: dict[str, int] = {}
        types: dict[str, int] = {}
        for member in definition.members:
            pointer = self.btf[self.btf.resolve(member.type)]
            if not isinstance(pointer, btf.Ptr):
                continue
            target = self.btf[self.btf.resolve(pointer.target)]
            if member.name in ("key", "value"):
                types[member.name] = pointer.target
            elif isinstance(target, btf.Array):
                numbers[member.name] = target.count
        kind = numbers.get("type", 0)
        if not 0 < kind < len(_MAP_TYPES):
            raise self.fail(where, f"map type {kind} is unknown", "Set __uint(type, BPF_MAP_TYPE_…).")
        map_type = _MAP_TYPES[kind]
        if records and map_type not in STREAMS:
            raise self.fail(where, f"a map of type {map_type} carries no records", "Use __type(value, …).")
        if (
            records
            and "value" in types
            and {self.btf.resolve(item) for item, _ in records} != {self.btf.resolve(types["value"])}
        ):
            raise self.fail(where, "its records and its __type(value, …) are of different types", "Keep one of them.")
        if records or map_type in STREAMS:
            bound = records or ([(types["value"], False)] if "value" in types and map_type == "RINGBUF" else [])
            value = self.stream(var.name, map_type, bound)
        elif "value" in types:
            value = self.value(types["value"], f"{where}, value")
        else:
            value = self.sized(numbers.get("value_size", 0))
        return Map(
            var.name,
            map_type,
            self.value(types["key"], f"{where}, key") if "key" in types else self.sized(numbers.get("key_size", 0)),
            value,
            numbers.get("max_entries", 0),
            self.docs.variables.get(var.name, ""),
        )

    @staticmethod
    def sized(size: int) -> ValueType | None:
        """Return bytes for a key or value of which only the size is known."""
        return ArrayOf(Scalar("u8", 1, "__u8"), size, size, f"__u8[{size}]") if size else None

    # Variables

    def sections(self) -> Iterator[SectionModel]:
        for name in _DATA_SECTIONS:
            section = self.datasec(name)
            index = self.elf.section(name)
            if section is None or index is None:
                continue
            variables = sorted(self.variables(section, name), key=lambda variable: variable.offset)
            if variables:
                yield SectionModel(name, self.elf.sections[index].size, tuple(variables))

    def variables(self, section: btf.Datasec, name: str) -> Iterator[Member]:
        for variable in section.variables:
            var = self.btf[variable.var]
            if isinstance(var, btf.Var) and self.is_public(var):
                kind = self.value(var.type, f"{name}, variable {var.name!r}")
                yield Member(var.name, self.symbol(var.name).offset, kind, self.docs.variables.get(var.name, ""))

    def symbol(self, name: str) -> Symbol:
        if name not in self.symbols:
            raise ElfError(f"read {self.elf.source}: BTF has a variable {name!r} that no symbol defines.")
        return self.symbols[name]

    def datasec(self, name: str) -> btf.Datasec | None:
        found = self.btf.find(btf.Datasec, name)
        item = self.btf[found] if found is not None else None
        return item if isinstance(item, btf.Datasec) else None

    # Programs

    def programs(self) -> Iterator[Program]:
        variants = self.variant_tags()
        functions = [s for s in self.elf.symbols if s.kind == "func" and 0 < s.section < len(self.elf.sections)]
        rows = self.bindings(".iter_record", [symbol.name for symbol in functions])
        for symbol in sorted(functions, key=lambda s: (s.section, s.offset)):
            section = self.elf.sections[symbol.section]
            if not section.executable or section.name == ".text" or not symbol.is_global:
                continue
            name = section.name.removeprefix("?")
            doc = self.docs.functions.get(symbol.name, "")
            row = self.row(symbol.name, name, rows.pop(symbol.name)) if symbol.name in rows else None
            yield Program(symbol.name, name, name == section.name, variants.get(symbol.name, ()), row, doc)
        for unknown in rows:
            raise self.fail(f"ITER_RECORD({unknown}, …)", "there is no program of this name", "Name a program.")

    def row(self, program: str, section: str, records: Sequence[tuple[int, bool]]) -> ValueType:
        if not section.startswith(("iter/", "iter.s/")):
            raise self.fail(f"ITER_RECORD({program}, …)", f"{section} is no iterator", 'Use SEC("iter/…").')
        if len(records) > 1:
            raise self.fail(f"program {program!r}", "its rows are of several types", "Bind one of them.")
        return self.value(records[0][0], f"program {program!r}, row")

    def variant_tags(self) -> dict[str, tuple[str, ...]]:
        """Return the variants of each program."""
        found: dict[str, list[str]] = {}
        for item in self.btf.types:
            if isinstance(item, btf.DeclTag) and item.component == -1 and item.text.startswith(_VARIANT_TAG):
                function = self.btf[item.target]
                if isinstance(function, btf.Func):
                    found.setdefault(function.name, []).append(item.text.removeprefix(_VARIANT_TAG))
        return {name: self.ranked(tags) for name, tags in found.items()}

    def ranked(self, variants: Iterable[str]) -> tuple[str, ...]:
        """Return variants best first: as the source mentions them, else by name; compilers order tags differently."""
        known = self.docs.variants
        return tuple(sorted(set(variants), key=lambda v: (known.index(v) if v in known else len(known), v)))
