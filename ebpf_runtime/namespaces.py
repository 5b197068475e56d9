# SPDX-License-Identifier: Apache-2.0
"""The attributes `maps`, `programs` and `links` of a probe: typed by the generated module, iterable by name."""

from __future__ import annotations

from .handles import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Links", "Maps", "Programs"]


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


class Programs(_Namespace):
    """The programs of a loaded probe that its variant has."""


class Links(_Namespace):
    """The attachments of a probe; None for programs that are not attached."""
