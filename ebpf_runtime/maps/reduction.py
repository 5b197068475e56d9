# SPDX-License-Identifier: Apache-2.0
"""The values of all CPUs as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ebpf_runtime.errors import RecordError

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["check", "reducer"]

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"sum": sum, "max": max, "min": min}


def check(how: str, name: str) -> None:
    """Refuse what is no reduction.

    Raises:
        RecordError: There is none of this name.
    """
    if how not in _FUNCTIONS:
        raise RecordError(f"reduce map {name!r}: {how!r} is none of sum, max and min.", name=name)


def reducer(field: Field | None, how: str, name: str) -> Callable[[Sequence[Any]], Any]:
    """Return a function from the values of all CPUs to their sum, max or min, member by member for records.

    Raises:
        RecordError: There is no such reduction; the function, if something is not a number: names map and member.
    """
    from ebpf_runtime.records import Record, fields

    check(how, name)
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
