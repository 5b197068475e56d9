# SPDX-License-Identifier: Apache-2.0
"""Records as numpy structured arrays; imported only where an array is asked for (extra `numpy`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from .errors import RecordError
from .records import Field, Record, _Array, _Nested, _Struct, fields

__all__ = ["cells", "column", "dtype", "interleaved", "joined", "reduced", "strided", "structured"]

_CODES = {
    "u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "s8": "i1", "s16": "<i2", "s32": "<i4", "s64": "<i8",
    "f32": "<f4", "f64": "<f8", "boolean": "?", "pointer": "<u8", "text": "S",
}  # fmt: skip


def dtype(record: type[_Struct]) -> numpy.dtype[Any]:
    """Return a record's dtype, with the offsets and the size that BTF has.

    Text becomes bytes (`S`), enums their integers, padding and 128-bit integers raw bytes.
    """
    members = fields(record)
    return numpy.dtype(
        {
            "names": [field.name for field in members],
            "formats": [_format(field) for field in members],
            "offsets": [field.offset for field in members],
            "itemsize": record._size_,
        }
    )


def _format(field: Field) -> Any:
    if isinstance(field, _Nested):
        return dtype(field.type)
    if isinstance(field, _Array):
        return (_format(field.element), (field.count,))
    if field.kind == "text":
        return f"S{field.size}"
    if field.kind in _CODES:
        return _CODES[field.kind]
    integer = getattr(field, "_type", None)
    if integer is not None:
        signed = any(member < 0 for member in integer)
        return f"<{'i' if signed else 'u'}{field.size}"
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
    return numpy.concatenate([numpy.asarray(part) for part in parts])


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


def reduced(values: numpy.ndarray[Any, Any], how: str, name: str) -> numpy.ndarray[Any, Any]:
    """Return the sum, max or min over the CPUs, member by member for records; sums have 64 bits.

    Raises:
        RecordError: What is not a number cannot be reduced.
    """
    names = values.dtype.names
    if names is not None:
        parts = {member: reduced(values[member], how, name) for member in names if not _is_padding(values, member)}
        kind = numpy.dtype([(member, part.dtype, part.shape[1:]) for member, part in parts.items()])
        whole = numpy.empty(values.shape[0], kind)
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
    for cpu in range(1, values.shape[1]):
        combine(start, values[:, cpu], out=start, casting="unsafe")
    return start


def _is_padding(values: numpy.ndarray[Any, Any], member: str) -> bool:
    kind = values.dtype[member].base
    return kind.kind == "V" and kind.names is None
