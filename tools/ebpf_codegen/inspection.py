# SPDX-License-Identifier: Apache-2.0
"""What is in a BPF object, as data that JSON can hold; `schema/inspect.schema.json` describes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

from . import btf, btf_ext, definitions
from .elf import Elf
from .shapes import leaves, named, spell

__all__ = ["Inspection", "inspect", "text"]


class Section(TypedDict):
    """A section; *kind* is program, data or other."""

    name: str
    kind: str
    bytes: int


class Value(TypedDict):
    """A key or a value: its C type, empty where only the size is known."""

    type: str
    bytes: int


class Map(TypedDict):
    """A map; *type* is an enumerator of bpf_map_type without its prefix, *records* are those of a stream."""

    name: str
    type: str
    key: Value | None
    value: Value | None
    max_entries: int
    flags: int
    pinning: bool
    map_extra: int
    records: list[str]
    inner: Map | None


class Program(TypedDict):
    """A program and the section that names its hook; *records* are an iterator's rows."""

    name: str
    section: str
    autoload: bool
    instructions: int
    records: list[str]


class Variable(TypedDict):
    """A variable; *offset* is null where libbpf decides it."""

    section: str
    name: str
    type: str
    offset: int | None
    bytes: int
    linkage: str


class Member(TypedDict):
    """A member; *bit_width* is 0 for all but bitfields."""

    name: str
    type: str
    bit_offset: int
    bit_width: int


class Record(TypedDict):
    """A struct or union with all its members, those of anonymous ones in it included."""

    name: str
    kind: str
    bytes: int
    members: list[Member]


class Enumeration(TypedDict):
    """An enum and its enumerators."""

    name: str
    bytes: int
    signed: bool
    values: dict[str, int]


class Relocation(TypedDict):
    """What a program asks of the kernel's types, and how often."""

    section: str
    kind: str
    target: str
    count: int


class Inspection(TypedDict):
    """Everything."""

    file: str
    byte_order: str
    license: str | None
    btf_bytes: int
    btf_types: int
    sections: list[Section]
    maps: list[Map]
    programs: list[Program]
    variables: list[Variable]
    records: list[Record]
    enums: list[Enumeration]
    relocations: list[Relocation]


def inspect(elf: Elf) -> Inspection:
    """Return what is in an object, in the order of the object; types and relocations sorted.

    Raises:
        BtfError: Its type information contradicts itself.
    """
    types = elf.btf
    records = {name: [spell(types, item) for item in found] for name, found in definitions.records(elf).items()}
    return Inspection(
        file=elf.source,
        byte_order=elf.byte_order,
        license=_license(elf),
        btf_bytes=sum(section.size for section in elf.sections if section.name == ".BTF"),
        btf_types=len(types.types) - 1,
        sections=[Section(name=s.name, kind=_kind(elf, s.name), bytes=s.size) for s in elf.sections if s.name],
        maps=[_map(types, definition, records) for definition in definitions.maps(elf)],
        programs=[
            Program(
                name=p.name,
                section=p.section,
                autoload=p.autoload,
                instructions=p.size // 8,
                records=records.get(p.name, []),
            )
            for p in definitions.programs(elf)
        ],
        variables=[
            Variable(
                section=v.section,
                name=v.name,
                type=spell(types, v.type) if v.type else "",
                offset=v.offset,
                bytes=v.size,
                linkage=v.linkage,
            )
            for v in definitions.variables(elf)
        ],
        records=_records(types),
        enums=_enums(types),
        relocations=_relocations(elf),
    )


def _license(elf: Elf) -> str | None:
    index = elf.section("license")
    return elf.sections[index].data.partition(b"\0")[0].decode("utf-8", "backslashreplace") if index else None


def _kind(elf: Elf, name: str) -> str:
    index = elf.section(name)
    if index is not None and elf.sections[index].executable:
        return "program"
    return "data" if elf.btf.find(btf.Datasec, name) is not None else "other"


def _map(types: btf.Btf, definition: definitions.MapDefinition, records: dict[str, list[str]]) -> Map:
    def value(part: str, type_id: int | None) -> Value | None:
        size = definition.size_of(types, part)
        return Value(type=spell(types, type_id) if type_id else "", bytes=size) if type_id or size else None

    return Map(
        name=definition.name,
        type=definition.type,
        key=value("key", definition.key),
        value=value("value", definition.value),
        max_entries=definition.numbers.get("max_entries", 0),
        flags=definition.numbers.get("map_flags", 0),
        pinning=definition.numbers.get("pinning", 0) == 1,
        map_extra=definition.numbers.get("map_extra", 0),
        records=records.get(definition.name, []),
        inner=_map(types, definition.inner, {}) if definition.inner else None,
    )


def _records(types: btf.Btf) -> list[Record]:
    found = []
    for name, type_id in sorted(dict.fromkeys(named(types))):
        item = types[type_id]
        if isinstance(item, btf.Struct):
            members = [
                Member(name=leaf.name, type=leaf.c_type, bit_offset=leaf.bit_offset, bit_width=leaf.bits)
                for leaf in leaves(types, item)
            ]
            found.append(
                Record(name=name, kind="union" if item.is_union else "struct", bytes=item.size, members=members)
            )
    return found


def _enums(types: btf.Btf) -> list[Enumeration]:
    return [
        Enumeration(name=name, bytes=item.size, signed=item.signed, values=dict(item.values))
        for name, type_id in sorted(dict.fromkeys(named(types)))
        if isinstance(item := types[type_id], btf.Enum)
    ]


def _relocations(elf: Elf) -> list[Relocation]:
    blobs = {section.name: section.data for section in elf.sections}
    if not {".BTF", ".BTF.ext"} <= blobs.keys():
        return []
    found = btf_ext.relocations(blobs[".BTF.ext"], elf.btf, btf.strings(blobs[".BTF"], elf.source))
    counted = Counter((item.section, item.kind, item.target) for item in found)
    return [
        Relocation(section=section, kind=kind, target=target, count=count)
        for (section, kind, target), count in sorted(counted.items())
    ]


def text(found: Inspection) -> str:
    """Return an inspection for people: tables, of the types only how many there are."""
    lines = [
        f"{found['file']}: {found['byte_order']}-endian BPF object, license {found['license'] or 'none'}, "
        f"{found['btf_types']} types in {found['btf_bytes']} bytes of BTF",
    ]

    def table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        if not rows:
            return
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        lines.extend(("", f"{title} ({len(rows)})"))
        for row in (head, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {'  '.join(cells)}".rstrip())

    def spelled(value: Value | None) -> str:
        if value is None:
            return "-"
        return value["type"] or f"{value['bytes']} bytes"

    table(
        "programs",
        ("NAME", "SECTION", "AUTOLOAD", "INSTRUCTIONS"),
        [
            (p["name"], p["section"], "yes" if p["autoload"] else "no", str(p["instructions"]))
            for p in found["programs"]
        ],
    )
    table(
        "maps",
        ("NAME", "TYPE", "KEY", "VALUE OR RECORD", "MAX ENTRIES", "FLAGS"),
        [
            (
                m["name"],
                m["type"],
                spelled(m["key"]),
                " or ".join(m["records"]) or spelled(m["value"]),
                str(m["max_entries"]),
                f"{m['flags']:#x}",
            )
            for m in found["maps"]
        ],
    )
    table(
        "variables",
        ("SECTION", "OFFSET", "TYPE", "NAME", "LINKAGE"),
        [
            (v["section"], "-" if v["offset"] is None else str(v["offset"]), v["type"], v["name"], v["linkage"])
            for v in found["variables"]
        ],
    )
    table(
        "CO-RE relocations",
        ("SECTION", "KIND", "TARGET", "COUNT"),
        [(r["section"], r["kind"], r["target"], str(r["count"])) for r in found["relocations"]],
    )
    table(
        "sections",
        ("NAME", "KIND", "BYTES"),
        [(s["name"], s["kind"], str(s["bytes"])) for s in found["sections"]],
    )
    table(
        "structs, unions and enums",
        ("KIND", "BYTES", "NAME"),
        [(r["kind"], str(r["bytes"]), r["name"]) for r in found["records"]]
        + [("enum", str(e["bytes"]), e["name"]) for e in found["enums"]],
    )
    return "\n".join(lines) + "\n"
