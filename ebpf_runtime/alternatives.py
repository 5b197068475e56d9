# SPDX-License-Identifier: Apache-2.0
"""Streams with records of several types: told apart by their size, or by a member that says which it is."""

from __future__ import annotations

from .errors import RecordError
from .records import Field, _Nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .records import Buffer, Record

__all__ = ["OneOf", "one_of", "tagged"]


class OneOf(Field):
    """A record of one of several types.

    Attributes:
        fields: What each record may be.
        tag: The member that tells which; None where the size does.
        size: Bytes of the shortest.
    """

    __slots__ = ("_by_size", "_by_tag", "fields", "tag")

    def __init__(self, fields: tuple[Field, ...], tag: Field | None, by_tag: dict[int, Field]) -> None:
        super().__init__(" | ".join(field.kind for field in fields), 0, min(field.size for field in fields))
        self.fields = fields
        self.tag = tag
        self._by_tag = by_tag
        # A perf buffer hands over a sample with what fills it up: with the four bytes of its size, to a multiple of 8.
        self._by_size = {-(-(field.size + 4) // 8) * 8 - 4: field for field in fields}
        self._by_size |= {field.size: field for field in fields}

    def types_by_size(self) -> dict[int, type[Record]]:
        """Return the record types by the sizes that tell them; none where a tag does, or one is no record."""
        if self.tag is not None:
            return {}
        types = {size: field.type for size, field in self._by_size.items() if isinstance(field, _Nested)}
        return types if len(types) == len(self._by_size) else {}

    def unpack_sized(self, block: Buffer, base: int, size: int) -> Any:
        """Return the record of *size* bytes that starts at *base* of *block*.

        Raises:
            RecordError: It is of none of the types.
        """
        if self.tag is None:
            field = self._by_size.get(size)
            if field is None:
                raise RecordError(f"a record of {size} bytes is none of {self._sizes()}. Rebuild the probe.")
            return field.unpack(block, base)
        if size < self.tag.offset + self.tag.size:
            raise RecordError(f"a record of {size} bytes has no tag. Rebuild the probe.")
        value = self.tag.unpack(block, base)
        field = self._by_tag.get(value)
        if field is None:
            raise RecordError(f"a record tagged {value!r} is none of {self.kind}. Mark its type with KIND(…).")
        if size < field.size:
            raise RecordError(f"a record of {size} bytes is no {field.kind} of {field.size}. Rebuild the probe.")
        return field.unpack(block, base)

    def unpack(self, block: Buffer, base: int) -> Any:
        """Return the record that starts at *base* and ends where *block* ends."""
        return self.unpack_sized(block, base, len(block) - base)

    def pack(self, block: Buffer, base: int, value: object) -> None:
        for field in self.fields:
            if type(value).__name__ == field.kind:
                return field.pack(block, base, value)
        raise self.refuse(value)

    def _sizes(self) -> str:
        return ", ".join(f"{field.kind} ({field.size})" for field in self.fields)


def one_of(*fields: Any) -> Any:
    """A record of one of several types, each of another size."""
    return OneOf(fields, None, {})


def tagged(tag: Any, *pairs: tuple[int, Any]) -> Any:
    """A record of one of several types; the member *tag* has another value in each: pairs of value and record."""
    return OneOf(tuple(field for _, field in pairs), tag, dict(pairs))
