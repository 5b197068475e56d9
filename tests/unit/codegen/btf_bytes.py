# SPDX-License-Identifier: Apache-2.0
"""BTF assembled by hand: a kernel with just the types that a test needs."""

from __future__ import annotations

import struct

__all__ = ["BtfBytes"]


class BtfBytes:
    """Collects types; each method returns the id of the type it adds."""

    def __init__(self) -> None:
        self._strings = b"\0"
        self._types = b""
        self._count = 0

    def _add(self, name: str, kind: int, size_or_type: int, payload: bytes = b"", vlen: int = 0, flag: int = 0) -> int:
        self._types += struct.pack("<III", self._string(name), flag << 31 | kind << 24 | vlen, size_or_type) + payload
        self._count += 1
        return self._count

    def _string(self, text: str) -> int:
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text) - 1

    def integer(self, name: str, size: int, *, signed: bool = False, boolean: bool = False) -> int:
        return self._add(name, 1, size, struct.pack("<I", (signed | boolean << 2) << 24 | 8 * size))

    def pointer(self, target: int) -> int:
        return self._add("", 2, target)

    def array(self, element: int, count: int) -> int:
        return self._add("", 3, 0, struct.pack("<III", element, element, count))

    def struct(self, name: str, size: int, *members: tuple[str, int, int], widths: tuple[int, ...] = ()) -> int:
        """Add a struct of (name, type, offset in bits); *widths* gives those of bitfields, 0 for other members."""
        payload = b"".join(
            struct.pack("<III", self._string(member), target, offset | width << 24)
            for (member, target, offset), width in zip(members, widths or (0,) * len(members), strict=True)
        )
        return self._add(name, 4, size, payload, len(members), bool(widths))

    def enum(self, name: str, **values: int) -> int:
        payload = b"".join(struct.pack("<Ii", self._string(key), value) for key, value in values.items())
        return self._add(name, 6, 4, payload, len(values), any(value < 0 for value in values.values()))

    def typedef(self, name: str, target: int) -> int:
        return self._add(name, 8, target)

    def data(self) -> bytes:
        lengths = (0, len(self._types), len(self._types), len(self._strings))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *lengths) + self._types + self._strings
