# SPDX-License-Identifier: Apache-2.0
"""Sockets that programs redirect to or choose among."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast

from .base import exact
from .by_key import Walked
from .descriptors import DescriptorMap
from .keyed import KeyedMap

__all__ = ["ReuseportSocketArrayMap", "SocketHashMap", "SocketMap"]

K = TypeVar("K")


class _SocketMap(Walked[K, int], DescriptorMap[K], Generic[K]):
    """Sockets by key. User space sees their cookies, where values have 8 bytes."""

    def lookup(self, key: K) -> int | None:
        """Return the cookie of a socket (SO_COOKIE), or None if there is none under *key*.

        Raises:
            MapError: The kernel refused; ENOSPC where values have 4 bytes.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        return self._number(self._encoded(key))

    def __setitem__(self, key: K, value: socket.socket | int) -> None:
        """Put a socket, or a file descriptor of one, under *key*.

        Raises:
            MapError: The kernel refused; EOPNOTSUPP for a socket in another state than the map takes.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._store(self._encoded(key), value)

    def __iter__(self) -> Iterator[K]:
        """Yield the keys that have a socket."""
        return cast("Iterator[K]", self._filled())


class SocketMap(_SocketMap[int]):
    """An array of connected or listening sockets.

    Kernel: 4.14; may be read from 5.8 on.
    """


class SocketHashMap(_SocketMap[K]):
    """Sockets by any key.

    Kernel: 4.18; may be read from 5.8 on.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        name, kind, fd, sizes, key, _ = arguments
        self._entries: KeyedMap[K, bytes] = KeyedMap(name, kind, fd, sizes, key, None)  # to walk it

    def _encoded(self, key: K) -> bytes:
        block = bytearray(self.key_size)
        if self._key is not None:
            self._key.pack(block, 0, key)
        else:
            block[:] = exact(self, key, self.key_size, "key")
        return bytes(block)

    def __iter__(self) -> Iterator[K]:
        """Yield the keys that have a socket."""
        return self._entries._all_keys()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _close(self) -> None:
        self._entries._close()
        super()._close()


class ReuseportSocketArrayMap(_SocketMap[int]):
    """Listening sockets of one port that a program chooses among.

    Kernel: 4.19.
    """
