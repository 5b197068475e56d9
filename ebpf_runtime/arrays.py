# SPDX-License-Identifier: Apache-2.0
"""Records as numpy structured arrays; imported only where an array is asked for (extra `numpy`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from .records import Field, Record, _Array, _Nested, _Struct, fields

__all__ = ["dtype", "joined", "strided", "structured"]

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
    return numpy.ndarray((count,), kind, data, 8, (step,)) if count else numpy.empty(0, kind)


def strided(data: Any, field: Field, starts: Sequence[int]) -> numpy.ndarray[Any, Any]:
    """Return the records of *data* that start where the range *starts* says, as a view of it."""
    assert isinstance(starts, range)
    kind = dtype(field.type) if isinstance(field, _Nested) else numpy.dtype(_format(field))
    return numpy.ndarray((len(starts),), kind, data, starts.start, (starts.step,))


def joined(parts: Sequence[Any]) -> numpy.ndarray[Any, Any]:
    """Return arrays, or bytes, one behind the other in an array of their own."""
    return numpy.concatenate([numpy.asarray(part) for part in parts])
