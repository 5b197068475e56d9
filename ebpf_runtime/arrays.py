# SPDX-License-Identifier: Apache-2.0
"""Records as numpy structured arrays; imported only where an array is asked for (extra `numpy`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from .errors import RecordError
from .record_fields import _Array, _Bits, _Text
from .records import Field, Record, _Nested, _Number, _Struct, fields

__all__ = ["cells", "column", "dtype", "interleaved", "joined", "reduced", "strided", "structured"]


def dtype(record: type[_Struct]) -> numpy.dtype[Any]:
    """Return a record's dtype, with the offsets and the size that BTF has.

    Text becomes bytes (`S`), enums their integers, padding and 128-bit integers raw bytes. Members of a union overlap.
    A bitfield becomes the unsigned integer around it, at whose offset it then is: shift and mask it by
    `Field.bit_offset` and `Field.bits`; raw bytes where no integer of the record's size or less covers it.
    """
    members = fields(record)
    layouts = [_layout(field, record) for field in members]
    return numpy.dtype(
        {
            "names": [field.name for field in members],
            "formats": [form for form, _ in layouts],
            "offsets": [offset for _, offset in layouts],
            "itemsize": record._size_,
        }
    )


def _layout(field: Field, record: type[_Struct]) -> tuple[Any, int]:
    """Return format and offset of a field."""
    if not isinstance(field, _Bits):
        return _format(field), field.offset
    for size in (1, 2, 4, 8):
        start = max(min(field.offset, record._size_ - size), 0)
        if field.size <= size <= record._size_ and field.offset + field.size <= start + size:
            return f"{'>' if record._order_ == 'big' else '<'}u{size}", start
    return f"V{field.size}", field.offset


def _format(field: Field) -> Any:
    if isinstance(field, _Nested):
        return dtype(field.type)
    if isinstance(field, _Array):
        return (_format(field.element), (field.count,))
    if isinstance(field, _Text):
        return f"S{field.size}" if field.size else numpy.dtype([])  # of which there may be an array
    if isinstance(field, _Number):
        return "?" if field.code == "?" else field.order + field.code
    return f"V{field.size}"


def structured(data: bytes | memoryview, field: Field, step: int) -> numpy.ndarray[Any, Any]:
    """Return records that stand *step* bytes apart, each behind a header of 8 bytes; packed where *step* is 0."""
    record: type[Record] = field.type if isinstance(field, _Nested) else Record
    kind = dtype(record) if isinstance(field, _Nested) else numpy.dtype(_format(field))
    if not step:
        return numpy.frombuffer(data, kind)
    count = len(data) // step
    return numpy.ndarray((count,), kind, _held(data), 8, (step,)) if count else numpy.empty(0, kind)


def _held(data: Any) -> numpy.ndarray[Any, Any]:
    """Return memory as bytes that hold on to it; an array made from other memory would not, and point to nothing."""
    return numpy.frombuffer(data, "u1")


def strided(data: Any, field: Field, starts: Sequence[int]) -> numpy.ndarray[Any, Any]:
    """Return the records of *data* that start where the range *starts* says, as a view of it."""
    assert isinstance(starts, range)
    kind = dtype(field.type) if isinstance(field, _Nested) else numpy.dtype(_format(field))
    return numpy.ndarray((len(starts),), kind, _held(data), starts.start, (starts.step,))


def joined(parts: Sequence[Any]) -> numpy.ndarray[Any, Any]:
    """Return arrays, or bytes, one behind the other in an array of their own."""
    arrays = [numpy.asarray(part) for part in parts]
    kind = arrays[0].dtype
    # Each record as raw bytes: numpy gives what is put together another layout where members overlap or leave room.
    return numpy.concatenate([array.view(f"V{kind.itemsize}") for array in arrays]).view(kind)


def _kind(field: Field | None, size: int) -> numpy.dtype[Any]:
    """Return the dtype of keys or values of a map; raw bytes where it has no type."""
    if isinstance(field, _Nested):
        return dtype(field.type)
    return numpy.dtype(_format(field)) if field is not None else numpy.dtype(f"V{size}")


def column(data: memoryview, field: Field | None, size: int) -> numpy.ndarray[Any, Any]:
    """Return keys or values that stand packed in a row, over the memory given."""
    kind = _kind(field, size)
    return numpy.frombuffer(data, kind) if len(data) else numpy.empty(0, kind)


def cells(data: memoryview, field: Field | None, size: int, step: int, cpus: int) -> numpy.ndarray[Any, Any]:
    """Return per-CPU values, one row an entry and one column a CPU, whose cells stand *step* bytes apart."""
    kind = _kind(field, size)
    count = len(data) // (step * cpus)
    if not count:
        return numpy.empty((0, cpus), kind)
    return numpy.ndarray((count, cpus), kind, _held(data), 0, (step * cpus, step))


def interleaved(
    data: memoryview, key: tuple[Field | None, int], value: tuple[Field | None, int], step: int
) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
    """Return keys and values that stand side by side, each pair *step* bytes and each value on a multiple of 8."""
    kinds = _kind(*key), _kind(*value)
    count = len(data) // step
    if not count:
        return numpy.empty(0, kinds[0]), numpy.empty(0, kinds[1])
    held, offset = _held(data), -(-key[1] // 8) * 8
    return (
        numpy.ndarray((count,), kinds[0], held, 0, (step,)),
        numpy.ndarray((count,), kinds[1], held, offset, (step,)),
    )


_REDUCTIONS = {"sum": numpy.add, "max": numpy.maximum, "min": numpy.minimum}


def reduced(
    values: numpy.ndarray[Any, Any], how: str, name: str, field: Field | None = None
) -> numpy.ndarray[Any, Any]:
    """Return the sum, max or min over the CPUs, member by member for records; sums have 64 bits.

    A bitfield of a record, whose *field* must be given, is reduced as the number it is, and has 64 bits.

    Raises:
        RecordError: What is not a number cannot be reduced, and a sum may need more than 64 bits.
    """
    while isinstance(field, _Array):
        field = field.element
    if isinstance(field, _Nested):
        parts = {
            member.name: reduced(_bits(values, member), how, name)
            if isinstance(member, _Bits)
            else reduced(values[member.name], how, name, member)
            for member in fields(field.type)
            if isinstance(member, _Bits) or not _is_padding(values, member.name)
        }
        shape = values.shape[:1] + values.shape[2:]
        kind = numpy.dtype([(member, part.dtype, part.shape[len(shape) :]) for member, part in parts.items()])
        whole = numpy.empty(shape, kind)
        for member, part in parts.items():
            whole[member] = part
        return whole
    if values.dtype.kind not in "iufb":
        raise RecordError(f"{how} the values of map {name!r}: {values.dtype} is no number.", name=name)
    combine = _REDUCTIONS[how]
    start = values[:, 0]
    if how == "sum" and values.dtype.kind in "iub":
        start = start.astype(numpy.int64 if values.dtype.kind == "i" else numpy.uint64)
    else:
        start = start.copy()
    may_wrap = how == "sum" and values.dtype.kind in "iu" and values.dtype.itemsize == 8
    for cpu in range(1, values.shape[1]):
        before = start.copy() if may_wrap else None
        combine(start, values[:, cpu], out=start, casting="unsafe")
        if before is not None and ((start < before) != (values[:, cpu] < 0)).any():
            raise RecordError(
                f"sum the values of map {name!r}: a sum does not fit {start.dtype}. Take the values of all CPUs.",
                name=name,
            )
    return start


def _bits(values: numpy.ndarray[Any, Any], field: _Bits) -> numpy.ndarray[Any, Any]:
    """Return what a bitfield has in each of the records."""
    places = range(field.size) if field._order == "little" else reversed(range(field.size))
    numbers = numpy.zeros(values.shape, "u8")
    for shift, place in zip(range(-field._shift, 8 * field.size, 8), places, strict=False):
        byte = values.getfield("u1", field.offset + place).astype("u8")
        numbers |= byte << shift if shift >= 0 else byte >> -shift
    unused = 64 - field.bits
    numbers <<= unused  # and with it whatever stands before the field
    return (numbers.view("i8") if field._low < 0 else numbers) >> unused


def _is_padding(values: numpy.ndarray[Any, Any], member: str) -> bool:
    kind = values.dtype[member].base
    return kind.kind == "V" and kind.names is None
