# SPDX-License-Identifier: Apache-2.0
"""BTF, read into frozen records.

`read(data)` decodes one `.BTF` section (or `/sys/kernel/btf/vmlinux`). Types refer to each other by id, as in the
format; id 0 is void. All offsets and sizes are checked before they are used, so damaged input ends in `BtfError`.

Source: Linux include/uapi/linux/btf.h, Documentation/bpf/btf.rst. Both the 24-byte header and the 32-byte one (with a
layout section) are read, and both widths of the kind and count fields of `info`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, overload

from .errors import BtfError

if TYPE_CHECKING:
    from mmap import mmap

__all__ = [
    "ATOMIC_ARRAYS",
    "Array",
    "Btf",
    "BtfType",
    "Datasec",
    "DeclTag",
    "Enum",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "IndexedBtf",
    "Int",
    "Member",
    "Modifier",
    "Ptr",
    "SectionVariable",
    "Struct",
    "Typedef",
    "Var",
    "Void",
    "index",
    "read",
    "strings",
]

ATOMIC_ARRAYS: Final = (
    "Clang before 20 writes such types for arrays of _Atomic: declare them without."  # said of odd arrays
)
_MAGIC: Final = 0xEB9F
_NATIVE: Final = "<" if sys.byteorder == "little" else ">"
_MIN_HEADER: Final = 24
_MAX_PARTS: Final = 0xFFFF  # BTF_MAX_VLEN
_MAX_DEPTH: Final = 64  # longest chain of typedefs, modifiers and arrays that is followed


class Void(NamedTuple):
    """The type with id 0."""


class Int(NamedTuple):
    """An integer, a bool or a char; *bits* is smaller than 8 * *size* for old-style bitfields."""

    name: str
    size: int
    signed: bool
    is_bool: bool
    bit_offset: int
    bits: int


class Ptr(NamedTuple):
    """A pointer to the type *target*."""

    target: int


class Array(NamedTuple):
    """*length* elements of type *element*; 0 for a flexible array."""

    element: int
    index_type: int
    length: int


class Member(NamedTuple):
    """One member of a struct or union; *bits* is 0 for an ordinary member, else the width of the bitfield."""

    name: str
    type: int
    bit_offset: int
    bits: int


class Struct(NamedTuple):
    """A struct or a union; an anonymous one has an empty name."""

    name: str
    size: int
    members: tuple[Member, ...]
    is_union: bool


class Enum(NamedTuple):
    """An enum of 1, 2, 4 or 8 bytes with its enumerators in order of declaration."""

    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


class Fwd(NamedTuple):
    """A struct or union that was only declared."""

    name: str
    is_union: bool


class Typedef(NamedTuple):
    """Another name for *target*."""

    name: str
    target: int


class Modifier(NamedTuple):
    """const, volatile, restrict, or a type tag (then *tag* is its text) on *target*."""

    kind: str
    target: int
    tag: str = ""


class Func(NamedTuple):
    """A function or BPF program; *linkage* is 0 static, 1 global, 2 extern."""

    name: str
    proto: int
    linkage: int


class FuncProto(NamedTuple):
    """A function's return type and its (name, type) parameters."""

    returns: int
    parameters: tuple[tuple[str, int], ...]


class Var(NamedTuple):
    """A global or static variable; *linkage* is 0 static, 1 global, 2 extern. *type* is 0 for _Atomic ones."""

    name: str
    type: int
    linkage: int


class SectionVariable(NamedTuple):
    """Where a variable stands in its section; clang leaves the offset of global ones 0 (the symbol has it)."""

    var: int
    offset: int
    size: int


class Datasec(NamedTuple):
    """A data section; clang leaves its size 0 (the ELF section header has it)."""

    name: str
    size: int
    variables: tuple[SectionVariable, ...]


class Float(NamedTuple):
    """A floating point number."""

    name: str
    size: int


class DeclTag(NamedTuple):
    """`btf_decl_tag(text)` on type, variable or function *target*, or on its member or argument *component*."""

    text: str
    target: int
    component: int


BtfType = (
    Void
    | Int
    | Ptr
    | Array
    | Struct
    | Enum
    | Fwd
    | Typedef
    | Modifier
    | Func
    | FuncProto
    | Var
    | Datasec
    | Float
    | DeclTag
)

_T = TypeVar("_T")
# Kind -> bytes that follow the type's head, and bytes for each of its `vlen` parts.
_PAYLOAD: Final = {
    1: (4, 0), 2: (0, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 7: (0, 0), 8: (0, 0), 9: (0, 0), 10: (0, 0),
    11: (0, 0), 12: (0, 0), 13: (0, 8), 14: (4, 0), 15: (0, 12), 16: (0, 0), 17: (4, 0), 18: (0, 0), 19: (0, 12),
}  # fmt: skip
# The same in words by the first byte of `info`, whose upper bit is a flag: the whole length of kinds without parts, and
# the words of each part of those with; both are 0 for an unknown kind.
_WITHOUT_FLAG: Final = bytes((*range(128), *range(128)))
_FIXED_WORDS: Final = tuple(
    3 + _PAYLOAD[kind][0] // 4 if kind in _PAYLOAD and not _PAYLOAD[kind][1] else 0 for kind in _WITHOUT_FLAG
)
_EACH_WORDS: Final = tuple(_PAYLOAD[kind][1] // 4 if kind in _PAYLOAD else 0 for kind in _WITHOUT_FLAG)
_IS_TAGGED: Final = tuple(kind in (4, 5, 6, 19) for kind in _WITHOUT_FLAG)  # struct, union, enum, enum64
_CODES: Final[dict[type, tuple[int, ...]]] = {
    Int: (1,), Ptr: (2,), Array: (3,), Struct: (4, 5), Enum: (6, 19), Fwd: (7,), Typedef: (8,),
    Modifier: (9, 10, 11, 18), Func: (12,), FuncProto: (13,), Var: (14,), Datasec: (15,), Float: (16,), DeclTag: (17,),
}  # fmt: skip
_MODIFIERS: Final = {9: "volatile", 10: "const", 11: "restrict", 18: "type_tag"}


class Btf:
    """The decoded types of one BTF blob; `types[i]` has id i."""

    def __init__(self, types: Sequence[BtfType], byte_order: str, source: str) -> None:
        self.types = types
        self.byte_order = byte_order
        self.source = source

    def __getitem__(self, type_id: int) -> BtfType:
        return self.types[type_id]

    def strip(self, type_id: int) -> int:
        """Return the id behind modifiers (const, volatile, restrict, type tags), typedefs kept."""
        return self._follow(type_id, Modifier)

    def resolve(self, type_id: int) -> int:
        """Return the id behind modifiers and typedefs.

        Raises:
            BtfError: The chain is longer than any compiler makes, that is, a cycle.
        """
        return self._follow(type_id, Modifier, Typedef)

    def size(self, type_id: int) -> int:
        """Return the size in bytes of a type; void, functions and forward declarations have size 0."""
        count = 1
        for _ in range(_MAX_DEPTH):
            resolved = self.types[self.resolve(type_id)]
            match resolved:
                case Array():
                    count *= resolved.length
                    type_id = resolved.element
                case Int() | Struct() | Enum() | Float() | Datasec():
                    return count * resolved.size
                case Ptr():
                    return count * 8
                case _:
                    return 0
        raise BtfError(f"{self.source}: type {type_id}: arrays nest deeper than {_MAX_DEPTH} levels.")

    def of_kind(self, kind: type[_T]) -> list[tuple[int, _T]]:
        """Return all types of one kind with their ids."""
        return [(type_id, item) for type_id, item in enumerate(self.types) if isinstance(item, kind)]

    def find(self, kind: type[BtfType], name: str) -> int | None:
        """Return the id of the first type of this kind and name."""
        return next((type_id for type_id, item in self.of_kind(kind) if getattr(item, "name", None) == name), None)

    def _follow(self, type_id: int, *kinds: type[Modifier] | type[Typedef]) -> int:
        start = type_id
        for _ in range(_MAX_DEPTH):
            item = self.types[type_id]
            if not isinstance(item, kinds):
                return type_id
            type_id = item.target
        raise BtfError(f"{self.source}: type {start}: its typedefs and modifiers form a cycle.")


class _Reader:
    """One pass over a blob; keeps the offset so that every complaint can name it."""

    def __init__(self, data: bytes | mmap, source: str) -> None:
        self.data = data
        self.source = source
        self.order = ""
        self.strings = b""
        self.offset = 0

    def fail(self, offset: int, reason: str) -> BtfError:
        return BtfError(f"{self.source}: .BTF, byte {offset}: {reason}.")

    def header(self) -> tuple[int, int]:
        """Check the header, keep the strings, and return start and end of the type section."""
        if len(self.data) < _MIN_HEADER:
            raise self.fail(0, f"{len(self.data)} bytes are too few for a header of {_MIN_HEADER}")
        for order in "<>":
            if struct.unpack_from(order + "H", self.data)[0] == _MAGIC:
                self.order = order
                break
        else:
            raise self.fail(0, f"magic number {self.data[:2].hex()} is not {_MAGIC:x}")
        version, _flags, header_size, type_off, type_len, str_off, str_len = struct.unpack_from(
            self.order + "BBIIIII", self.data, 2
        )
        if version != 1:
            raise self.fail(2, f"version {version} is not 1")
        size = len(self.data)
        if not _MIN_HEADER <= header_size <= size:
            raise self.fail(4, f"header size {header_size} does not fit the section of {size} bytes")
        if header_size + type_off + type_len > size:
            raise self.fail(8, f"types end at {header_size + type_off + type_len}, after the section ({size})")
        if header_size + str_off + str_len > size:
            raise self.fail(16, f"strings end at {header_size + str_off + str_len}, after the section ({size})")
        start = header_size + str_off
        self.strings = self.data[start : start + str_len]
        if not self.strings or self.strings[0] or self.strings[-1]:
            raise self.fail(start, "the string section does not begin and end with a NUL byte")
        return header_size + type_off, header_size + type_off + type_len

    def string(self, offset: int) -> str:
        if offset >= len(self.strings):
            raise self.fail(self.offset, f"string offset {offset} is outside the {len(self.strings)} bytes of strings")
        return self.strings[offset : self.strings.index(b"\0", offset)].decode("utf-8", "backslashreplace")

    def read(self) -> Btf:
        start, end = self.header()
        unpack_head = struct.Struct(self.order + "III").unpack_from
        types: list[BtfType] = [Void()]
        self.offset = start
        while self.offset < end:
            if self.offset + 12 > end:
                raise self.fail(self.offset, f"type {len(types)} is cut off")
            name_off, info, size_or_type = unpack_head(self.data, self.offset)
            item, length = self.one(len(types), self.string(name_off), info, size_or_type, end - self.offset - 12)
            types.append(item)
            self.offset += 12 + length
        self.check_references(types)
        return Btf(tuple(types), "little" if self.order == "<" else "big", self.source)

    def words(self, type_id: int, count: int, room: int) -> tuple[int, ...]:
        """Return *count* 32-bit words that follow the type's head."""
        if 4 * count > room:
            raise self.fail(self.offset, f"type {type_id} needs {4 * count} more bytes, {room} are left")
        return struct.unpack_from(f"{self.order}{count}I", self.data, self.offset + 12)

    def one(self, type_id: int, name: str, info: int, extra: int, room: int) -> tuple[BtfType, int]:
        """Decode one type; *extra* is its size or type field. Return it and the length of its payload."""
        kind, flag, vlen = info >> 24 & 0x7F, bool(info >> 31), info & 0xFFFFFF
        if vlen > _MAX_PARTS:
            raise self.fail(self.offset, f"type {type_id} has {vlen} parts, the kernel takes {_MAX_PARTS} at most")
        match kind:
            case 1:
                (word,) = self.words(type_id, 1, room)
                encoding = word >> 24 & 0xF
                return Int(name, extra, bool(encoding & 1), bool(encoding & 4), word >> 16 & 0xFF, word & 0xFF), 4
            case 2:
                return Ptr(extra), 0
            case 3:
                element, index, count = self.words(type_id, 3, room)
                return Array(element, index, count), 12
            case 4 | 5:
                words = self.words(type_id, 3 * vlen, room)
                members = tuple(
                    Member(
                        self.string(words[i]),
                        words[i + 1],
                        words[i + 2] & 0xFFFFFF if flag else words[i + 2],
                        words[i + 2] >> 24 if flag else 0,
                    )
                    for i in range(0, 3 * vlen, 3)
                )
                return Struct(name, extra, members, kind == 5), 12 * vlen
            case 6:
                words = self.words(type_id, 2 * vlen, room)
                return Enum(name, extra, flag, self.enumerators(words[::2], words[1::2], 32, flag)), 8 * vlen
            case 7:
                return Fwd(name, flag), 0
            case 8:
                return Typedef(name, extra), 0
            case 9 | 10 | 11 | 18:
                return Modifier(_MODIFIERS[kind], extra, name), 0
            case 12:
                return Func(name, extra, vlen), 0
            case 13:
                words = self.words(type_id, 2 * vlen, room)
                pairs = zip(words[::2], words[1::2], strict=True)
                return FuncProto(extra, tuple((self.string(n), t) for n, t in pairs)), 8 * vlen
            case 14:
                (linkage,) = self.words(type_id, 1, room)
                return Var(name, extra, linkage), 4
            case 15:
                words = self.words(type_id, 3 * vlen, room)
                variables = tuple(SectionVariable(*words[i : i + 3]) for i in range(0, 3 * vlen, 3))
                return Datasec(name, extra, variables), 12 * vlen
            case 16:
                return Float(name, extra), 0
            case 17:
                (component,) = self.words(type_id, 1, room)
                return DeclTag(name, extra, component - (1 << 32) if component >> 31 else component), 4
            case 19:
                words = self.words(type_id, 3 * vlen, room)
                values = [low | high << 32 for low, high in zip(words[1::3], words[2::3], strict=True)]
                return Enum(name, extra, flag, self.enumerators(words[::3], values, 64, flag)), 12 * vlen
            case _:
                raise self.fail(self.offset, f"type {type_id} has the unknown kind {kind}")

    def enumerators(
        self, names: tuple[int, ...], values: tuple[int, ...] | list[int], bits: int, signed: bool
    ) -> tuple[tuple[str, int], ...]:
        return tuple(
            (self.string(name), value - (1 << bits) if signed and value >> (bits - 1) else value)
            for name, value in zip(names, values, strict=True)
        )

    def check_references(self, types: list[BtfType]) -> None:
        """Refuse ids beyond the last type, so that no later look-up can fail."""
        last = len(types) - 1
        for type_id, item in enumerate(types):
            for reference in _references(item):
                if reference > last:
                    raise BtfError(
                        f"{self.source}: .BTF, type {type_id}: it refers to type {reference}, but the last is {last}."
                    )

    def index(self) -> IndexedBtf:
        """Note where each type begins, and its kind; decode nothing yet."""
        start, end = self.header()
        length = (end - start) // 4
        words = memoryview(self.data)[start : start + 4 * length].cast("I")  # no copy, which is some megabytes
        if self.order != _NATIVE:
            swapped = array("I", words.tobytes())
            swapped.byteswap()
            words = memoryview(swapped)
        kind_of = self.data[start + (3 if self.order == "<" else 0) : start + 4 * length : 4]
        fixed, each, is_tagged = _FIXED_WORDS, _EACH_WORDS, _IS_TAGGED
        # Of every type where its second word is, `info`, whose first byte is the kind; this loop is most of the work.
        positions = array("I", [0])
        tagged: list[int] = []
        add, add_tagged = positions.append, tagged.append
        position, last = 1, length - 2
        while position <= last:
            add(position)
            kind = kind_of[position]
            if step := fixed[kind]:
                position += step
            elif step := each[kind]:
                if is_tagged[kind]:
                    add_tagged(position)
                position += 3 + step * (words[position] & 0xFFFFFF)
            else:
                where = start + 4 * (position - 1)
                raise self.fail(where, f"type {len(positions) - 1} has the unknown kind {kind & 0x7F}")
        byte = start + 4 * (position - 1)
        if byte > end:
            where = start + 4 * (positions[-1] - 1)
            raise self.fail(where, f"type {len(positions) - 1} ends at byte {byte}, after the types ({end})")
        if byte < end:
            raise self.fail(byte, f"type {len(positions)} is cut off")
        order = "little" if self.order == "<" else "big"
        types = _LazyTypes(self, words, kind_of, positions, (start, end))
        return IndexedBtf(types, tagged, order, self.source)

    def at(self, type_id: int, offset: int, end: int) -> BtfType:
        """Decode the one type at *offset*."""
        self.offset = offset
        name_off, info, extra = struct.unpack_from(self.order + "III", self.data, offset)
        return self.one(type_id, self.string(name_off), info, extra, end - offset - 12)[0]


class _LazyTypes(Sequence[BtfType]):
    """The types of a blob, each decoded when it is asked for; behind word *positions[id]* - 1 is where its name is."""

    def __init__(
        self, reader: _Reader, words: memoryview, kind_of: bytes, positions: array[int], extent: tuple[int, int]
    ) -> None:
        self._reader = reader
        self.words = words
        self._kind_of = kind_of
        self.positions = positions
        self._start, self._end = extent
        self._decoded: dict[int, BtfType] = {0: Void()}

    def __len__(self) -> int:
        return len(self.positions)

    def kinds(self) -> bytes:
        """Return the kind of each type."""
        return b"\0" + bytes(map(self._kind_of.__getitem__, self.positions[1:])).translate(_WITHOUT_FLAG)

    def __iter__(self) -> Iterator[BtfType]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> BtfType: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[BtfType]: ...

    def __getitem__(self, index: int | slice) -> BtfType | Sequence[BtfType]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        found = self._decoded.get(index)
        if found is None:
            if not 0 <= index < len(self):
                raise BtfError(
                    f"{self._reader.source}: .BTF: type {index} is referred to, but the last is {len(self) - 1}."
                )
            offset = self._start + 4 * (self.positions[index] - 1)
            found = self._decoded[index] = self._reader.at(index, offset, self._end)
        return found


class IndexedBtf(Btf):
    """A large blob, such as a kernel's, of which only few types are wanted."""

    def __init__(self, types: _LazyTypes, tagged: list[int], byte_order: str, source: str) -> None:
        super().__init__(types, byte_order, source)
        self._lazy = types
        self._kinds = b""
        self._tagged = tagged
        self._strings = types._reader.strings
        # Of structs, unions and enums by name where the first is, and where others of that name are.
        self._first: dict[bytes, int] = {}
        self._further: dict[bytes, list[int]] = {}

    def of_kind(self, kind: type[_T]) -> list[tuple[int, _T]]:
        """Return all types of one kind with their ids; no others are decoded."""
        self._kinds = self._kinds or self._lazy.kinds()
        found = []
        for code in _CODES[kind]:
            type_id = self._kinds.find(code)
            while type_id >= 0:
                item = self[type_id]
                if type_id and isinstance(item, kind):
                    found.append((type_id, item))
                type_id = self._kinds.find(code, type_id + 1)
        return sorted(found, key=lambda pair: pair[0])

    def _note_names(self) -> None:
        strings, find_end = self._strings, self._strings.find
        words, first, further = self._lazy.words, self._first, self._further
        for position in self._tagged:
            if offset := words[position - 1]:
                name = strings[offset : find_end(0, offset)]
                if first.setdefault(name, position) != position:
                    further.setdefault(name, []).append(position)
        self._tagged = []

    def tagged(self, kinds: type[Struct] | type[Enum], name: str) -> list[int]:
        """Return the ids of all structs and unions, or all enums, of this name."""
        if self._tagged:
            self._note_names()
        key = name.encode()
        if key not in self._first:
            return []
        found = (bisect_left(self._lazy.positions, at) for at in (self._first[key], *self._further.get(key, ())))
        return [type_id for type_id in found if isinstance(self[type_id], kinds)]


def _references(item: BtfType) -> tuple[int, ...]:
    """Return the ids that a type refers to."""
    match item:
        case Ptr() | Typedef() | Modifier() | DeclTag():
            return (item.target,)
        case Array():
            return (item.element, item.index_type)
        case Struct():
            return tuple(member.type for member in item.members)
        case Func():
            return (item.proto,)
        case FuncProto():
            return (item.returns, *(parameter for _, parameter in item.parameters))
        case Var():
            return (item.type,)
        case Datasec():
            return tuple(variable.var for variable in item.variables)
        case _:
            return ()


def read(data: bytes, source: str = "BTF") -> Btf:
    """Decode one BTF blob.

    Args:
        data: The bytes of a `.BTF` section, in either byte order.
        source: The name that error messages begin with, usually the file.
    Returns:
        The types, in order of their ids.
    Raises:
        BtfError: The blob is truncated, corrupt, or of a kind unknown to this reader; names the byte offset.
    """
    return _Reader(data, source).read()


def index(data: bytes | mmap, source: str = "BTF") -> IndexedBtf:
    """Prepare one large BTF blob for looking up few types, which are decoded when asked for.

    Raises:
        BtfError: As `read` does; damage inside a type shows only when that type is asked for.
    """
    return _Reader(data, source).index()


def strings(data: bytes, source: str = "BTF") -> bytes:
    """Return the string section of a blob, to which `.BTF.ext` refers as well.

    Raises:
        BtfError: The header is damaged.
    """
    reader = _Reader(data, source)
    reader.header()
    return reader.strings
