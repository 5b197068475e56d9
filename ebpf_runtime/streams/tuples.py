# SPDX-License-Identifier: Apache-2.0
"""Records as plain tuples."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ebpf_runtime.errors import RecordError
from ebpf_runtime.records import _Nested, _Number, fields

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["tuple_unpacker"]


def tuple_unpacker(noun: str, name: str, field: Field | None) -> Callable[[Any, int], tuple[Any, ...]]:
    """Return what makes a tuple of (block, start), one item for each field: numbers as such, all else as bytes.

    Raises:
        RecordError: No record type is bound, or fields of it share bytes.
    """
    if not isinstance(field, _Nested):
        raise RecordError(f"read {noun} {name!r} as tuples: no record type is bound to it. Use poll().", name=name)
    codes = ["<"]
    position = 0
    for item in fields(field.type):
        if item.offset < position:
            raise RecordError(
                f"read {noun} {name!r} as tuples: field {item.name!r} of {field.kind} shares bytes with the one before "
                "it. Use poll().",
                name=name,
            )
        codes.append(f"{item.offset - position}x")
        if item.means_nothing:
            codes.append(f"{item.size}x")
        elif isinstance(item, _Number):
            codes.append(item.code)
        else:
            codes.append(f"{item.size}s")
        position = item.offset + item.size
    return struct.Struct("".join(codes)).unpack_from
