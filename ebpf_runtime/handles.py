# SPDX-License-Identifier: Apache-2.0
"""What stands for objects of the kernel, and a note of those that this process has loaded."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, NoReturn, SupportsIndex

__all__ = ["Handle", "add", "discard", "listed", "loaded"]


class Handle:
    """Base of what owns file descriptors or memory of libbpf; a copy would free them twice, so there are none."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"copy or pickle {type(self).__name__}: it stands for kernel objects of this process alone")


listed = allocate_lock()  # while it is held, no file descriptor in the note is closed
# By the id of the owner, which is a probe from its loading until it closes: (module, (kind, name, file descriptor)).
loaded: dict[int, tuple[str, Sequence[tuple[Literal["map", "program"], str, int]]]] = {}


def add(owner: object, module: str, objects: Sequence[tuple[Literal["map", "program"], str, int]]) -> None:
    """Note what *owner* has loaded, as (kind, name, file descriptor)."""
    with listed:
        loaded[id(owner)] = (module, objects)


def discard(owner: object) -> None:
    """Forget what *owner* had loaded; to be called before its file descriptors are closed."""
    with listed:
        loaded.pop(id(owner), None)
