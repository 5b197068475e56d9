# SPDX-License-Identifier: Apache-2.0
"""The attributes `maps`, `programs` and `links` of a probe: typed by the generated module, iterable by name."""

from __future__ import annotations

from _thread import RLock

from .handles import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

__all__ = ["Deferred", "Links", "Maps", "Programs"]


class Deferred(dict[str, "Any"]):
    """A dictionary whose values are made when they are first asked for, and not imported before."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Any]) -> None:
        super().__init__(dict.fromkeys(names))
        self._make = make
        self._made: dict[str, Any] = {}
        self._making = RLock()

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if value is None:
            with self._making:
                # Making imports, and other threads, or a signal handler, may ask meanwhile; the first one made is kept.
                value = self[name] = self._made.setdefault(name, self._make(name))
        return value

    def all(self) -> Iterator[tuple[str, Any]]:
        """Make all and yield them by name."""
        return ((name, self[name]) for name in self)

    def made(self) -> list[Any]:
        """Return what was asked for so far, in order; what is being made at the moment, too."""
        with self._making:
            return [value for value in self.values() if value is not None]


class _Namespace(Handle):
    """Objects as attributes; iterating gives (name, object)."""

    def __init__(self, items: dict[str, Any]) -> None:
        self._items = items

    if not TYPE_CHECKING:  # type checkers know the attributes from the generated class, and no others

        def __getattr__(self, name):
            items = self.__dict__.get("_items", {})
            if name not in items:
                raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(items)}")
            return items[name]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._items.items())

    def __len__(self) -> int:
        return len(self._items)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._items]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._items)}>"


class Maps(_Namespace):
    """The maps of a loaded probe."""

    _items: Deferred

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._items.all()


class Programs(_Namespace):
    """The programs of a loaded probe that its variant has."""


class Links(_Namespace):
    """The attachments of a probe; None for programs that are not attached."""
