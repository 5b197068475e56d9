# SPDX-License-Identifier: Apache-2.0
"""Whether the keys and values of two maps have the same fields, by their BTF.

Kernel: 4.18.
Source: Linux Documentation/bpf/btf.rst; include/uapi/linux/btf.h.
"""

from __future__ import annotations

import errno
import os
from struct import Struct, pack

from . import system_calls
from .errors import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Layouts", "difference", "pinned_layouts"]

_GET_FD_BY_ID = 19  # BPF_BTF_GET_FD_BY_ID
_INFORMATION_BYTES = 32  # of struct bpf_btf_info
_HEADER = Struct("=HBBIIIII")
_TYPE = Struct("=III")
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD = range(1, 8)
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO, _VAR, _DATASEC = range(8, 16)
_FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = range(16, 20)
_NAMES_ONLY = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)
# Bytes behind a type's three words: those of each of its members, and those of all.
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_ONCE = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_SIGNED, _BOOL = 1, 4


class _Field:
    """One scalar in a key or value: what it is, and where, in bits."""

    __slots__ = ("at", "bits", "kind", "name")

    def __init__(self, name: str, at: int, bits: int, kind: str) -> None:
        self.name = name
        self.at = at
        self.bits = bits
        self.kind = kind

    def __str__(self) -> str:
        place = f"bit {self.at}" if self.at % 8 or self.bits % 8 else f"byte {self.at // 8}"
        return f"{self.kind} at {place}"

    def same(self, other: _Field) -> bool:
        return (self.at, self.bits, self.kind) == (other.at, other.bits, other.kind)


class Layouts:
    """What the key and the value of a map are made of.

    Attributes:
        parts: The fields by "key" and "value"; a part without a type is not there.
    """

    def __init__(self, btf: bytes, key: int, value: int) -> None:
        """Read them out of BTF, where the types have these ids; 0: none.

        Raises:
            ValueError: It is damaged.
        """
        from struct import error

        try:
            types = _Types(btf)
            ids = {"key": key, "value": value}
            self.parts = {part: list(types.fields(number, 0, "")) for part, number in ids.items() if number}
        except (error, IndexError, ValueError) as failure:
            raise ValueError(f"damaged BTF ({failure})") from None

    @property
    def has_members(self) -> bool:
        """Whether there is a struct in them, which sizes alone do not describe."""
        return any(field.name for fields in self.parts.values() for field in fields)


class _Types:
    def __init__(self, data: bytes) -> None:
        _, _, _, header, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
        self._data = data
        self._strings = data[header + strings : header + strings + strings_size]
        self._places = [0]
        at, end = header + types, header + types + types_size
        while at < end:
            self._places.append(at)
            _, info, _ = _TYPE.unpack_from(data, at)
            kind = info >> 24 & 31
            at += _TYPE.size + _EACH.get(kind, 0) * (info & 0xFFFF) + _ONCE.get(kind, 0)

    def _name(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode("utf-8", "replace")

    def fields(self, number: int, at: int, name: str, width: int = 0) -> Iterator[_Field]:
        """Yield the scalars of a type that begins at a bit; members of members have both names.

        Args:
            width: Bits of a bitfield, 0 for what is none.
        """
        place = self._places[number] if number else 0
        if not place:
            yield _Field(name, at, 0, "void")
            return
        called, info, size = _TYPE.unpack_from(self._data, place)
        kind, count, more = info >> 24 & 31, info & 0xFFFF, place + _TYPE.size
        if kind in _NAMES_ONLY:
            yield from self.fields(size, at, name, width)
        elif kind in (_STRUCT, _UNION):
            for index in range(count):
                member, of, offset = _TYPE.unpack_from(self._data, more + 12 * index)
                bits, offset = (offset >> 24, offset & 0xFFFFFF) if info >> 31 else (0, offset)
                own = self._name(member)
                path = f"{name}.{own}" if name and own else own or name
                yield from self.fields(of, at + offset, path, bits)
        elif kind == _ARRAY:
            of, _, length = _TYPE.unpack_from(self._data, more)
            for field in self.fields(of, at, name):
                yield _Field(field.name, field.at, field.bits, f"{field.kind}[{length}]")
        elif kind == _INT:
            encoding = self._data[more + 3] & 15
            word = "bool" if encoding & _BOOL else f"{'s' if encoding & _SIGNED else 'u'}{width or size * 8}"
            yield _Field(name, at, width or size * 8, word)
        elif kind in (_ENUM, _ENUM64):
            yield _Field(name, at, width or size * 8, f"enum {self._name(called)}".rstrip())
        elif kind == _FLOAT:
            yield _Field(name, at, size * 8, f"float{size * 8}")
        else:
            yield _Field(name, at, 64, "pointer")


def difference(found: Layouts, wanted: Layouts) -> str:
    """Return in what the first map differs from the second, with both layouts; empty if in nothing that both tell."""
    for part in ("key", "value"):
        have, want = found.parts.get(part), wanted.parts.get(part)
        if have is None or want is None:
            continue
        reason = _first_difference(part, {field.name: field for field in have}, {field.name: field for field in want})
        if reason:
            return f"{reason}. Pinned {part}: {_all(have)}; this probe's: {_all(want)}"
    return ""


def _first_difference(part: str, have: dict[str, _Field], want: dict[str, _Field]) -> str:
    for name, field in want.items():
        there = have.get(name)
        if there is None:
            return f"its {part} has no field {name!r}" if name else f"its {part} is a struct, not {field.kind}"
        if not there.same(field):
            return f"{f'field {name!r} of its {part}' if name else f'its {part}'} is {there}, not {field}"
    extra = [name for name in have if name not in want]
    return f"its {part} has a field {extra[0]!r}" if extra else ""


def _all(fields: list[_Field]) -> str:
    return f"{{{', '.join(f'{field.name} {field}'.strip() for field in fields)}}}"


def pinned_layouts(information: bytes) -> Layouts | str:
    """Return what a map of the system is made of, or why that cannot be told.

    Args:
        information: Its struct bpf_map_info.
    """
    btf, key, value = (int.from_bytes(information[at : at + 4], "little") for at in (64, 68, 72))
    if not btf or not (key or value):
        return "it has no BTF"
    fd, _ = system_calls.bpf(_GET_FD_BY_ID, pack("=I", btf))
    if fd < 0:
        return f"its BTF cannot be read ({describe(-fd)})"
    try:
        data = _raw(fd)
    finally:
        os.close(fd)
    try:
        return Layouts(data, key, value)
    except ValueError as error:
        return f"it has {error}"


def _raw(fd: int) -> bytes:
    """Return the bytes of BTF; the kernel tells their number first."""
    size = 0
    while True:
        block = bytearray(size)
        where, kept = system_calls.address(block)
        result, information = system_calls.object_info(fd, _INFORMATION_BYTES, pack("=QI", where, size))
        whole = int.from_bytes(information[8:12], "little")
        del kept
        if whole <= size or result not in (0, -errno.ENOSPC):
            return bytes(block)
        size = whole
