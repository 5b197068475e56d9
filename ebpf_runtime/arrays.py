# SPDX-License-Identifier: Apache-2.0
"""Records as numpy structured arrays; imported only where an array is asked for (extra `numpy`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from .records import Field, Record, _Array, _Bits, _Nested, _Number, _Struct, _Text, fields

__all__ = ["dtype", "joined", "strided", "structured"]


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
        return f"S{field.size}" if field.size else "V0"
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
    return numpy.ndarray((count,), kind, data, 8, (step,)) if count else numpy.empty(0, kind)


def strided(data: Any, field: Field, starts: Sequence[int]) -> numpy.ndarray[Any, Any]:
    """Return the records of *data* that start where the range *starts* says, as a view of it."""
    assert isinstance(starts, range)
    kind = dtype(field.type) if isinstance(field, _Nested) else numpy.dtype(_format(field))
    return numpy.ndarray((len(starts),), kind, data, starts.start, (starts.step,))


def joined(parts: Sequence[Any]) -> numpy.ndarray[Any, Any]:
    """Return arrays, or bytes, one behind the other in an array of their own."""
    return numpy.concatenate([numpy.asarray(part) for part in parts])
