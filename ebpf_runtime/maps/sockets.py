# SPDX-License-Identifier: Apache-2.0
"""Sockets that programs redirect to or choose among."""

from __future__ import annotations

import socket
from typing import Generic, TypeVar

from .base import exact
from .descriptors import DescriptorMap

__all__ = ["ReuseportSocketArrayMap", "SocketHashMap", "SocketMap"]

K = TypeVar("K")


class _SocketMap(DescriptorMap, Generic[K]):
    """Sockets by key. User space sees their cookies, where values have 8 bytes."""

    def _encoded(self, key: K) -> bytes:
        return self._index(key)

    def lookup(self, key: K) -> int | None:
        """Return the cookie of a socket (SO_COOKIE), or None if there is none under *key*.

        Raises:
            MapError: The kernel refused; ENOSPC where values have 4 bytes.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        return self._number(self._encoded(key))

    def __getitem__(self, key: K) -> int:
        found = self.lookup(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: K, value: socket.socket | int) -> None:
        """Put a socket, or a file descriptor of one, under *key*.

        Raises:
            MapError: The kernel refused; EOPNOTSUPP for a socket in another state than the map takes.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._store(self._encoded(key), value)

    def delete(self, key: K) -> bool:  # type: ignore[override]  # keys of a hash are no indices
        """Take the socket under *key* out; return whether there was one."""
        return self._remove(self._encoded(key))

    def __delitem__(self, key: K) -> None:  # type: ignore[override]
        if not self.delete(key):
            raise KeyError(key)


class SocketMap(_SocketMap[int]):
    """An array of connected or listening sockets.

    Kernel: 4.14; may be read from 5.8 on.
    """


class SocketHashMap(_SocketMap[K]):
    """Sockets by any key.

    Kernel: 4.18; may be read from 5.8 on.
    """

    def _encoded(self, key: K) -> bytes:
        block = bytearray(self.key_size)
        if self._key is not None:
            self._key.pack(block, 0, key)
        else:
            block[:] = exact(self, key, self.key_size, "key")
        return bytes(block)


class ReuseportSocketArrayMap(_SocketMap[int]):
    """Listening sockets of one port that a program chooses among.

    Kernel: 4.19.
    """
