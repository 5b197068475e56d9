# SPDX-License-Identifier: Apache-2.0
"""The CO-RE relocations of a `.BTF.ext` section: which kernel types and members the programs ask for.

Source: Linux include/uapi/linux/bpf.h, struct bpf_core_relo; Documentation/bpf/btf.rst, ".BTF.ext section".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import btf
from .errors import BtfError
from .shapes import spell

__all__ = ["CoReRelocation", "relocations"]

# enum bpf_core_relo_kind, without its prefix.
KINDS: Final = (
    "field_byte_offset", "field_byte_size", "field_exists", "field_signed", "field_lshift_u64", "field_rshift_u64",
    "type_id_local", "type_id_target", "type_exists", "type_size", "enumval_exists", "enumval_value", "type_matches",
)  # fmt: skip
_RECORD: Final = 16


@dataclass(frozen=True, slots=True)
class CoReRelocation:
    """One relocation: *target* is spelled like `struct task_struct.mm.owner` or `enum x.VALUE`; *instruction* is the
    offset in bytes of the instruction in its section. *access* are the numbers behind the spelling, from *type_id* on:
    the first indexes the pointer, or is the enumerator; the others are members and elements."""

    section: str
    instruction: int
    kind: str
    target: str
    type_id: int
    access: tuple[int, ...]


def relocations(data: bytes, types: btf.Btf, strings: bytes) -> tuple[CoReRelocation, ...]:
    """Decode the CO-RE part of a `.BTF.ext` section; one without such a part holds none.

    Args:
        data: The section's bytes.
        types: The object's types.
        strings: The strings of its `.BTF` section.
    Raises:
        BtfError: The section is damaged; names the byte offset.
    """
    return tuple(_Reader(data, types, strings).read())


class _Reader:
    def __init__(self, data: bytes, types: btf.Btf, strings: bytes) -> None:
        self.data = data
        self.types = types
        self.strings = strings
        self.order = "<" if types.byte_order == "little" else ">"

    def fail(self, offset: int, reason: str) -> BtfError:
        return BtfError(f"{self.types.source}: .BTF.ext, byte {offset}: {reason}.")

    def words(self, offset: int, count: int) -> tuple[int, ...]:
        if offset + 4 * count > len(self.data):
            raise self.fail(offset, f"{4 * count} bytes are needed, the section has {len(self.data)}")
        return struct.unpack_from(f"{self.order}{count}I", self.data, offset)

    def string(self, offset: int, at: int) -> str:
        if offset >= len(self.strings):
            raise self.fail(at, f"string offset {offset} is outside the {len(self.strings)} bytes of strings")
        return self.strings[offset : self.strings.index(b"\0", offset)].decode("utf-8", "backslashreplace")

    def read(self) -> Iterator[CoReRelocation]:
        if len(self.data) < 8 or struct.unpack_from(self.order + "H", self.data)[0] != 0xEB9F:
            raise self.fail(0, "it does not begin with the magic number eb9f")
        (header,) = self.words(4, 1)
        if header < 32:  # a header without a CO-RE part
            return
        start, length = self.words(24, 2)
        if not length:
            return
        position, end = header + start, header + start + length
        if end > len(self.data):
            raise self.fail(24, f"CO-RE relocations end at {end}, after the section ({len(self.data)})")
        (size,) = self.words(position, 1)
        if size < _RECORD:
            raise self.fail(position, f"CO-RE relocations of {size} bytes are shorter than {_RECORD}")
        position += 4
        while position < end:
            name, count = self.words(position, 2)
            section = self.string(name, position)
            position += 8
            if position + count * size > end:
                raise self.fail(position, f"{count} relocations of section {section!r} do not fit")
            for _ in range(count):
                instruction, type_id, access, kind = self.words(position, 4)
                if type_id >= len(self.types.types):
                    raise self.fail(position, f"a relocation refers to type {type_id}, which is not there")
                text = self.string(access, position)
                target = self.target(type_id, text, position)
                called = KINDS[kind] if kind < len(KINDS) else f"kind {kind}"
                numbers = tuple(map(int, text.split(":")))
                yield CoReRelocation(section, instruction, called, target, type_id, numbers)
                position += size

    def target(self, type_id: int, access: str, at: int) -> str:
        """Spell `0:1:2`: the first number indexes the pointer, the others members, elements or one enumerator."""
        text = spell(self.types, type_id)
        try:
            first, *rest = (int(word) for word in access.split(":"))
        except ValueError:
            raise self.fail(at, f"access {access!r} is no list of numbers") from None
        item = self.types[self.types.resolve(type_id)]
        try:
            if isinstance(item, btf.Enum):
                return f"{text}.{item.values[first][0]}"
            for index in rest:
                if isinstance(item, btf.Struct):
                    member = item.members[index]
                    text += f".{member.name}" if member.name else ""
                    item = self.types[self.types.resolve(member.type)]
                elif isinstance(item, btf.Array):
                    text += f"[{index}]"
                    item = self.types[self.types.resolve(item.element)]
                else:
                    raise IndexError
        except IndexError:
            raise self.fail(at, f"access {access!r} leads out of {spell(self.types, type_id)}") from None
        return text
