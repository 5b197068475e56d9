# SPDX-License-Identifier: Apache-2.0
"""Streams with records of several types: how a reader tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .model import EnumType, Member, RecordRef, RecordType

__all__ = ["STREAMS", "Alike", "Arm", "OneOf", "WrongKindError", "one_of"]

# Maps that carry records, of enum bpf_map_type without its prefix.
STREAMS: Final = ("PERF_EVENT_ARRAY", "RINGBUF", "USER_RINGBUF")
_KIND: Final = "kind:"


class Alike(Exception):
    """The records cannot be told apart; the text says why."""


class WrongKindError(Exception):
    """What KIND says in the source cannot be right; the text says why."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the types, and the enumerator that marks it; "" where sizes tell."""

    type: RecordRef
    enumerator: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """A record of one of several types; told apart by its size or, with *tag*, by that member. *size* is the least."""

    arms: tuple[Arm, ...]
    tag: Member | None
    size: int
    c_type: str


def one_of(arms: Sequence[tuple[RecordRef, RecordType]], enums: Mapping[str, EnumType], map_type: str) -> OneOf:
    """Return how records of these types are told apart.

    Raises:
        Alike: They are not.
        WrongKindError: KIND is used wrongly.
    """
    size = min(reference.size for reference, _ in arms)
    c_type = " or ".join(record.c_name for _, record in arms)
    kinds = [_kind(record) for _, record in arms]
    if not any(kinds):
        _refuse_equal_sizes(arms, map_type)
        return OneOf(tuple(Arm(reference, "") for reference, _ in arms), None, size, c_type)
    first = next(kind for kind in kinds if kind)
    names = {first[0].name}
    seen: dict[int, str] = {}
    marked = []
    for (reference, record), kind in zip(arms, kinds, strict=True):
        if kind is None:
            raise WrongKindError(f"{record.c_name} has no member with KIND(…), and another record has")
        member, enumerator = kind
        if (member.offset, member.type) != (first[0].offset, first[0].type):
            raise WrongKindError(f"the members with KIND(…), {' and '.join(sorted(names | {member.name}))}, differ")
        enum = enums.get(getattr(member.type, "name", ""))
        value = next((value for name, value, _ in enum.values if name == enumerator), None) if enum else None
        if value is None:
            raise WrongKindError(f"KIND({enumerator}) of {record.c_name}: {member.type.c_type} has no such enumerator")
        if value in seen:
            raise WrongKindError(f"{seen[value]} and {record.c_name} are both KIND({enumerator})")
        seen[value] = record.c_name
        marked.append(Arm(reference, enumerator))
    return OneOf(tuple(marked), first[0], size, c_type)


def _kind(record: RecordType) -> tuple[Member, str] | None:
    """Return the member of a record that tells its kind, and the enumerator that it then has."""
    for member in record.members:
        for tag in member.tags:
            if tag.startswith(_KIND):
                return member, tag.removeprefix(_KIND)
    return None


def _refuse_equal_sizes(arms: Sequence[tuple[RecordRef, RecordType]], map_type: str) -> None:
    # A perf buffer counts the four bytes of a sample's own size, and pads the sum to eight.
    seen: dict[int, str] = {}
    for reference, record in arms:
        size = -(-(reference.size + 4) // 8) if map_type == "PERF_EVENT_ARRAY" else reference.size
        if size in seen:
            raise Alike(f"{seen[size]} and {record.c_name} cannot be told apart by size")
        seen[size] = record.c_name
