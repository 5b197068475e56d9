# SPDX-License-Identifier: Apache-2.0
"""The values of all CPUs as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ebpf_runtime.errors import RecordError

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["check", "reducer"]

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"sum": sum, "max": max, "min": min}


def check(field: Field | None, how: str, name: str) -> None:
    """Refuse what is no reduction, and values with a union: nothing tells which member its bytes are.

    Raises:
        RecordError: There is no such reduction, or no reducing such values: names map and member.
    """
    if how not in _FUNCTIONS:
        raise RecordError(f"reduce map {name!r}: {how!r} is none of sum, max and min.", name=name)
    if members := _of_union(field):
        raise RecordError(
            f"{how} the values of map {name!r}: {members} have the same bytes. Take the values of all CPUs.", name=name
        )


@lru_cache(maxsize=32)  # the value of one key may be all that is reduced at once
def _of_union(field: Any) -> str:
    """Return the first two members of a union in a value, as `'x' and 'y' of Name`; empty where there is none."""
    from ebpf_runtime.records import _Nested, _overlap

    while hasattr(field, "element"):
        field = field.element  # of an array
    if not isinstance(field, _Nested):
        return ""
    for one, other in combinations([member for member in field.type._fields_ if member.shared], 2):
        if _overlap(one, other):
            return f"{one.name!r} and {other.name!r} of {field.kind}"
    return next(filter(None, map(_of_union, field.type._fields_)), "")


def reducer(field: Field | None, how: str, name: str) -> Callable[[Sequence[Any]], Any]:
    """Return a function from the values of all CPUs to their sum, max or min, member by member for records.

    Raises:
        RecordError: There is no such reduction, or the values have a union; the function, if something is not a
            number: names map and member.
    """
    from ebpf_runtime.records import Record, fields

    check(field, how, name)
    combine = _FUNCTIONS[how]

    def of(values: Sequence[Any], what: str) -> Any:
        first = values[0]
        if isinstance(first, int | float) and not isinstance(first, bool):
            return combine(values)
        if isinstance(first, tuple):
            return tuple(of(items, what) for items in zip(*values, strict=True))
        if isinstance(first, Record):
            members = [member.name for member in fields(first) if member.kind != "padding"]
            return type(first).zeroed(
                **{member: of([getattr(value, member) for value in values], member) for member in members}
            )
        raise RecordError(f"{how} the values of map {name!r}: {what} is no number but {first!r}.", name=name)

    return lambda values: of(values, field.kind if field is not None else "a value")
