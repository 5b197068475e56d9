# SPDX-License-Identifier: Apache-2.0
"""What a BPF object offers, as frozen records in output order.

`build(elf, documentation)` is a pure function: the same object gives the same model, whichever compiler wrote it.
Names are still C names; `render` turns them into Python.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from . import btf
from .constants import Constant
from .elf import Elf, Symbol
from .errors import ElfError, UnsupportedError
from .layouts import (
    ArrayOf,
    Bits,
    EnumRef,
    EnumType,
    Layouts,
    Member,
    Opaque,
    Padding,
    RecordRef,
    RecordType,
    Scalar,
    Text,
    ValueType,
    holes,
    ordered,
)
from .names import count
from .pointers import BINDINGS, target
from .runtime_names import MAP_TYPES
from .source import Documentation
from .streams import STREAMS, Alike, OneOf, WrongKindError, one_of

__all__ = [
    "ArrayOf",
    "Bits",
    "EnumRef",
    "EnumType",
    "KernelSymbol",
    "Map",
    "Member",
    "Metadata",
    "ObjectModel",
    "OneOf",
    "Opaque",
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
# Sections of variables that programs and user space share; libbpf makes a map of each.
_VARIABLES: Final = re.compile(r"\.(rodata|data|bss)(\..+)?|\.addr_space\.1")
_ORDER: Final = (".rodata", ".data", ".bss", ".addr_space.1", ".kconfig")
_STRUCT_OPS: Final = (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")
# Sections that BTF describes and that are no variables; those of the compiler's own constants have no names in BTF.
_OTHER_SECTIONS: Final = re.compile(
    r"\.maps|license|version|\.ringbuf_record|\.iter_record|\.rodata\.(str|cst)\d.*|\.ksyms|\.jumptables|\.BTF.*"
)
_MAX_CHAIN: Final = 64  # of modifiers, typedefs and arrays
_LIBBPFS_MAPS: Final = "__bpf_usdt_"  # of usdt.bpf.h, which libbpf fills and reads
_MAX_INNER: Final = 1  # libbpf takes maps in maps, and no maps in those


@dataclass(frozen=True, slots=True)
class Map:
    """A map; key and value are None where it has none, *value* is the record for ring and perf buffers.

    Attributes:
        flags: BPF_F_… of bpf(2).
        pinning: 1 for LIBBPF_PIN_BY_NAME.
        inner: What the maps in it are like, without a name.
        values: (index, map or program) that it holds from the start.
        initial: The kernel's structure that a struct_ops map is made from.
    """

    name: str
    type: str
    key: ValueType | None
    value: ValueType | None
    max_entries: int
    doc: str
    flags: int = 0
    map_extra: int = 0
    numa_node: int = 0
    pinning: int = 0
    inner: Map | None = None
    values: tuple[tuple[int, str], ...] = ()
    initial: ValueType | None = None


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
class Metadata:
    """A data section that no program reads: what it holds is for whoever loads the object."""

    section: SectionModel
    data: bytes


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """A variable of the kernel that programs use."""

    name: str
    c_type: str
    doc: str


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
    metadata: tuple[Metadata, ...] = ()
    kernel_symbols: tuple[KernelSymbol, ...] = ()
    warnings: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What the user adds to what the object says.

    Attributes:
        records: Ring or perf buffer -> names of the structs that its events are.
        all_types: Whether every named struct and union is emitted, reachable or not.
        foreign: Whether the object may be anybody's: implicit padding gets names instead of being refused later, and
            what could be better bound is warned of.
    """

    records: Mapping[str, Sequence[str]] = field(default_factory=dict)
    all_types: bool = False
    foreign: bool = False


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

    The kernel's own structures, which struct_ops maps are made from, may have it.

    Raises:
        UnsupportedError: Names the record, where its hole is, and the remedy.
    """
    kernels = _reached([item.initial for item in model.maps], {record.name: record for record in model.records})
    for record in model.records:
        for first, last, name in holes(record) if record.name not in kernels else ():
            where = f"before member {name!r}" if name else "at its end"
            if first % 8 or last % 8:
                raise UnsupportedError(
                    f"{record.c_name}: {count(last - first, 'bit')} of implicit padding at bit {first}, {where}. "
                    f"Add `__u32 pad0:{min(last - first, 32)};` and zero it."
                )
            size = (last - first) // 8
            raise UnsupportedError(
                f"{record.c_name}: {count(size, 'byte')} of implicit padding at offset {first // 8}, {where}. "
                f"Order members by size or add `__u8 pad0[{size}];` and zero it."
            )


def _reached(kinds: Iterable[ValueType | None], records: Mapping[str, RecordType]) -> set[str]:
    """Return the names of the records that values of these types are made of."""
    found: set[str] = set()
    pending = list(kinds)
    while pending:
        kind = pending.pop()
        while isinstance(kind, ArrayOf):
            kind = kind.element
        if isinstance(kind, RecordRef) and kind.name not in found:
            found.add(kind.name)
            pending += [member.type for member in records[kind.name].members]
    return found


class _Builder:
    def __init__(self, elf: Elf, name: str, documentation: Documentation, options: Options) -> None:
        self.elf = elf
        self.btf = elf.btf
        self.name = name
        self.docs = documentation
        self.options = options
        self.layouts = Layouts(elf.btf, elf.source, documentation, pad=options.foreign)
        self.datasecs = {item.name: item for _, item in elf.btf.of_kind(btf.Datasec)}
        # Static variables of several files may have the name of a global.
        self.symbols = {symbol.name: symbol for symbol in sorted(elf.symbols, key=lambda s: not s.is_local)}
        self.warnings: list[str] = []

    def fail(self, where: str, reason: str, remedy: str) -> UnsupportedError:
        return UnsupportedError(f"{self.elf.source}: {where}: {reason}. {remedy}")

    def build(self) -> ObjectModel:
        for section in self.elf.sections:
            if section.name == "maps" or section.name.startswith("maps/"):
                where = f"section {section.name!r}"
                raise self.fail(where, "legacy map definitions", 'Define maps in SEC(".maps") with BTF.')
        maps = tuple(self.maps())
        sections = tuple(self.sections())
        metadata = tuple(self.metadata())
        programs = tuple(self.programs())
        variants = {variant for program in programs for variant in program.variants}
        if self.options.all_types:
            self.layouts.all_named()
        return ObjectModel(
            name=self.name,
            byte_order=self.elf.byte_order,
            doc=self.docs.file,
            enums=tuple(sorted(self.layouts.enums.values(), key=lambda item: item.name)),
            records=tuple(ordered(self.layouts.records)),
            maps=maps,
            programs=programs,
            sections=sections,
            variants=self.ranked(variants),
            metadata=metadata,
            kernel_symbols=tuple(self.kernel_symbols()),
            warnings=tuple(self.warnings),
        )

    def is_public(self, var: btf.Var) -> bool:
        symbol = self.symbols.get(var.name)
        return var.linkage == 1 and (symbol is None or symbol.is_global)

    # Maps

    def maps(self) -> Iterator[Map]:
        section = self.datasecs.get(".maps")
        found = {}
        for variable in section.variables if section else ():
            var = self.btf[variable.var]
            if isinstance(var, btf.Var) and not var.name.startswith(_LIBBPFS_MAPS):
                found[var.name] = (self.place(var, variable, section).offset, var)
        records = self.bindings(".ringbuf_record", list(found))
        chosen = {name: [self.named_type(name, text) for text in texts] for name, texts in self.options.records.items()}
        slots = self.slots(found)
        untyped = []
        for _, var in sorted(found.values(), key=lambda pair: pair[0]):
            item = self.map(var, records.pop(var.name, []), chosen.pop(var.name, []), slots.get(var.name, []))
            if item.type in STREAMS and item.value is None:
                untyped.append(item.name)
            yield item
        for macro, names in (("RINGBUF_RECORD({}, …)", list(records)), ("--record {}=…", list(chosen))):
            for name in names:
                near = difflib.get_close_matches(name, found, 1)
                remedy = f"Did you mean {near[0]}?" if near else "Name a map of this object."
                raise self.fail(macro.format(name), "there is no map of this name", remedy)
        if untyped and self.options.foreign:
            named = " and ".join(untyped)
            self.warnings.append(
                f"{self.elf.source}: the events of {named} have no type and come as bytes. "
                f"Say --record {untyped[0]}=STRUCT, or RINGBUF_RECORD({untyped[0]}, struct …) in the source."
            )
        yield from self.struct_ops()

    def named_type(self, map_name: str, text: str) -> int:
        """Return the id of the struct that the user has named for a map's events."""
        wanted = text.removeprefix("struct ").removeprefix("union ").strip()
        found = self.btf.find(btf.Struct, wanted) or self.btf.find(btf.Typedef, wanted)
        if found is not None:
            return found
        names = [item.name for _, item in self.btf.of_kind(btf.Struct) if item.name]
        near = difflib.get_close_matches(wanted, names, 1)
        remedy = f"Did you mean {near[0]}?" if near else "Name a struct of its BTF; bpftool btf dump file lists them."
        raise self.fail(f"--record {map_name}={text}", "the object has no struct of this name", remedy)

    def bindings(self, section_name: str, known: Sequence[str]) -> dict[str, list[tuple[int, bool]]]:
        """Return the type ids that are bound to maps or programs, and whether they were inferred."""
        section = self.datasecs.get(section_name)
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

    def slots(self, found: Mapping[str, tuple[int, btf.Var]]) -> dict[str, list[tuple[int, str]]]:
        """Return, for each map, the offset in its definition and the name of what it holds from the start."""
        index = self.elf.section(".maps")
        slots: dict[str, list[tuple[int, str]]] = {}
        if index is None:
            return slots
        places = sorted((offset, name) for name, (offset, _) in found.items())
        for relocation in self.elf.relocations(index):
            before = [(offset, name) for offset, name in places if offset <= relocation.offset]
            if before and relocation.name:
                offset, name = before[-1]
                slots.setdefault(name, []).append((relocation.offset - offset, relocation.name))
        return slots

    def map(
        self, var: btf.Var, records: Sequence[tuple[int, bool]], option: list[int], slots: list[tuple[int, str]]
    ) -> Map:
        where = f"map {var.name!r}"
        definition = self.btf[self.btf.resolve(var.type)]
        if not isinstance(definition, btf.Struct):
            raise self.fail(where, "its definition is no struct", 'Define it as in SEC(".maps").')
        if option:
            if records and {self.btf.resolve(item) for item, _ in records} != set(map(self.btf.resolve, option)):
                raise self.fail(where, "RINGBUF_RECORD and --record name different types", "Leave the option out.")
            records = [(item, False) for item in dict.fromkeys(option)]
        return self.definition(var.name, where, definition, records, slots, 0)

    def definition(
        self,
        name: str,
        where: str,
        definition: btf.Struct,
        records: Sequence[tuple[int, bool]],
        slots: list[tuple[int, str]],
        depth: int,
    ) -> Map:
        """Return the map that a struct of `__uint`, `__type` and `__array` members defines, as libbpf reads it."""
        numbers: dict[str, int] = {}
        types: dict[str, int] = {}
        inner: Map | None = None
        values: list[tuple[int, str]] = []
        for member in definition.members:
            kind = self.btf[self.btf.resolve(member.type)]
            if member.name == "values" and isinstance(kind, btf.Array):
                start = member.bit_offset // 8
                values = sorted(((offset - start) // 8, target) for offset, target in slots if offset >= start)
                inner = self.inner(name, where, kind, depth)
            elif member.name in ("key", "value") and isinstance(kind, btf.Ptr):
                types[member.name] = kind.target
            else:
                number = self.number(kind)
                if number is not None:
                    numbers[member.name] = number
        kind_number = numbers.get("type", 0)
        if not 0 < kind_number < len(MAP_TYPES):
            raise self.fail(where, f"map type {kind_number} is unknown", "Set __uint(type, BPF_MAP_TYPE_…).")
        kind_name = MAP_TYPES[kind_number]
        key = self.part(f"{where}, key", name, "key", types.get("key"), numbers.get("key_size", 0))
        value_type = types.get("value")
        if kind_name in STREAMS:
            value = self.events(name, where, kind_name, value_type, records)
            key = key if kind_name == "PERF_EVENT_ARRAY" else None
        elif records:
            raise self.fail(where, f"a map of type {kind_name} carries no records", "Use __type(value, …).")
        else:
            value = self.part(f"{where}, value", name, "value", value_type, numbers.get("value_size", 0))
        return Map(
            name,
            kind_name,
            key,
            value,
            numbers.get("max_entries", 0),
            self.docs.variables.get(name, ""),
            numbers.get("map_flags", 0),
            numbers.get("map_extra", 0),
            numbers.get("numa_node", 0),
            numbers.get("pinning", 0),
            inner,
            tuple(values),
        )

    def number(self, kind: btf.BtfType) -> int | None:
        """Return what `__uint(name, value)` or `__ulong(name, value)` says."""
        if isinstance(kind, btf.Ptr):
            target = self.btf[self.btf.resolve(kind.target)]
            return target.length if isinstance(target, btf.Array) else None
        if isinstance(kind, btf.Enum) and len(kind.values) == 1:
            return kind.values[0][1]
        return None

    def inner(self, name: str, where: str, kind: btf.Array, depth: int) -> Map | None:
        """Return what the maps in a map are like; None for an array of programs."""
        pointer = self.btf[self.btf.resolve(kind.element)]
        inner = self.btf[self.btf.resolve(pointer.target)] if isinstance(pointer, btf.Ptr) else None
        if not isinstance(inner, btf.Struct):
            return None
        if depth == _MAX_INNER:
            raise self.fail(where, "the maps in it hold maps, too", "The kernel nests maps only once.")
        return self.definition(f"{name}.inner", f"{where}, inner map", inner, [], [], depth + 1)

    def part(self, where: str, name: str, what: str, type_id: int | None, size: int) -> ValueType | None:
        """Return a key or value by its type, or bytes of its size where only that is known."""
        if type_id:
            place = name.replace(".", "_")
            return self.layouts.value(type_id, where, f"{place}_{what}", f"{name}.{what}")
        return ArrayOf(Scalar("u8", 1, "__u8"), size, size, f"__u8[{size}]") if size else None

    def events(
        self, name: str, where: str, map_type: str, value_type: int | None, records: Sequence[tuple[int, bool]]
    ) -> ValueType | None:
        """Return what one record of a stream is; an integer as the map's value is the perf buffer's own."""
        if value_type is not None and not isinstance(self.btf[self.btf.resolve(value_type)], btf.Struct):
            value_type = None
        if value_type is not None:
            if records and {self.btf.resolve(item) for item, _ in records} != {self.btf.resolve(value_type)}:
                reason = "its records and its __type(value, …) are of different types"
                raise self.fail(where, reason, "Keep one of them.")
            records = records or [(value_type, False)]
        place = name.replace(".", "_")
        kinds = [
            self.layouts.value(type_id, f"{where}, value", f"{place}_event", f"{name}.event") for type_id, _ in records
        ]
        if len(kinds) < 2:
            return kinds[0] if kinds else None
        references = [kind for kind in kinds if isinstance(kind, RecordRef)]
        if len(references) < len(kinds):
            raise self.fail(where, "of several records each must be a struct", "Make structs of the others.")
        try:
            pairs = [(kind, self.layouts.records[kind.name]) for kind in references]
            return one_of(pairs, self.layouts.enums, map_type)
        except WrongKindError as error:
            raise self.fail(where, str(error), "Correct KIND(…).") from error
        except Alike as error:
            remedy = "Begin each with the same enum member, and mark it with KIND(…)"
            if not records[0][1]:
                raise self.fail(where, str(error), f"{remedy}.") from error
            self.warnings.append(f"{self.elf.source}: {where}: its records stay bytes: {error}. {remedy}.")
            return None

    def struct_ops(self) -> Iterator[Map]:
        """Yield the maps that libbpf makes of the kernel's operations that an object implements."""
        for section_name in _STRUCT_OPS:
            section = self.datasecs.get(section_name)
            for variable in section.variables if section else ():
                var = self.btf[variable.var]
                if isinstance(var, btf.Var):
                    where = f"{section_name}, {var.name!r}"
                    kind = self.layouts.value(var.type, where, var.name, f"{section_name}.{var.name}")
                    doc = self.docs.variables.get(var.name, "")
                    yield Map(var.name, "STRUCT_OPS", Scalar("u32", 4, "__u32"), None, 1, doc, initial=kind)

    # Variables

    def sections(self) -> Iterator[SectionModel]:
        names = [name for name in self.datasecs if _VARIABLES.fullmatch(name) or name == ".kconfig"]
        names = [name for name in names if not _OTHER_SECTIONS.fullmatch(name)]
        for name in sorted(names, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n)):
            found = self.kconfig() if name == ".kconfig" else self.section(name)
            if found is not None and found.variables:
                yield found

    def section(self, name: str) -> SectionModel | None:
        """Return a section with its public variables by offset; static variables are private."""
        section, index = self.datasecs[name], self.elf.section(name)
        if index is None:
            return None
        size = self.elf.sections[index].size
        variables = sorted(self.variables(section, name, size), key=lambda variable: variable.offset)
        end, before = 0, ""
        for variable in variables:
            if variable.offset < end:
                where = f"{name}, variable {variable.name!r}"
                raise self.fail(where, f"it overlaps {before!r} at byte {variable.offset}", btf.ATOMIC_ARRAYS)
            end, before = variable.offset + variable.type.size, variable.name
        return SectionModel(name, size, tuple(variables))

    def variables(self, section: btf.Datasec, name: str, size: int) -> Iterator[Member]:
        for variable in section.variables:
            var = self.btf[variable.var]
            if not isinstance(var, btf.Var) or not self.is_public(var):
                continue
            where = f"{name}, variable {var.name!r}"
            symbol = self.place(var, variable, section)
            if isinstance(self.btf[self.btf.resolve(var.type)], btf.Void):
                kind = self.layouts.atomic(symbol.size or variable.size, where)
            else:
                kind = self.layouts.value(var.type, where, var.name, f"{name.lstrip('.')}.{var.name}")
            if name.startswith(".rodata") and not self.is_volatile(var.type):
                kind = replace(kind, c_type=f"const {kind.c_type}")
            if symbol.offset + kind.size > size:
                end = symbol.offset + kind.size
                raise self.fail(where, f"it ends at byte {end} of {size}", btf.ATOMIC_ARRAYS)
            doc = self.docs.variables.get(var.name, "")
            yield Member(var.name, symbol.offset, kind, doc, self.layouts.tags(var))

    def is_volatile(self, type_id: int) -> bool:
        """Return whether programs read a variable each time; of what is only const, the compiler may keep the value."""
        for _ in range(_MAX_CHAIN):
            item = self.btf[type_id]
            match item:
                case btf.Modifier(kind="volatile"):
                    return True
                case btf.Modifier() | btf.Typedef():
                    type_id = item.target
                case btf.Array():
                    type_id = item.element
                case _:
                    break
        return False

    def kconfig(self) -> SectionModel:
        """Return the section that libbpf makes of the kernel's configuration, laid out as libbpf does.

        Source: libbpf bpf_object__collect_externs(): by falling alignment, rising size, then name.
        """
        externs = []
        for variable in self.datasecs[".kconfig"].variables:
            var = self.btf[variable.var]
            # libbpf knows those that the programs use, which are those with a symbol.
            if isinstance(var, btf.Var) and var.name in self.symbols:
                kind = self.layouts.value(var.type, f".kconfig, variable {var.name!r}", var.name)
                first = kind
                while isinstance(first, ArrayOf):
                    first = first.element
                align = 1 if isinstance(first, Text) else max(first.size, 1)
                externs.append((-align, kind.size, var.name, kind))
        offset = 0
        members = []
        for negative, size, name, kind in sorted(externs, key=lambda extern: extern[:3]):
            offset = -(-offset // -negative) * -negative
            members.append(Member(name, offset, kind, self.docs.variables.get(name, "")))
            offset += size
        return SectionModel(".kconfig", offset, tuple(members))

    def metadata(self) -> Iterator[Metadata]:
        """Yield the sections that libbpf passes over."""
        for name in sorted(self.datasecs):
            if _VARIABLES.fullmatch(name) or _OTHER_SECTIONS.fullmatch(name):
                continue
            index = self.elf.section(name)
            if name in _STRUCT_OPS or name == ".kconfig" or index is None:
                continue
            found = self.section(name)
            if found is not None and found.variables:
                data = self.elf.sections[index].data
                yield Metadata(found, data.ljust(found.size, b"\0") if found.size <= 1 << 20 else data)

    def kernel_symbols(self) -> Iterator[KernelSymbol]:
        section = self.datasecs.get(".ksyms")
        for variable in section.variables if section else ():
            var = self.btf[variable.var]
            if isinstance(var, btf.Var):
                c_type = self.layouts.spell(var.type) or "void"
                yield KernelSymbol(var.name, c_type, self.docs.variables.get(var.name, ""))

    def place(self, var: btf.Var, variable: btf.SectionVariable, section: btf.Datasec | None) -> Symbol:
        """Return the symbol of a variable, which has its offset; BTF has it only in objects that were linked."""
        if var.name not in self.symbols and section is not None and section.size:
            return Symbol(var.name, "object", 0, variable.offset, variable.size, var.linkage == 1, var.linkage == 0)
        return self.symbol(var.name)

    def symbol(self, name: str) -> Symbol:
        if name not in self.symbols:
            raise ElfError(f"read {self.elf.source}: BTF has a variable {name!r} that no symbol defines.")
        return self.symbols[name]

    # Programs

    def programs(self) -> Iterator[Program]:
        variants = self.variant_tags()
        functions = [s for s in self.elf.symbols if s.kind == "func" and 0 < s.section < len(self.elf.sections)]
        rows = self.bindings(".iter_record", [symbol.name for symbol in functions])
        for symbol in sorted(functions, key=lambda s: (s.section, s.offset)):
            section = self.elf.sections[symbol.section]
            if not section.executable or section.name == ".text" or symbol.is_local:
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
        return self.layouts.value(records[0][0], f"program {program!r}, row", f"{program}_row", f"{program}.row")

    def variant_tags(self) -> dict[str, tuple[str, ...]]:
        """Return the variants of each program."""
        found: dict[str, list[str]] = {}
        for _, item in self.btf.of_kind(btf.DeclTag):
            if item.component == -1 and item.text.startswith(_VARIANT_TAG):
                function = self.btf[item.target]
                if isinstance(function, btf.Func):
                    found.setdefault(function.name, []).append(item.text.removeprefix(_VARIANT_TAG))
        return {name: self.ranked(tags) for name, tags in found.items()}

    def ranked(self, variants: Iterable[str]) -> tuple[str, ...]:
        """Return variants best first: as the source mentions them, else by name; compilers order tags differently."""
        known = self.docs.variants
        return tuple(sorted(set(variants), key=lambda v: (known.index(v) if v in known else len(known), v)))
