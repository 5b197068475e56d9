# SPDX-License-Identifier: Apache-2.0
"""BTF and 64-bit ELF, put together byte by byte, so that tests need no compiler and can write what none would.

Sources: Linux include/uapi/linux/btf.h; System V ABI, chapters "ELF header", "Sections", "Symbol table", "Relocation".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ebpf_codegen import elf

__all__ = ["BtfWriter", "ElfWriter", "ObjectWriter"]

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 1, 2, 3, 4, 8, 9
KINDS = {
    "int": 1, "ptr": 2, "array": 3, "struct": 4, "union": 5, "enum": 6, "fwd": 7, "typedef": 8, "volatile": 9,
    "const": 10, "restrict": 11, "func": 12, "func_proto": 13, "var": 14, "datasec": 15, "float": 16, "decl_tag": 17,
    "type_tag": 18, "enum64": 19,
}  # fmt: skip


class BtfWriter:
    """Types in the order they are added; each method returns the id of its type."""

    def __init__(self, order: str = "<") -> None:
        self.order = order
        self.strings = bytearray(1)
        self.types: list[bytes] = []

    def string(self, text: str) -> int:
        """Return the offset of *text* in the string section, adding it if it is not there."""
        data = text.encode() + b"\0"
        if not text:
            return 0
        found = self.strings.find(b"\0" + data)
        if found >= 0:
            return found + 1
        self.strings += data
        return len(self.strings) - len(data)

    def add(
        self, kind: int, name: str = "", extra: int = 0, words: Sequence[int] = (), *, vlen: int = 0, flag: bool = False
    ) -> int:
        """Add a type of any kind; *extra* is its size or type field, *words* are what follows its head."""
        info = int(flag) << 31 | kind << 24 | vlen
        masked = [word & 0xFFFFFFFF for word in words]
        self.types.append(struct.pack(f"{self.order}{3 + len(words)}I", self.string(name), info, extra, *masked))
        return len(self.types)

    def integer(
        self, name: str, size: int, *, signed: bool = False, boolean: bool = False, bits: int = 0, offset: int = 0
    ) -> int:
        encoding = signed | boolean << 2
        return self.add(KINDS["int"], name, size, [encoding << 24 | offset << 16 | (bits or 8 * size)])

    def ptr(self, target: int) -> int:
        return self.add(KINDS["ptr"], extra=target)

    def array(self, element: int, count: int) -> int:
        return self.add(KINDS["array"], words=[element, element, count])

    def struct(
        self, name: str, size: int, members: Iterable[tuple[str, int, int]], *, union: bool = False, flag: bool = False
    ) -> int:
        """Add a struct or union; members are (name, type, offset in bits, or with *flag* width << 24 | offset)."""
        words = [word for text, kind, offset in members for word in (self.string(text), kind, offset)]
        kind = KINDS["union" if union else "struct"]
        return self.add(kind, name, size, words, vlen=len(words) // 3, flag=flag)

    def enum(self, name: str, size: int, values: Iterable[tuple[str, int]], *, signed: bool = False) -> int:
        words = [word for text, value in values for word in (self.string(text), value)]
        return self.add(KINDS["enum"], name, size, words, vlen=len(words) // 2, flag=signed)

    def enum64(self, name: str, values: Iterable[tuple[str, int]], *, signed: bool = False) -> int:
        words = [word for text, value in values for word in (self.string(text), value, value >> 32)]
        return self.add(KINDS["enum64"], name, 8, words, vlen=len(words) // 3, flag=signed)

    def refer(self, kind: str, target: int, name: str = "") -> int:
        """Add a typedef, a modifier (`const`, `type_tag`, …) or a pointer by its kind's name."""
        return self.add(KINDS[kind], name, target)

    def fwd(self, name: str, *, union: bool = False) -> int:
        return self.add(KINDS["fwd"], name, flag=union)

    def func_proto(self, returns: int, parameters: Iterable[tuple[str, int]] = ()) -> int:
        words = [word for text, kind in parameters for word in (self.string(text), kind)]
        return self.add(KINDS["func_proto"], extra=returns, words=words, vlen=len(words) // 2)

    def func(self, name: str, proto: int, linkage: int = 1) -> int:
        return self.add(KINDS["func"], name, proto, vlen=linkage)

    def var(self, name: str, kind: int, linkage: int = 1) -> int:
        return self.add(KINDS["var"], name, kind, [linkage])

    def datasec(self, name: str, variables: Iterable[tuple[int, int, int]], size: int = 0) -> int:
        words = [word for variable in variables for word in variable]
        return self.add(KINDS["datasec"], name, size, words, vlen=len(words) // 3)

    def floating(self, name: str, size: int) -> int:
        return self.add(KINDS["float"], name, size)

    def decl_tag(self, text: str, target: int, component: int = -1) -> int:
        return self.add(KINDS["decl_tag"], text, target, [component])

    def build(self, header_size: int = 24) -> bytes:
        """Return the blob; a header of 32 bytes says that there is no layout section."""
        types = b"".join(self.types)
        header = struct.pack(
            self.order + "HBBIIIII", 0xEB9F, 1, 0, header_size, 0, len(types), len(types), len(self.strings)
        )
        return header.ljust(header_size, b"\0") + types + bytes(self.strings)


@dataclass
class _Section:
    name: str
    kind: int = PROGBITS
    data: bytes = b""
    flags: int = 0
    size: int | None = None
    link: int = 0
    info: int = 0
    align: int = 8
    entry_size: int = 0


@dataclass
class ElfWriter:
    """A relocatable ELF64 file; section 0 is the null section, the symbol table and the names come last."""

    order: str = "<"
    machine: int = 247
    sections: list[_Section] = field(default_factory=lambda: [_Section("", kind=0, align=0)])
    symbols: list[tuple[str, int, int, int, int, int]] = field(default_factory=lambda: [("", 0, 0, 0, 0, 0)])
    relocations: list[tuple[int, bool, list[tuple[int, int]]]] = field(default_factory=list)

    def section(
        self, name: str, data: bytes = b"", *, kind: int = PROGBITS, executable: bool = False, size: int | None = None
    ) -> int:
        self.sections.append(_Section(name, kind, data, 6 if executable else 2, size))
        return len(self.sections) - 1

    def symbol(
        self,
        name: str,
        section: int,
        offset: int = 0,
        size: int = 0,
        *,
        kind: str = "object",
        bind: str = "global",
        visibility: int = 0,
    ) -> int:
        """Add a symbol; local ones must come first, as ELF wants it."""
        code = {"notype": 0, "object": 1, "func": 2, "section": 3}[kind]
        info = {"local": 0, "global": 1, "weak": 2}[bind] << 4 | code
        self.symbols.append((name, info, visibility, section, offset, size))
        return len(self.symbols) - 1

    def relocate(self, section: int, entries: list[tuple[int, int]], *, addends: bool = False) -> None:
        """Add the relocations (offset, symbol) of a section."""
        self.relocations.append((section, addends, entries))

    def build(self) -> bytes:
        order = self.order
        sections = list(self.sections)
        symtab = len(sections) + len(self.relocations)
        for target, addends, entries in self.relocations:
            pack = struct.Struct(order + ("QQq" if addends else "QQ")).pack
            data = b"".join(pack(at, symbol << 32 | 1, *([7] if addends else [])) for at, symbol in entries)
            name = (".rela" if addends else ".rel") + sections[target].name
            kind = RELA if addends else REL
            sections.append(_Section(name, kind, data, 0, None, symtab, target, 8, 24 if addends else 16))
        names = bytearray(1)
        data = b""
        for text, info, visibility, section, offset, size in self.symbols:
            at = len(names) if text else 0
            names += text.encode() + b"\0" if text else b""
            data += struct.pack(order + "IBBHQQ", at, info, visibility, section, offset, size)
        local = sum(info >> 4 == 0 for _, info, _, _, _, _ in self.symbols)
        sections.append(_Section(".symtab", SYMTAB, data, 0, None, symtab + 1, local, 8, 24))
        sections.append(_Section(".strtab", STRTAB, b"", align=1))
        positions = []
        for item in sections:
            positions.append(len(names) if item.name else 0)
            names += item.name.encode() + b"\0" if item.name else b""
        sections[-1].data = bytes(names)

        body = bytearray(64)
        headers = b""
        for position, item in zip(positions, sections, strict=True):
            body += b"\0" * (-len(body) % max(item.align, 1))
            size = len(item.data) if item.size is None else item.size
            fields = (
                item.kind, item.flags, 0, len(body) if item.kind else 0, size,
                item.link, item.info, item.align, item.entry_size,
            )  # fmt: skip
            headers += struct.pack(order + "IIQQQQIIQQ", position, *fields)
            body += item.data
        body += b"\0" * (-len(body) % 8)
        head = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
        body[:64] = head + struct.pack(
            order + "HHIQQQIHHHHHH", 1, self.machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(sections), symtab + 1
        )
        return bytes(body) + headers


class ObjectWriter:
    """A BPF object in the terms of its source: types go to `btf`, the rest through methods."""

    def __init__(self, order: str = "<") -> None:
        self.btf = BtfWriter(order)
        self.elf = ElfWriter(order)
        self.variables: dict[str, list[tuple[int, int, int]]] = {}
        self.used: dict[str, int] = {}
        self.int = self.btf.integer("int", 4, signed=True)
        self.proto = self.btf.func_proto(self.int)

    def variable(
        self, section: str, name: str, kind: int, size: int, *, linkage: int = 1, symbol: str = "", visibility: int = 0
    ) -> None:
        """Put a variable into a data section; *symbol* gives its symbol another name."""
        if section not in self.variables:
            self.variables[section] = []
            self.used[section] = self.elf.section(section, kind=NOBITS if section == ".bss" else PROGBITS, size=0)
        target = self.elf.sections[self.used[section]]
        offset = target.size or 0
        target.size = offset + size
        target.data = b"" if section == ".bss" else bytes(target.size)
        self.variables[section].append((self.btf.var(name, kind, linkage), 0, size))
        self.elf.symbol(
            symbol or name,
            self.used[section],
            offset,
            size,
            bind="global" if linkage else "local",
            visibility=visibility,
        )

    def number(self, value: int) -> int:
        """Return the type that `__uint(name, value)` gives a member."""
        return self.btf.ptr(self.btf.array(self.int, value))

    def map(self, name: str, numbers: dict[str, int], types: dict[str, int] | None = None, *, bytes: int = 32) -> None:
        """Define a map by its `__uint` and `__type` members."""
        members = [(key, self.number(value)) for key, value in numbers.items()]
        members += [(key, self.btf.ptr(kind)) for key, kind in (types or {}).items()]
        definition = self.btf.struct(
            "", 8 * len(members), [(key, kind, 64 * i) for i, (key, kind) in enumerate(members)]
        )
        self.variable(".maps", name, definition, bytes)

    def value(self, kind: int, name: str = "values") -> None:
        """Make a type public: as the value of an array map."""
        self.map(name, {"type": 2, "max_entries": 1}, {"key": self.int, "value": kind})

    def record(self, map_name: str, kind: int) -> None:
        """Say what RINGBUF_RECORD says."""
        pointer = self.btf.refer("const", self.btf.ptr(self.btf.refer("const", kind)))
        self.variable(".ringbuf_record", f"__ringbuf_record_{map_name}", pointer, 8)

    def program(self, name: str, section: str, *variants: str, bind: str = "global") -> None:
        index = self.elf.section(section, bytes(16), executable=True)
        self.elf.symbol(name, index, 0, 16, kind="func", bind=bind)
        function = self.btf.func(name, self.proto, 1 if bind == "global" else 0)
        for variant in variants:
            self.btf.decl_tag(f"variant:{variant}", function)

    def build(self) -> bytes:
        for name, variables in self.variables.items():
            self.btf.datasec(name, variables)
        self.variables = {}
        self.elf.section(".BTF", self.btf.build())
        return self.elf.build()

    def parse(self) -> elf.Elf:
        return elf.parse(self.build(), "probe.bpf.c")
