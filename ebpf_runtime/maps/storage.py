# SPDX-License-Identifier: Apache-2.0
"""Values that the kernel keeps with a task, a socket, an inode or a cgroup, and frees with it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ebpf_runtime.records import s32

from .by_key import ByKey, store_all
from .descriptors import opened
from .keyed import KeyedMap

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from typing import Protocol

    class _HasFileno(Protocol):
        def fileno(self) -> int: ...

    _Process = int | _HasFileno
    _Socket = socket.socket | int
    _File = str | os.PathLike[str] | int | _HasFileno

__all__ = ["CgroupStorageMap", "InodeStorageMap", "SocketStorageMap", "TaskStorageMap"]

O = TypeVar("O")  # noqa: E741  (the owner)
V = TypeVar("V")


class _StorageMap(ByKey[O, V], Generic[O, V]):
    """One value an owner; programs make it, or user space does. It cannot be walked, for it is nowhere listed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        name, kind, fd, sizes, _, value = arguments
        self._entries: KeyedMap[int, V] = KeyedMap(name, kind, fd, sizes, s32(0), value)

    @contextmanager
    def _descriptor(self, owner: O) -> Iterator[int]:
        """Lend a file descriptor of the owner."""
        with opened(owner) as fd:
            yield fd

    @contextmanager
    def _owner(self, action: str, owner: O) -> Iterator[int]:
        try:
            with self._descriptor(owner) as fd:
                yield fd
        except OSError as error:
            raise self._fail(f"open {owner!r} to {action}", error.errno or 0) from error

    def lookup(self, owner: O) -> V | None:
        """Return the owner's value, or None if it has none.

        Raises:
            MapError: The owner is gone or cannot be opened, or the kernel refused.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        with self._owner("look up in", owner) as fd:
            return self._entries.lookup(fd)

    def update_elem(self, owner: O, value: V, *, exist: bool | None = None) -> None:
        """Store the owner's value.

        Args:
            owner: Whose value it is.
            value: One value.
            exist: True: there must be one; False: there must be none; None: either.
        Raises:
            MapError: The owner is gone or cannot be opened, or the kernel refused.
            RecordError: The value does not fit the map's type.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        with self._owner("update", owner) as fd:
            self._entries.update_elem(fd, value, exist=exist)

    def delete(self, owner: O) -> bool:
        """Delete the owner's value; return whether there was one.

        Source: bpf(2) BPF_MAP_DELETE_ELEM, libbpf bpf_map_delete_elem().
        """
        with self._owner("delete from", owner) as fd:
            return self._entries._delete(fd)

    def __setitem__(self, owner: O, value: V) -> None:
        self.update_elem(owner, value)

    def update(self, other: Any) -> None:
        """Store all values of a mapping or of (owner, value) pairs, one by one.

        Raises:
            MapError: An owner is gone or cannot be opened, or the kernel refused.
            RecordError: A value does not fit the map's type.
        """
        store_all(self, other)

    def _close(self) -> None:
        self._entries._close()
        super()._close()


class TaskStorageMap(_StorageMap["_Process", V]):
    """Values by task: the pid of a thread group, or an object whose `fileno()` is a pidfd.

    Kernel: 5.11.
    """

    @contextmanager
    def _descriptor(self, owner: _Process) -> Iterator[int]:
        if not isinstance(owner, int):
            with opened(owner) as fd:
                yield fd
            return
        fd = os.pidfd_open(owner)
        try:
            yield fd
        finally:
            os.close(fd)


class SocketStorageMap(_StorageMap["_Socket", V]):
    """Values by socket, or file descriptor of one.

    Kernel: 5.2.
    """


class InodeStorageMap(_StorageMap["_File", V]):
    """Values by inode: a path, an open file, or a file descriptor.

    Kernel: 5.10.
    """


class CgroupStorageMap(_StorageMap["_File", V]):
    """Values by cgroup (version 2): a path, or a file descriptor.

    Kernel: 6.2.
    """
