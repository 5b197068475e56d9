# SPDX-License-Identifier: Apache-2.0
"""Variables in place: one element or member of the running programs' memory at a time."""

from __future__ import annotations

from .record_fields import _Array
from .records import Field, _Nested
from .variables import Variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["live"]


def live(section: Variables) -> Any:
    """Return a view of the variables whose structs and arrays are views, too, and not copies of one moment.

    `live(probe.bss).stats.count` reads that member and nothing else, and `live(probe.bss).stats.count = 5` or
    `live(probe.bss).slots[2] = 7` writes it and leaves its neighbours to the programs. It is checked as it runs, not by
    type checkers, which know records as immutable.

    Raises:
        AttributeError: There is no variable or member of this name; the text lists those there are.
        IndexError: There is no such element.
        RecordError: A value does not fit.
        VariableError: The section is read-only, or the probe is closed.
    """
    return _Members(section, section._fields_, section._base, section.section)


class _Members:
    """Variables of a section, or members of a struct."""

    __slots__ = ("_base", "_members", "_section", "_where")

    def __init__(self, section: Variables, members: tuple[Field, ...], base: int, where: str) -> None:
        object.__setattr__(self, "_section", section)
        object.__setattr__(self, "_members", {member.name: member for member in members if member.kind != "padding"})
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_where", where)

    def _member(self, name: str) -> Field:
        members: dict[str, Field] = self._members
        if name not in members:
            raise AttributeError(f"{self._where} has no {name!r}; it has {', '.join(members)}")
        return members[name]

    def __getattr__(self, name: str) -> Any:
        return _read(self._section, self._member(name), self._base, f"{self._where}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        _write(self._section, self._member(name), self._base, value)

    def __dir__(self) -> list[str]:
        return list(self._members)

    def __repr__(self) -> str:
        return f"<live {self._where} {', '.join(f'{name}={getattr(self, name)!r}' for name in self._members)}>"


class _Elements:
    """Elements of an array."""

    __slots__ = ("_base", "_count", "_element", "_section", "_where")

    def __init__(self, section: Variables, field: _Array, base: int, where: str) -> None:
        self._section = section
        self._element = field.element
        self._count = field.count
        self._base = base
        self._where = where

    def __len__(self) -> int:
        return self._count

    def _at(self, index: int) -> int:
        if not -self._count <= index < self._count:
            raise IndexError(f"{self._where} has elements 0 to {self._count - 1}, not {index}")
        return self._base + index % self._count * self._element.size

    def __getitem__(self, index: int) -> Any:
        return _read(self._section, self._element, self._at(index), f"{self._where}[{index}]")

    def __setitem__(self, index: int, value: object) -> None:
        _write(self._section, self._element, self._at(index), value)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self._count))

    def __repr__(self) -> str:
        return f"<live {self._where} [{', '.join(map(repr, self))}]>"


def _read(section: Variables, field: Field, base: int, where: str) -> Any:
    if isinstance(field, _Nested):
        return _Members(section, field.type._fields_, base + field.offset, where)
    if isinstance(field, _Array):
        return _Elements(section, field, base + field.offset, where)
    return field.unpack(section._block, base)


def _write(section: Variables, field: Field, base: int, value: object) -> None:
    section._store(field, base, value)
