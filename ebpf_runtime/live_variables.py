# SPDX-License-Identifier: Apache-2.0
"""Variables in place: one element or member of the running programs' memory at a time."""

from __future__ import annotations

from operator import index as integer

from .record_fields import _Array, _Bytes
from .records import Field, _Nested, u8
from .variables import Variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn, SupportsIndex

__all__ = ["live"]


def live(section: Variables) -> Any:
    """Return a view of the variables whose structs and arrays are views, too, and not copies of one moment.

    `live(probe.bss).stats.count` reads that member and nothing else, and `live(probe.bss).stats.count = 5` or
    `live(probe.bss).slots[2] = 7` writes it and leaves its neighbours to the programs. Bytes are arrays of u8; a text,
    of which one byte alone may be no text, is read and written whole. `bytes()` of a view is a copy of its memory. It
    is checked as it runs, not by type checkers, which know records as immutable.

    Raises:
        AttributeError: There is no variable or member of this name; the text lists those there are.
        IndexError: There is no such element.
        RecordError: A value does not fit.
        VariableError: The section is read-only, or the probe is closed.
    """
    return _Members(section, section._fields_, section._base, section._size_, section.section)


class _View:
    """A piece of a section's memory."""

    __slots__ = ("_base", "_section", "_size", "_where")

    _section: Variables
    _base: int
    _where: str

    def __init__(self, section: Variables, base: int, size: int, where: str) -> None:
        _set(self, "_section", section)
        _set(self, "_base", base)
        _set(self, "_size", size)
        _set(self, "_where", where)

    def __bytes__(self) -> bytes:
        base = _get(self, "_base")
        return bytes(_get(self, "_section")._block[base : base + _get(self, "_size")])

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"copy or pickle live {_get(self, '_where')}: it is memory of its probe. Copy bytes() of it.")


# What belongs to a view itself, whatever members there are.
_get = object.__getattribute__
_set = object.__setattr__


class _Members(_View):
    """Variables of a section, or members of a struct; all its attributes but Python's own are theirs."""

    __slots__ = ("_members",)

    def __init__(self, section: Variables, members: tuple[Field, ...], base: int, size: int, where: str) -> None:
        super().__init__(section, base, size, where)
        _set(self, "_members", {member.name: member for member in members if member.kind != "padding"})

    def __getattribute__(self, name: str) -> Any:
        member = _get(self, "_members").get(name)
        if member is None:
            if name[:2] == "__":  # of Python's own: __class__
                return _get(self, name)
            raise _missing(self, name)
        where = _get(self, "_where")
        return _read(_get(self, "_section"), member, _get(self, "_base"), f"{where}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        member = _get(self, "_members").get(name)
        if member is None:
            raise _missing(self, name)
        _get(self, "_section")._store(member, _get(self, "_base"), value)

    def __dir__(self) -> list[str]:
        return list(_get(self, "_members"))

    def __repr__(self) -> str:
        members = [f"{name}={getattr(self, name)!r}" for name in _get(self, "_members")]
        return f"<live {_get(self, '_where')} {', '.join(members)}>"


def _missing(view: _Members, name: str) -> AttributeError:
    return AttributeError(f"{_get(view, '_where')} has no {name!r}; it has {', '.join(_get(view, '_members'))}")


class _Elements(_View):
    """Elements of an array."""

    __slots__ = ("_count", "_element")

    def __init__(self, section: Variables, element: Field, count: int, base: int, where: str) -> None:
        super().__init__(section, base, count * element.size, where)
        self._element = element
        self._count = count

    def __len__(self) -> int:
        return self._count

    def _at(self, index: Any) -> int:
        try:
            number = integer(index)
        except TypeError:
            number = self._count
        if -self._count <= number < self._count:
            return self._base + number % self._count * self._element.size
        raise IndexError(f"{self._where} has elements 0 to {self._count - 1}, not {index!r}")

    def __getitem__(self, index: int) -> Any:
        return _read(self._section, self._element, self._at(index), f"{self._where}[{index}]")

    def __setitem__(self, index: int, value: object) -> None:
        self._section._store(self._element, self._at(index), value)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self._count))

    def __repr__(self) -> str:
        return f"<live {self._where} [{', '.join(map(repr, self))}]>"


def _read(section: Variables, field: Field, base: int, where: str) -> Any:
    base += field.offset
    if isinstance(field, _Nested):
        return _Members(section, field.type._fields_, base, field.size, where)
    if isinstance(field, _Array):
        return _Elements(section, field.element, field.count, base, where)
    if isinstance(field, _Bytes):
        return _Elements(section, u8(0), field.size, base, where)
    return field.unpack(section._block, base - field.offset)
