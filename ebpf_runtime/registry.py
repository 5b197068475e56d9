# SPDX-License-Identifier: Apache-2.0
"""What this process has loaded: full names and the probe they belong to, by the kernel's ids.

The kernel keeps 15 characters of a name; whoever lists its maps and programs finds the rest here. Probes come in when
they load and go out when they close; ids are asked of the kernel only when somebody wants to know.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

__all__ = ["LoadedObject", "add", "discard", "loaded_objects"]

_lock = allocate_lock()
_live: dict[int, tuple[str, Sequence[tuple[Literal["map", "program"], str, int]]]] = {}


class LoadedObject:
    """One map or program of this process.

    Attributes:
        kind: "map" or "program".
        id: The kernel's id.
        name: Its full name in the object; sections of variables are named as in ELF, `.rodata`.
        module: Name of the probe's object.
    """

    __slots__ = ("id", "kind", "module", "name")

    def __init__(self, kind: Literal["map", "program"], id: int, name: str, module: str) -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.module = module

    def __repr__(self) -> str:
        return f"LoadedObject({self.kind!r}, {self.id}, {self.name!r}, {self.module!r})"


def add(owner: object, module: str, objects: Sequence[tuple[Literal["map", "program"], str, int]]) -> None:
    """Note what *owner* has loaded, as (kind, name, file descriptor)."""
    with _lock:
        _live[id(owner)] = (module, objects)


def discard(owner: object) -> None:
    """Forget what *owner* had loaded; to be called before its file descriptors are closed."""
    with _lock:
        _live.pop(id(owner), None)


def loaded_objects() -> list[LoadedObject]:
    """Return the maps and programs of all probes that are loaded in this process.

    Raises:
        EbpfError: The kernel does not tell an id.
    """
    from .kernel_objects import object_id

    with _lock:
        return [
            LoadedObject(kind, object_id(fd), name, module)
            for module, objects in _live.values()
            for kind, name, fd in objects
        ]
