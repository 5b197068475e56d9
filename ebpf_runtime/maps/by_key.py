# SPDX-License-Identifier: Apache-2.0
"""Methods of mappings for maps that are no Python mappings, built on looking up and deleting one entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ebpf_runtime.errors import RecordError

from .base import Map

__all__ = ["ByKey", "Walked", "store_all"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class ByKey(Map, Generic[K, V]):
    """A map whose entries are looked up and deleted one by one."""

    _MISSING = object()

    if TYPE_CHECKING:  # of each kind's own class

        def lookup(self, key: K) -> V | None: ...
        def delete(self, key: K) -> bool: ...

    def _may_hold(self, key: object) -> bool:
        """Return whether looking *key* up makes sense; not beyond the end of an array.

        Raises:
            IndexError: It is no integer, as an index must be.
        """
        return True

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: T) -> V | T: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Return what is stored under *key*, or *default* if the key is absent.

        Raises:
            MapError: The kernel refused.
        """
        found = self.lookup(key) if self._may_hold(key) else None
        return default if found is None else found

    def pop(self, key: K, default: Any = _MISSING) -> Any:
        """Take *key* out and return what was stored under it, looked up the moment before; else *default*.

        Raises:
            KeyError: The key is absent, and no default is given.
            MapError: The kernel refused.
        """
        found = self.lookup(key) if self._may_hold(key) else None
        if found is not None and self.delete(key):
            return found
        if default is ByKey._MISSING:
            raise KeyError(key)
        return default

    def __getitem__(self, key: K) -> V:
        found = self.lookup(key)
        if found is None:
            raise KeyError(key)
        return found

    def __delitem__(self, key: K) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: Any) -> bool:
        try:
            return self._may_hold(key) and self.lookup(key) is not None
        except (IndexError, RecordError):  # what cannot be a key is none
            return False


class Walked(ByKey[K, V]):
    """A map that also tells its keys."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[K]: ...

    def keys(self) -> Iterator[K]:
        """Yield the keys under which something is stored."""
        return iter(self)

    def values(self) -> Iterator[V]:
        """Yield what is stored."""
        for _, value in self.items():
            yield value

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield (key, value); entries that are deleted meanwhile are left out."""
        for key in self:
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def clear(self) -> None:
        """Delete every entry that is there now.

        Raises:
            MapError: The kernel refused.
        """
        for key in list(self):
            self.delete(key)


def store_all(entries: Any, other: Any) -> None:
    """Store all entries of a mapping or of (key, value) pairs, one by one."""
    for key, value in other.items() if hasattr(other, "items") else other:
        entries[key] = value
