# SPDX-License-Identifier: Apache-2.0
"""The parts of a BPF ELF object that bindings are made from: sections, symbols, BTF.

A pure function of the file's bytes; reading is pyelftools' work, checking is ours.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from elftools.common.exceptions import ELFError as PyelftoolsError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from . import btf
from .errors import ElfError

__all__ = ["Elf", "Section", "Symbol", "read"]

_EM_BPF: Final = 247
_SHF_EXECINSTR: Final = 4
_MAX_BYTES: Final = 256 << 20

# What pyelftools raises on damaged files: it documents ELFError, the others come from its decoders.
_DAMAGE: Final = (
    PyelftoolsError,
    ConstructError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    OSError,
    RecursionError,
    UnicodeError,
)


@dataclass(frozen=True, slots=True)
class Section:
    """One section; *data* is empty for sections without bytes in the file (`.bss`)."""

    name: str
    size: int
    data: bytes
    executable: bool


@dataclass(frozen=True, slots=True)
class Symbol:
    """One named symbol of kind "func" or "object"; *section* is an index, 0 for externs."""

    name: str
    kind: str
    section: int
    offset: int
    size: int
    is_global: bool


@dataclass(frozen=True, slots=True)
class Elf:
    """A BPF object: its byte order, its sections by index, its symbols, its types, and the bytes of it all."""

    source: str
    byte_order: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    btf: btf.Btf
    image: bytes = b""

    def section(self, name: str) -> int | None:
        """Return the index of a section, or None."""
        return next((i for i, section in enumerate(self.sections) if section.name == name), None)


def read(path: Path) -> Elf:
    """Read a BPF object file.

    Raises:
        ElfError: The file cannot be read, is not a BPF ELF file, is truncated or damaged, or carries no BTF.
        BtfError: Its BTF is damaged.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ElfError(f"read {path}: {path.stat().st_size} bytes are too many for a BPF object.")
        data = path.read_bytes()
    except OSError as error:
        raise ElfError(f"read {path}: {error.strerror}.") from error
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Elf:
    """Read a BPF object from its bytes; *source* names it in errors."""
    try:
        elf = ELFFile(io.BytesIO(data))
        if elf["e_machine"] not in ("EM_BPF", _EM_BPF):
            raise ElfError(f"read {source}: its machine is {elf['e_machine']}, not EM_BPF. Compile with -target bpf.")
        sections = tuple(_section(section, data, source) for section in elf.iter_sections())
        symbols = tuple(
            Symbol(
                symbol.name,
                {"STT_FUNC": "func", "STT_OBJECT": "object", "STT_NOTYPE": "object"}[symbol["st_info"]["type"]],
                symbol["st_shndx"] if isinstance(symbol["st_shndx"], int) else 0,
                symbol["st_value"],
                symbol["st_size"],
                symbol["st_info"]["bind"] != "STB_LOCAL" and symbol["st_other"]["visibility"] == "STV_DEFAULT",
            )
            for table in elf.iter_sections()
            if isinstance(table, SymbolTableSection)
            for symbol in table.iter_symbols()
            if symbol.name and symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE")
        )
        order = "little" if elf.little_endian else "big"
    except ElfError:
        raise
    except _DAMAGE as error:
        raise ElfError(f"read {source}: it is not an intact ELF file ({error or type(error).__name__}).") from error
    blob = next((section.data for section in sections if section.name == ".BTF"), None)
    if blob is None:
        raise ElfError(f"read {source}: it has no .BTF section. Compile with clang -g.")
    for symbol in symbols:
        if symbol.section < 0xFF00 and symbol.section >= len(sections):
            raise ElfError(f"read {source}: symbol {symbol.name!r} is in section {symbol.section}, which is not there.")
    return Elf(source, order, sections, symbols, btf.read(blob, source), data)


def _section(section: object, image: bytes, source: str) -> Section:
    header = section.header  # type: ignore[attr-defined]
    name: str = section.name  # type: ignore[attr-defined]
    start, size = header["sh_offset"], header["sh_size"]
    in_file = header["sh_type"] not in ("SHT_NOBITS", "SHT_NULL")
    if in_file and start + size > len(image):
        raise ElfError(
            f"read {source}: section {name!r} ends at byte {start + size}, after the file ({len(image)}). "
            "The file is truncated."
        )
    # Not section.data(), which would decompress what claims to be compressed, to whatever size.
    data = image[start : start + size] if in_file else b""
    return Section(name, size, data, bool(header["sh_flags"] & _SHF_EXECINSTR))
