# SPDX-License-Identifier: Apache-2.0
"""The parts of a BPF ELF object that bindings are made from: sections, symbols, relocations, BTF.

A pure function of the file's bytes. Sections are views of them, so that no file takes more memory than its own size.

Source: System V ABI, chapters "ELF header", "Sections", "Symbol table", "Relocation".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import btf
from .errors import ElfError

__all__ = ["Elf", "Relocation", "Section", "Symbol", "parse", "read"]

_EM_BPF: Final = 247
_MACHINES: Final = {3: "EM_386", 62: "EM_X86_64", 183: "EM_AARCH64", 243: "EM_RISCV"}  # for the message alone
_HEADER: Final = 64
_SYMBOL: Final = 24
_SHF_EXECINSTR: Final = 4
_NULL, _SYMTAB, _RELA, _NOBITS, _REL = 0, 2, 4, 8, 9
_KINDS: Final = {0: "object", 1: "object", 2: "func"}  # STT_NOTYPE, STT_OBJECT, STT_FUNC
_MAX_BYTES: Final = 256 << 20
_MAX_BTF: Final = 8 << 20  # that of a whole kernel is smaller
_MAX_SYMBOLS: Final = 1 << 18
# What cannot be told without BTF; programs alone can.
_TYPED: Final = re.compile(r"\.?maps(/.*)?|\.(data|bss)(\..+)?|\.rodata(\.(?!str|cst).+)?")


@dataclass(frozen=True, slots=True)
class Section:
    """One section; *view* shows its bytes, none for a section that has none in the file (`.bss`)."""

    name: str
    size: int
    view: bytes | memoryview
    executable: bool

    @property
    def data(self) -> bytes:
        """A copy of its bytes."""
        return bytes(self.view)


@dataclass(frozen=True, slots=True)
class Symbol:
    """One named symbol of kind "func" or "object"; *section* is an index, 0 for externs.

    Attributes:
        is_global: Whether others may use it: it is neither local nor hidden.
        is_local: Whether it is a static of its file.
    """

    name: str
    kind: str
    section: int
    offset: int
    size: int
    is_global: bool
    is_local: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """One place *offset* of a section that shall hold a symbol's address; the name of a section symbol is empty."""

    offset: int
    name: str
    section: int
    value: int


class Elf:
    """A BPF object.

    Attributes:
        source: Its name in messages.
        byte_order: "little" or "big".
        sections: All sections by index.
        symbols: The named functions and objects.
        btf: Its types.
        image: The bytes of the file.
    """

    def __init__(self, reader: _Reader, types: btf.Btf) -> None:
        self.source = reader.source
        self.byte_order = "little" if reader.order == "<" else "big"
        self.sections = reader.sections
        self.symbols = reader.symbols
        self.btf = types
        self.image = reader.image
        self._reader = reader

    def section(self, name: str) -> int | None:
        """Return the index of the first section of this name, or None."""
        return next((i for i, section in enumerate(self.sections) if section.name == name), None)

    def relocations(self, section: int) -> tuple[Relocation, ...]:
        """Return the relocations of a section.

        Raises:
            ElfError: One names a symbol that is not there.
        """
        return tuple(self._reader.relocations(section))


def read(path: Path) -> Elf:
    """Read a BPF object file.

    Raises:
        ElfError: The file cannot be read, is not a BPF ELF file, is truncated or damaged, or carries no BTF.
        BtfError: Its BTF is damaged.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ElfError(f"read {path}: {size} bytes are too many for a BPF object.")
        data = path.read_bytes()
    except OSError as error:
        raise ElfError(f"read {path}: {error.strerror}.") from error
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Elf:
    """Read a BPF object from its bytes; *source* names it in errors."""
    reader = _Reader(data, source)
    blob = next((section for section in reader.sections if section.name == ".BTF"), None)
    if blob is None:
        if any(section.size and _TYPED.fullmatch(section.name) for section in reader.sections):
            raise ElfError(f"read {source}: it has no .BTF section. Compile with clang -g.")
        return Elf(reader, btf.Btf((btf.Void(),), reader.order, source))
    if blob.size > _MAX_BTF:
        raise ElfError(f"read {source}: section '.BTF' has {blob.size} bytes, more than the {_MAX_BTF} of any object.")
    return Elf(reader, btf.index(blob.data, source))


class _Reader:
    """Decodes and checks one file."""

    def __init__(self, image: bytes, source: str) -> None:
        self.image = image
        self.source = source
        self.order = "<"
        self._headers = self._section_headers()
        self.sections = tuple(self._sections())
        self._tables: dict[int, list[tuple[int, ...]]] = {}
        tables = [number for number, header in enumerate(self._headers) if header[1] == _SYMTAB]
        self.symbols = tuple(symbol for index in tables for symbol in self._symbols(index))

    def fail(self, reason: str) -> ElfError:
        return ElfError(f"read {self.source}: {reason}.")

    def _section_headers(self) -> list[tuple[int, ...]]:
        """Check the file header; return name, type, flags, address, offset, size, link, info, … of each section."""
        image = self.image
        if image[:4] != b"\x7fELF":
            raise self.fail(f"it is not an ELF file; it begins with {image[:4].hex() or 'nothing'}")
        if len(image) < _HEADER:
            raise self.fail(f"{len(image)} bytes are too few for an ELF header. The file is truncated")
        if image[4] != 2 or image[5] not in (1, 2):
            raise self.fail("byte 4: it is not a 64-bit ELF file of either byte order")
        self.order = "<" if image[5] == 1 else ">"
        kind, machine = struct.unpack_from(self.order + "HH", image, 16)
        if machine != _EM_BPF:
            shown = _MACHINES.get(machine, machine)
            raise self.fail(f"its machine is {shown}, not EM_BPF. Compile with -target bpf")
        if kind != 1:
            raise self.fail(f"byte 16: its type is {kind}, not 1, a relocatable object")
        (table,) = struct.unpack_from(self.order + "Q", image, 40)
        size, count, self._names = struct.unpack_from(self.order + "HHH", image, 58)
        if size != 64:
            raise self.fail(f"byte 58: its section headers have {size} bytes, not 64")
        if table + 64 > len(image):
            raise self.fail(f"the section headers begin at byte {table}, after the file ({len(image)})")
        header = struct.Struct(self.order + "IIQQQQIIQQ")
        first = header.unpack_from(image, table)
        count = count or first[5]  # too many for the field
        if self._names == 0xFFFF:
            self._names = first[6]
        if table + 64 * count > len(image):
            raise self.fail(
                f"the section headers end at byte {table + 64 * count}, after the file ({len(image)}). "
                "The file is truncated"
            )
        return list(header.iter_unpack(image[table : table + 64 * count]))

    def _sections(self) -> Iterator[Section]:
        view = memoryview(self.image)
        names = self._strings(self._names, "the section names")
        for number, (name_offset, kind, flags, _, start, size, *_) in enumerate(self._headers):
            name = self._string(names, name_offset, f"the name of section {number}")
            in_file = kind not in (_NOBITS, _NULL)
            if in_file and start + size > len(view):
                raise self.fail(
                    f"section {name!r} ends at byte {start + size}, after the file ({len(view)}). The file is truncated"
                )
            yield Section(name, size, view[start : start + size] if in_file else b"", bool(flags & _SHF_EXECINSTR))

    def _bytes(self, index: int, what: str) -> tuple[int, int]:
        """Return where the bytes of a section begin and end."""
        if not 0 < index < len(self._headers):
            raise self.fail(f"{what} should be in section {index}, which is not there")
        start, size = self._headers[index][4:6]
        if start + size > len(self.image):
            raise self.fail(f"{what} end at byte {start + size}, after the file ({len(self.image)})")
        return start, start + size

    def _strings(self, index: int, what: str) -> tuple[int, int]:
        start, end = self._bytes(index, what)
        if start == end or self.image[end - 1]:
            raise self.fail(f"byte {end}: {what} do not end with a NUL byte")
        return start, end

    def _string(self, table: tuple[int, int], offset: int, what: str) -> str:
        start = table[0] + offset
        if start >= table[1]:
            raise self.fail(f"{what} is at byte {start}, after the strings ({table[1]})")
        return self.image[start : self.image.index(b"\0", start)].decode("utf-8", "backslashreplace")

    def _symbols(self, index: int) -> Iterator[Symbol]:
        """Yield the named functions and objects of a symbol table."""
        names = self._symbol_names(index)
        count = len(self._headers)
        for name_offset, info, other, section, value, size in self._raw_symbols(index):
            kind = _KINDS.get(info & 0xF)
            if not name_offset or kind is None:
                continue
            name = self._string(names, name_offset, "the name of a symbol")
            if count <= section < 0xFF00:
                raise self.fail(f"symbol {name!r} is in section {section}, which is not there")
            local = info >> 4 == 0
            yield Symbol(name, kind, section if section < count else 0, value, size, not local and not other & 3, local)

    def _symbol_names(self, table: int) -> tuple[int, int]:
        return self._strings(self._headers[table][6], "the symbol names")

    def _raw_symbols(self, index: int) -> list[tuple[int, ...]]:
        if index not in self._tables:
            start, end = self._bytes(index, "the symbols")
            if self._headers[index][9] != _SYMBOL or (end - start) // _SYMBOL > _MAX_SYMBOLS:
                raise self.fail(f"section {index}, byte {start}: its {end - start} bytes are no table of symbols")
            end -= (end - start) % _SYMBOL
            self._tables[index] = list(struct.iter_unpack(self.order + "IBBHQQ", self.image[start:end]))
        return self._tables[index]

    def relocations(self, section: int) -> Iterator[Relocation]:
        for index, header in enumerate(self._headers):
            kind, size = header[1], 24 if header[1] == _RELA else 16
            if kind not in (_REL, _RELA) or header[7] != section:
                continue
            start, end = self._bytes(index, "the relocations")
            end -= (end - start) % size
            symbols, names = self._raw_symbols(header[6]), self._symbol_names(header[6])
            code = self.order + ("QQq" if kind == _RELA else "QQ")
            for offset, info, *_ in struct.iter_unpack(code, self.image[start:end]):
                number = info >> 32
                if number >= len(symbols):
                    raise self.fail(
                        f"section {self.sections[index].name!r}: a relocation names symbol {number} of {len(symbols)}"
                    )
                name_offset, _, _, where, value, _ = symbols[number]
                name = self._string(names, name_offset, "the name of a symbol") if name_offset else ""
                yield Relocation(offset, name, where, value)
