# SPDX-License-Identifier: Apache-2.0
"""Dropping DWARF from a relocatable ELF64 object, as `llvm-strip -g` does, with the standard library alone.

clang needs `-g` to write BTF and so writes DWARF too, 25 times the size of all the rest. BTF stays, but not the
relocations of .BTF.ext, a quarter of what is left: libbpf reads none of them, and clang has written the same offsets
into the section itself.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from .errors import ElfError

__all__ = ["strip"]

_SHT_SYMTAB: Final = 2
_SHT_RELA: Final = 4
_SHT_NOBITS: Final = 8
_NO_BYTES: Final = (0, _SHT_NOBITS)  # a section that is none, and one like .bss
_SHT_REL: Final = 9
_RESERVED_INDEX: Final = 0xFF00
_MAX_ALIGN: Final = 1 << 16  # more is damage, and would be filled with as many zeros
_DROPPED: Final = (b".debug_", b".rel.debug_", b".rela.debug_", b".rel.BTF.ext", b".llvm_addrsig", b".rel.llvm_addrsig")


class _Section(NamedTuple):
    """One section: the fields of its header in file order, and its bytes."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int
    data: bytes


def strip(image: bytes) -> bytes:
    """Return the object without debugging sections; stripping twice changes nothing.

    Raises:
        ElfError: The bytes are no intact relocatable ELF64 file.
    """
    try:
        return _strip(image)
    except (struct.error, LookupError, ArithmeticError, ValueError) as error:
        raise ElfError(f"strip object: it is not an intact relocatable ELF64 file ({error}).") from error


def _strip(image: bytes) -> bytes:
    if image[:5] != b"\x7fELF\x02" or image[5] not in (1, 2):
        raise ElfError("strip object: it does not begin like an ELF64 file.")
    order = "<" if image[5] == 1 else ">"
    header = struct.Struct(order + "IIQQQQIIQQ")
    (table,) = struct.unpack_from(order + "Q", image, 0x28)
    count, names = struct.unpack_from(order + "HH", image, 0x3C)
    sections: list[_Section] = []
    for index in range(count):
        fields = header.unpack_from(image, table + index * header.size)
        end = fields[4] + fields[5]
        if fields[1] not in _NO_BYTES and end > len(image):
            raise ElfError(f"strip object: section {index} ends at byte {end}, after the file ({len(image)}).")
        if fields[8] > _MAX_ALIGN:
            raise ElfError(f"strip object: section {index} is aligned to {fields[8]} bytes, which nothing needs.")
        data = b"" if fields[1] in _NO_BYTES else image[fields[4] : end]
        sections.append(_Section._make((*fields, data)))

    def name_of(section: _Section) -> bytes:
        data: bytes = sections[names].data
        return data[section.name :].split(b"\0", 1)[0]

    if names >= count:
        raise ElfError(f"strip object: section {names}, which holds the names, is not there.")
    kept = [i for i, section in enumerate(sections) if not name_of(section).startswith(_DROPPED)]
    new_index = {old: new for new, old in enumerate(kept)}
    new_symbol: dict[int, int] = {}
    rewritten: dict[int, _Section] = {}
    for index in kept:
        if sections[index].type == _SHT_SYMTAB:
            rewritten[index] = _symbols(sections[index], order, new_index, new_symbol)
    for index in kept:
        if sections[index].type in (_SHT_REL, _SHT_RELA):
            section = _relocations(sections[index], order, new_symbol)
            if section.info not in new_index:
                raise ElfError(f"strip object: section {index} relocates section {section.info}, which is not kept.")
            rewritten[index] = section._replace(info=new_index[section.info])

    body = bytearray(image[:0x40])
    headers = []
    for index in kept:
        section = rewritten.get(index, sections[index])
        if section.type:
            body += b"\0" * (-len(body) % max(section.align, 1))
        size = section.size if section.type in _NO_BYTES else len(section.data)
        headers.append(
            header.pack(
                section.name,
                section.type,
                section.flags,
                section.address,
                len(body) if section.type else 0,
                size,
                new_index.get(section.link, 0),
                section.info,
                section.align,
                section.entry_size,
            )
        )
        body += section.data
    body += b"\0" * (-len(body) % 8)
    struct.pack_into(order + "Q", body, 0x28, len(body))
    struct.pack_into(order + "HH", body, 0x3C, len(kept), new_index[names])
    return bytes(body) + b"".join(headers)


def _symbols(table: _Section, order: str, new_index: dict[int, int], new_symbol: dict[int, int]) -> _Section:
    """Drop the symbols of dropped sections; note each kept symbol's new number in *new_symbol*."""
    entry = struct.Struct(order + "IBBHQQ")
    data = bytearray()
    local = 0
    for number, (name, info, other, section, value, size) in enumerate(entry.iter_unpack(table.data)):
        if section < _RESERVED_INDEX:
            if section not in new_index:
                continue
            section = new_index[section]
        new_symbol[number] = len(data) // entry.size
        local += number < table.info
        data += entry.pack(name, info, other, section, value, size)
    return table._replace(data=bytes(data), info=local)


def _relocations(table: _Section, order: str, new_symbol: dict[int, int]) -> _Section:
    """Renumber the symbols that relocations point to."""
    entry = struct.Struct(order + ("QQq" if table.type == _SHT_RELA else "QQ"))
    data = bytearray()
    for offset, info, *addend in entry.iter_unpack(table.data):
        if info >> 32 not in new_symbol:
            raise ElfError(f"strip object: a kept relocation points to the dropped symbol {info >> 32}.")
        data += entry.pack(offset, new_symbol[info >> 32] << 32 | info & 0xFFFFFFFF, *addend)
    return table._replace(data=bytes(data))
