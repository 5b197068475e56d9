# SPDX-License-Identifier: Apache-2.0
"""The CO-RE relocations of an object: which types, members and enumerators of the kernel its programs ask for.

Source: Linux include/uapi/linux/bpf.h, struct bpf_core_relo; Documentation/bpf/btf.rst, ".BTF.ext section".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .elf import Elf
from .errors import BtfError

__all__ = ["ENUMERATOR_KINDS", "FIELD_KINDS", "TYPE_ID_LOCAL", "TYPE_MATCHES", "Relocation", "relocations"]

# enum bpf_core_relo_kind.
FIELD_KINDS: Final = range(6)
TYPE_ID_LOCAL: Final = 6
ENUMERATOR_KINDS: Final = (10, 11)
TYPE_MATCHES: Final = 12
_RECORD: Final = 16
_HEADER: Final = 32  # a shorter one has no CO-RE part


@dataclass(frozen=True, slots=True)
class Relocation:
    """One question about the type *type_id* of the object; *access* are indices of members and elements, from it on.

    The first of them indexes the pointer that the program follows; of an enumerator there is no other.
    """

    kind: int
    type_id: int
    access: tuple[int, ...]


def relocations(elf: Elf) -> tuple[Relocation, ...]:
    """Return the relocations of an object, none if it has none.

    Raises:
        BtfError: The section is damaged; names the byte offset.
    """
    number = elf.section(".BTF.ext")
    types = elf.section(".BTF")
    if number is None or types is None:
        return ()
    return tuple(_Reader(elf, elf.sections[number].data, elf.sections[types].data).read())


class _Reader:
    def __init__(self, elf: Elf, data: bytes, types: bytes) -> None:
        self.elf = elf
        self.data = data
        self.order = "<" if elf.byte_order == "little" else ">"
        header, offset, size = *struct.unpack_from(self.order + "I", types, 4), *struct.unpack_from(
            self.order + "II", types, 16
        )  # fmt: skip
        self.strings = types[header + offset : header + offset + size]

    def fail(self, offset: int, reason: str) -> BtfError:
        return BtfError(f"{self.elf.source}: .BTF.ext, byte {offset}: {reason}.")

    def words(self, offset: int, count: int) -> tuple[int, ...]:
        if offset + 4 * count > len(self.data):
            raise self.fail(offset, f"{4 * count} bytes are needed, the section has {len(self.data)}")
        return struct.unpack_from(f"{self.order}{count}I", self.data, offset)

    def access(self, offset: int, at: int) -> tuple[int, ...]:
        end = self.strings.find(b"\0", offset)
        try:
            return tuple(int(word) for word in self.strings[offset:end].decode("ascii").split(":"))
        except ValueError:
            raise self.fail(at, "an access is no list of numbers") from None

    def read(self) -> Iterator[Relocation]:
        if self.words(0, 2)[0] & 0xFFFF != 0xEB9F and self.words(0, 2)[0] >> 16 != 0xEB9F:
            raise self.fail(0, "it does not begin with the magic number eb9f")
        (header,) = self.words(4, 1)
        start, length = self.words(24, 2) if header >= _HEADER else (0, 0)
        if not length:
            return
        position, end = header + start, header + start + length
        (size,) = self.words(position, 1)
        if size < _RECORD:
            raise self.fail(position, f"relocations of {size} bytes are shorter than {_RECORD}")
        position += 4
        while position < end:
            _, count = self.words(position, 2)
            position += 8
            for _ in range(count):
                _, type_id, access, kind = self.words(position, 4)
                if type_id >= len(self.elf.btf.types):
                    raise self.fail(position, f"a relocation refers to type {type_id}, which is not there")
                yield Relocation(kind, type_id, self.access(access, position))
                position += size
