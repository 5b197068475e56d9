# SPDX-License-Identifier: Apache-2.0
"""Records: C structs as immutable Python objects over bytes, with every offset taken from BTF.

A record is a view: a block of bytes and a position in it. Reading an attribute decodes just that field, so taking
ten thousand events and looking at one field of each costs ten thousand small reads, not ten thousand full decodes.

Generated modules describe fields by the specifiers of this module (`u32(40)`, `text(68, 16)`, …), which type checkers
read like those of a dataclass.
"""

from __future__ import annotations

from .errors import RecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import struct
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, ClassVar, Self, dataclass_transform

    from .record_fields import array, bitfield, either, enumeration, padding, raw, s128, text, u128

    Buffer = Any  # bytes, bytearray, memoryview, mmap: what struct.unpack_from takes
else:
    # The functions behind `struct`, which has none of its own.
    import _struct as struct

__all__ = [
    "Field",
    "Record",
    "boolean",
    "f32",
    "f64",
    "fields",
    "nested",
    "pointer",
    "s8",
    "s16",
    "s32",
    "s64",
    "sizeof",
    "u8",
    "u16",
    "u32",
    "u64",
]


class Field:
    """One field of a record: where it is and how its bytes become a value.

    Attributes:
        name: The Python attribute.
        offset: Bytes from the start of the record.
        size: Bytes; of a bitfield those that it touches.
        bit_offset: Bits from the start of the record; in a big-endian one a byte's most significant bit comes first.
        bits: Width of a bitfield; 0 of all others.
        kind: What it holds: u32, text, nested, … .
        shared: Whether it is a member of a union, whose members share their bytes.
    """

    __slots__ = ("bit_offset", "bits", "kind", "name", "offset", "shared", "size")

    means_nothing: ClassVar[bool] = False  # true of padding

    def __init__(self, kind: str, offset: int, size: int) -> None:
        self.name = ""
        self.kind = kind
        self.offset = offset
        self.size = size
        self.bit_offset = 8 * offset
        self.bits = 0
        self.shared = False

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {self.kind}, offset={self.offset}, size={self.size})"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: _Struct | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return self.unpack(instance._block, instance._base)

    def __set__(self, instance: _Struct, value: object) -> None:
        instance._assign(self, value)

    def unpack(self, block: Buffer, base: int) -> Any:
        """Return the value of the record that starts at *base* of *block*."""
        raise NotImplementedError  # every kind has its own

    def pack(self, block: Buffer, base: int, value: object) -> None:
        """Write *value* into the record that starts at *base* of *block*.

        Raises:
            RecordError: It does not fit; names field, value and kind.
        """
        raise NotImplementedError  # every kind has its own

    def to_big_endian(self) -> None:
        """Read and write the most significant byte first from now on."""

    def as_key(self) -> Field:
        """Return the field by which a map reads its keys: different bytes are different keys."""
        return self

    def refuse(self, value: object, reason: str = "") -> RecordError:
        return RecordError(
            f"set field {self.name or self.kind!r}: {value!r} does not fit {self.kind}{reason}.", name=self.name
        )


class _Number(Field):
    """A number that the struct module knows."""

    __slots__ = ("_pack_into", "_unpack_from", "code", "order")

    def __init__(self, kind: str, offset: int, code: struct.Struct) -> None:
        super().__init__(kind, offset, code.size)
        self._use(code)

    def _use(self, code: struct.Struct) -> None:
        self.order, self.code = code.format[0], code.format[1:]
        self._unpack_from = code.unpack_from
        self._pack_into = code.pack_into

    def to_big_endian(self) -> None:
        self._use(struct.Struct(">" + self.code))

    def __get__(self, instance: _Struct | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return self._unpack_from(instance._block, instance._base + self.offset)[0]  # unpack(), one call less

    def unpack(self, block: Buffer, base: int) -> Any:
        return self._unpack_from(block, base + self.offset)[0]

    def pack(self, block: Buffer, base: int, value: object) -> None:
        try:
            self._pack_into(block, base + self.offset, value)
        except (struct.error, TypeError, OverflowError) as error:
            raise self.refuse(value) from error


class _Nested(Field):
    """A record inside the record."""

    __slots__ = ("_blank", "type")

    def __init__(self, offset: int, record: type[Record]) -> None:
        super().__init__(record.__name__, offset, record._size_)
        self.type = record
        self._blank = record._blank_

    def unpack(self, block: Buffer, base: int) -> Any:
        if type(block) is not bytes:
            return self.type._at(block, base + self.offset)
        record = self._blank()  # as _at does; this is every event's path
        record._block = block
        record._base = base + self.offset
        return record

    def views(self, block: bytes, bases: Iterable[int]) -> Iterator[Any]:
        """Yield the record at each base of immutable bytes."""
        blank = self._blank
        record = blank()
        for record._base in bases:
            record._block = block
            yield record
            record = blank()

    def pack(self, block: Buffer, base: int, value: object) -> None:
        if not isinstance(value, self.type):
            raise self.refuse(value)
        start = base + self.offset
        block[start : start + self.size] = bytes(value)


def _numbers(kind: str, code: str) -> Callable[[int], Any]:
    """Return the specifier of one kind of number."""
    compiled = struct.Struct("<" + code)

    def specifier(offset: int) -> Any:
        return _Number(kind, offset, compiled)

    specifier.__name__ = specifier.__qualname__ = kind
    specifier.__doc__ = f"A field of kind {kind}, {compiled.size} bytes, at *offset*."
    return specifier


u8 = _numbers("u8", "B")
u16 = _numbers("u16", "H")
u32 = _numbers("u32", "I")
u64 = _numbers("u64", "Q")
s8 = _numbers("s8", "b")
s16 = _numbers("s16", "h")
s32 = _numbers("s32", "i")
s64 = _numbers("s64", "q")
f32 = _numbers("f32", "f")
f64 = _numbers("f64", "d")
boolean = _numbers("boolean", "?")
pointer = _numbers("pointer", "Q")


def nested(offset: int, record: type[Record]) -> Any:
    """A record of another type at *offset*."""
    return _Nested(offset, record)


def _bit_range(field: Field) -> tuple[int, int]:
    """Return the first bit of a field and the one behind its last."""
    first = field.bit_offset
    return first, first + (field.bits or 8 * field.size)


def _overlap(one: Field, other: Field) -> bool:
    (first, last), (begin, end) = _bit_range(one), _bit_range(other)
    return first < end and begin < last


class _Struct:
    """What records and variables share: fields at offsets of a block of bytes."""

    __slots__ = ()

    _fields_: ClassVar[tuple[Field, ...]] = ()
    _size_: ClassVar[int] = 0
    _order_: ClassVar[str] = "little"
    _block: Buffer
    _base: int

    def __init_subclass__(cls, *, size: int = 0, byte_order: str = "little") -> None:
        super().__init_subclass__()
        cls._fields_ = tuple(value for value in vars(cls).values() if isinstance(value, Field))
        cls._size_ = size
        cls._order_ = byte_order
        end = 0
        for field in cls._fields_:
            first, last = _bit_range(field)
            if last > 8 * size or (first < end and not field.shared):
                raise RecordError(
                    f"define {cls.__name__}: field {field.name!r} at bytes {field.offset} to "
                    f"{field.offset + field.size} overlaps its neighbour or the end at {size}. Run tools/regen.",
                    name=cls.__name__,
                )
            if not field.shared:
                end = last
            if byte_order == "big":
                field.to_big_endian()

    def _assign(self, field: Field, value: object) -> None:
        raise NotImplementedError  # records refuse, variables write


if TYPE_CHECKING:  # importing typing costs milliseconds

    @dataclass_transform(
        kw_only_default=True,
        frozen_default=True,
        field_specifiers=(
            array, bitfield, boolean, either, enumeration, f32, f64, nested, padding, pointer, raw,
            s8, s16, s32, s64, s128, text, u8, u16, u32, u64, u128,
        ),
    )  # fmt: skip
    class _Typed(_Struct):
        """Tells type checkers what the constructor of a record takes."""

else:
    _Typed = _Struct


class _Maker(type):
    """The class of record classes: Python makes a record of keywords, and C alone a blank one, which is every event's.

    A record class has no constructor of its own, for that would be called for a blank one too.
    """

    def __init__(cls, name: str, *arguments: Any, **options: Any) -> None:
        super().__init__(name, *arguments)
        for method in ("__init__", "__new__"):
            if getattr(cls, method) is not getattr(object, method):
                raise RecordError(
                    f"define {name}: a record cannot have {method} of its own. Make it a class method that calls "
                    f"{name}(...).",
                    name=name,
                )

    @property
    def _blank_(cls) -> Callable[[], Any]:
        """What returns a record without bytes; a call of object.__new__ would make a tuple of its arguments first."""
        blank: Callable[[], Any] = type.__call__.__get__(cls)
        return blank

    if not TYPE_CHECKING:  # type checkers make the signature from the fields

        def __call__(cls, *positional, **values):
            if positional:
                raise TypeError(f"{cls.__name__}() takes its fields by keyword")
            missing = [
                field.name
                for field in cls._fields_
                if field.name not in values and not field.shared and not field.means_nothing
            ]
            if missing:
                raise TypeError(f"{cls.__name__}() lacks {', '.join(missing)}; see zeroed()")
            record = cls._blank_()
            record._fill(b"", values)
            return record


class Record(_Typed, metaclass=_Maker):
    """A C struct or union: immutable, comparable, hashable, made by keyword or from bytes.

    Every field must be given to the constructor, of fields that share their bytes at most one; `zeroed` takes just
    some, `replace` changes some. Padding is zero.

    Raises:
        RecordError: A value does not fit its field.
        TypeError: A field is missing or unknown, or another that was given has the same bytes.
    """

    __slots__ = ("_base", "_block")

    c_name: ClassVar[str] = ""

    def __init_subclass__(cls, *, c_name: str = "", size: int = 0, byte_order: str = "little") -> None:
        super().__init_subclass__(size=size, byte_order=byte_order)
        cls.c_name = c_name
        if not TYPE_CHECKING:  # type checkers take all fields for keyword-only
            cls.__match_args__ = cls._names()

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in cls._fields_ if not field.means_nothing)

    def _fill(self, initial: bytes, values: Mapping[str, object]) -> None:
        block = bytearray(initial) or bytearray(self._size_)
        by_name = {field.name: field for field in self._fields_ if not field.means_nothing}
        for name, value in values.items():
            if name not in by_name:
                raise TypeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(by_name)}")
            by_name[name].pack(block, 0, value)
        shared = [by_name[name] for name in values if by_name[name].shared]
        for i, one in enumerate(shared):
            for other in shared[:i]:
                if _overlap(one, other):
                    raise TypeError(
                        f"{type(self).__name__}: {other.name!r} and {one.name!r} have the same bytes; give one of them"
                    )
        self._block = bytes(block)
        self._base = 0

    @classmethod
    def _at(cls, block: Buffer, base: int) -> Self:
        """Return a view of immutable bytes, or a copy from a block that may change."""
        self: Self = cls._blank_()
        if type(block) is not bytes:
            block, base = bytes(block[base : base + cls._size_]), 0
        self._block = block
        self._base = base
        return self

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """Return the record that *data* holds; it must be exactly as long as the record.

        Raises:
            RecordError: The length differs.
        """
        if len(data) != cls._size_:
            raise RecordError(
                f"read {cls.__name__}: {len(data)} bytes are not the {cls._size_} of {cls.c_name}.", name=cls.__name__
            )
        return cls._at(bytes(data), 0)

    @classmethod
    def zeroed(cls, **values: object) -> Self:
        """Return a record with the given fields, all others zero."""
        self: Self = cls._blank_()
        self._fill(b"", values)
        return self

    def replace(self, **values: object) -> Self:
        """Return a copy with some fields changed."""
        other: Self = type(self)._blank_()
        other._fill(bytes(self), values)
        return other

    def raw(self, name: str) -> bytes:
        """Return the bytes of one field.

        Raises:
            RecordError: There is no field of this name.
        """
        for field in self._fields_:
            if field.name == name:
                start = self._base + field.offset
                return bytes(self._block[start : start + field.size])
        raise RecordError(f"read {type(self).__name__}: there is no field {name!r}. See fields().", name=name)

    def asdict(self) -> dict[str, Any]:
        """Return the fields by name, nested records as dictionaries too; padding is left out."""
        return {name: _plain(getattr(self, name)) for name in self._names()}

    def __bytes__(self) -> bytes:
        return bytes(self._block[self._base : self._base + self._size_])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._names())})"

    def __reduce__(self) -> tuple[Callable[[bytes], Self], tuple[bytes]]:
        return (type(self).from_bytes, (bytes(self),))

    def _assign(self, field: Field, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{field.name} cannot be set: records are immutable; use replace()")


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.asdict()
    return tuple(_plain(item) for item in value) if isinstance(value, tuple) else value


def fields(record: type[_Struct] | _Struct) -> tuple[Field, ...]:
    """Return the fields of a record or section in layout order, padding included."""
    return record._fields_


def sizeof(record: type[_Struct] | _Struct) -> int:
    """Return the size of a record or section in bytes, as BTF has it."""
    return record._size_
