# SPDX-License-Identifier: Apache-2.0
"""Fields of records beyond numbers and other records: texts, bytes, arrays, enumerations, bitfields, union members.

Imported by the probes that have them.
"""

from __future__ import annotations

from _struct import Struct

from .records import Field, _Number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Literal

    from .enums import CEnum
    from .records import Buffer

__all__ = ["array", "bitfield", "either", "enumeration", "padding", "raw", "s128", "text", "u128"]


class _Enumeration(_Number):
    """An integer that is a member of an enum."""

    __slots__ = ("_type",)

    def __init__(self, offset: int, code: Struct, enum: type[CEnum]) -> None:
        super().__init__(enum.__name__, offset, code)
        self._type = enum

    __get__ = Field.__get__  # by unpack()

    def unpack(self, block: Buffer, base: int) -> Any:
        return self._type(self._unpack_from(block, base + self.offset)[0])


class _WideInteger(Field):
    """A 128-bit integer."""

    __slots__ = ("_order", "_signed")

    def __init__(self, kind: str, offset: int, signed: bool) -> None:
        super().__init__(kind, offset, 16)
        self._signed = signed
        self._order: Literal["little", "big"] = "little"

    def to_big_endian(self) -> None:
        self._order = "big"

    def unpack(self, block: Buffer, base: int) -> Any:
        start = base + self.offset
        return int.from_bytes(block[start : start + 16], self._order, signed=self._signed)

    def pack(self, block: Buffer, base: int, value: object) -> None:
        start = base + self.offset
        if not isinstance(value, int):
            raise self.refuse(value)
        try:
            block[start : start + 16] = value.to_bytes(16, self._order, signed=self._signed)
        except OverflowError as error:
            raise self.refuse(value) from error


class _Bits(Field):
    """A bitfield, wherever its bits are and whatever units they straddle."""

    __slots__ = ("_high", "_low", "_mask", "_order", "_shift", "_type")

    def __init__(self, kind: str, bit: int, width: int, signed: bool, kind_of: Callable[[int], Any]) -> None:
        super().__init__(kind, bit // 8, (bit % 8 + width + 7) // 8)
        self.bit_offset = bit
        self.bits = width
        self._mask = (1 << width) - 1
        self._low = -(1 << width - 1) if signed else 0
        self._high = self._mask + self._low
        self._type = kind_of
        self._order: Literal["little", "big"] = "little"
        self._shift = bit % 8

    def to_big_endian(self) -> None:
        self._order = "big"
        self._shift = 8 * self.size - self.bit_offset % 8 - self.bits

    def unpack(self, block: Buffer, base: int) -> Any:
        start = base + self.offset
        value = int.from_bytes(block[start : start + self.size], self._order) >> self._shift & self._mask
        return self._type(value if value <= self._high else value - self._mask - 1)

    def pack(self, block: Buffer, base: int, value: object) -> None:
        if not isinstance(value, int) or not self._low <= value <= self._high:
            raise self.refuse(value, f" of {self.bits} bits")
        start = base + self.offset
        around = int.from_bytes(block[start : start + self.size], self._order) & ~(self._mask << self._shift)
        both = around | (value & self._mask) << self._shift
        block[start : start + self.size] = both.to_bytes(self.size, self._order)


class _Bytes(Field):
    """A fixed number of bytes, kept as they are."""

    __slots__ = ()

    def unpack(self, block: Buffer, base: int) -> Any:
        start = base + self.offset
        return bytes(block[start : start + self.size])

    def pack(self, block: Buffer, base: int, value: object) -> None:
        if not isinstance(value, bytes | bytearray | memoryview) or len(value) > self.size:
            raise self.refuse(value, f" of {self.size} bytes")
        start = base + self.offset
        block[start : start + self.size] = bytes(value).ljust(self.size, b"\0")


class _Padding(_Bytes):
    """Bytes that mean nothing; always zero in records made here."""

    __slots__ = ()

    means_nothing: ClassVar[bool] = True


class _Text(Field):
    """A char array: text up to the first NUL. Bytes that are not UTF-8 show as backslash escapes."""

    __slots__ = ()

    def unpack(self, block: Buffer, base: int) -> Any:
        start = base + self.offset
        return bytes(block[start : start + self.size]).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def pack(self, block: Buffer, base: int, value: object) -> None:
        try:
            data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        except UnicodeEncodeError as error:
            raise self.refuse(value, ": it is no text that UTF-8 can say") from error
        if not isinstance(data, bytes) or len(data) > self.size:
            raise self.refuse(value, f" of {self.size} bytes")
        start = base + self.offset
        block[start : start + self.size] = data.ljust(self.size, b"\0")

    def as_key(self) -> Field:
        return _KeyText(self.kind, self.offset, self.size)


class _KeyText(_Text):
    """A char array that is the key of a map: all of it but the NULs at its end, for each entry has a text of its own.

    What is behind a NUL belongs to the key, and bytes that are not UTF-8 are surrogates, as in names of files.
    """

    __slots__ = ()

    def unpack(self, block: Buffer, base: int) -> Any:
        start = base + self.offset
        return bytes(block[start : start + self.size]).rstrip(b"\0").decode("utf-8", "surrogateescape")


class _Array(Field):
    """Elements in a row, as a tuple."""

    __slots__ = ("count", "element")

    def __init__(self, offset: int, element: Field, count: int) -> None:
        kind, bracket, inner = element.kind.partition("[")  # as in C, the outermost dimension comes first
        super().__init__(f"{kind}[{count}]{bracket}{inner}", offset, element.size * count)
        self.element = element
        self.count = count

    def to_big_endian(self) -> None:
        self.element.to_big_endian()

    def as_key(self) -> Field:
        return _Array(self.offset, self.element.as_key(), self.count)

    def unpack(self, block: Buffer, base: int) -> Any:
        start = base + self.offset
        step = self.element.size
        return tuple(self.element.unpack(block, start + i * step) for i in range(self.count))

    def pack(self, block: Buffer, base: int, value: object) -> None:
        values = list(value) if isinstance(value, tuple | list) else None
        if values is None or len(values) != self.count:
            raise self.refuse(value, f" with its {self.count} elements")
        start = base + self.offset
        for i, item in enumerate(values):
            self.element.pack(block, start + i * self.element.size, item)


_UNSIGNED = {size: Struct("<" + code) for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}
_SIGNED = {size: Struct("<" + code) for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))}


def u128(offset: int) -> Any:
    """An unsigned 128-bit integer at *offset*."""
    return _WideInteger("u128", offset, False)


def s128(offset: int) -> Any:
    """A signed 128-bit integer at *offset*."""
    return _WideInteger("s128", offset, True)


def enumeration(offset: int, size: int, enum: type[CEnum], *, signed: bool = False) -> Any:
    """A member of *enum*, *size* bytes, at *offset*; signed if that is said, or if an enumerator is negative."""
    codes = _SIGNED if signed or any(member < 0 for member in enum) else _UNSIGNED
    return _Enumeration(offset, codes[size], enum)


def bitfield(bit: int, width: int, *, signed: bool = False, kind: Callable[[int], Any] = int) -> Any:
    """A bitfield of *width* bits, *bit* bits from the start of the record as BTF counts; *kind* may be bool or an enum.

    In a big-endian record the most significant bit of a byte is counted first.
    """
    name = f"{'s' if signed else 'u'}{width}" if kind is int else "boolean" if kind is bool else kind.__name__
    return _Bits(name, bit, width, signed, kind)


def either(field: Any, *, default: None = None) -> Any:
    """A member of a union: it shares its bytes with others, and the constructor can do without it (*default*)."""
    field.shared = True
    return field


def text(offset: int, size: int) -> Any:
    """A char array of *size* bytes at *offset*, as `str` up to the first NUL; `Record.raw` has the bytes.

    As the key of a map it is all but the NULs at its end, and bytes that are not UTF-8 are surrogates (`os.fsencode`
    has the bytes), so that each key that is read finds its entry.
    """
    return _Text("text", offset, size)


def raw(offset: int, size: int) -> Any:
    """*size* bytes at *offset*, as `bytes`."""
    return _Bytes("raw", offset, size)


def padding(offset: int, size: int, *, init: bool = False) -> Any:
    """*size* meaningless bytes at *offset*; zero in records made in Python, and no part of their value."""
    return _Padding("padding", offset, size)


def array(offset: int, element: Any, count: int) -> Any:
    """*count* values of the kind of *element* in a row at *offset*, as a tuple."""
    return _Array(offset, element, count)
