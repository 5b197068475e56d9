# SPDX-License-Identifier: Apache-2.0
"""BTF types as bytes: the reverse of `btf.read`.

Source: Linux include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from . import btf
from .errors import BtfError

__all__ = ["write"]

_MODIFIERS = {"volatile": 9, "const": 10, "restrict": 11, "type_tag": 18}


def write(types: Sequence[btf.BtfType], byte_order: str) -> bytes:
    """Return a BTF blob.

    Args:
        types: In order of their ids, the first is void.
        byte_order: "little" or "big".
    Raises:
        BtfError: Of this kind of type none is ever written here.
    """
    return _Writer("<" if byte_order == "little" else ">").blob(types)


class _Writer:
    def __init__(self, order: str) -> None:
        self.order = order
        self.strings = bytearray(1)
        self.offsets = {"": 0}

    def blob(self, types: Sequence[btf.BtfType]) -> bytes:
        body = b"".join(map(self.one, types[1:]))
        sizes = (24, 0, len(body), len(body), len(self.strings))
        return struct.pack(self.order + "HBBIIIII", 0xEB9F, 1, 0, *sizes) + body + bytes(self.strings)

    def string(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = len(self.strings)
            self.strings += text.encode() + b"\0"
        return self.offsets[text]

    def head(self, name: str, kind: int, count: int, extra: int, flag: bool = False) -> bytes:
        return self.words(self.string(name), flag << 31 | kind << 24 | count, extra)

    def words(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}I", *(value & 0xFFFFFFFF for value in values))

    def one(self, item: btf.BtfType) -> bytes:
        match item:
            case btf.Int():
                word = (item.signed | item.is_bool << 2) << 24 | item.bit_offset << 16 | item.bits
                return self.head(item.name, 1, 0, item.size) + self.words(word)
            case btf.Ptr():
                return self.head("", 2, 0, item.target)
            case btf.Array():
                return self.head("", 3, 0, 0) + self.words(item.element, item.index_type, item.length)
            case btf.Struct():
                bitfields = any(member.bits for member in item.members)
                head = self.head(item.name, 4 + item.is_union, len(item.members), item.size, bitfields)
                return head + b"".join(
                    self.words(self.string(member.name), member.type, member.bits << 24 | member.bit_offset)
                    for member in item.members
                )
            case btf.Enum():
                wide = item.size == 8
                head = self.head(item.name, 19 if wide else 6, len(item.values), item.size, item.signed)
                return head + b"".join(
                    self.words(self.string(name), value, *((value >> 32,) if wide else ()))
                    for name, value in item.values
                )
            case btf.Fwd():
                return self.head(item.name, 7, 0, 0, item.is_union)
            case btf.Typedef():
                return self.head(item.name, 8, 0, item.target)
            case btf.Modifier():
                return self.head(item.tag, _MODIFIERS[item.kind], 0, item.target)
            case btf.FuncProto():
                parameters = [word for name, kind in item.parameters for word in (self.string(name), kind)]
                return self.head("", 13, len(item.parameters), item.returns) + self.words(*parameters)
            case btf.Float():
                return self.head(item.name, 16, 0, item.size)
            case _:
                raise BtfError(f"write BTF: a {type(item).__name__} is not written.")
