# SPDX-License-Identifier: Apache-2.0
"""Sockets that programs redirect to or choose among."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ebpf_runtime.errors import EbpfError, MapError, RecordError

from .base import exact, is_index
from .by_key import Walked
from .descriptors import DescriptorMap
from .keyed import KeyedMap
from .walk import walk_keys

__all__ = ["ReuseportSocketArrayMap", "SocketHashMap", "SocketMap"]

K = TypeVar("K")

_COOKIE_BYTES = 8


class _SocketMap(Walked[K, int], DescriptorMap[K], Generic[K]):
    """Sockets by key. User space sees their cookies, where values have 8 bytes."""

    def lookup(self, key: K) -> int | None:
        """Return the cookie of a socket (SO_COOKIE), or None if there is none under *key*.

        Raises:
            MapError: The kernel refused, or values have 4 bytes.
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

    def _fail(self, action: str, number: int, *, feature: str = "", minimum_kernel: str = "") -> EbpfError:
        if number == errno.ENOSPC and self.value_size < _COOKIE_BYTES:
            return MapError(
                f"{action} map {self.name!r}: its values have {self.value_size} bytes, "
                f"a socket's cookie needs {_COOKIE_BYTES}. Declare the value as __u64 to read it.",
                name=self.name,
                errno=number,
            )
        return super()._fail(action, number, feature=feature, minimum_kernel=minimum_kernel)


class _SocketArray(_SocketMap[int]):
    """Sockets by index. Where values have 4 bytes the kernel does not tell which entries have one."""

    def _may_hold(self, key: object) -> bool:
        return is_index(self, key)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices that have a socket.

        Raises:
            MapError: The kernel refused, or values have 4 bytes.
        """
        return self._filled()

    def clear(self) -> None:
        """Empty every entry, also where values have 4 bytes.

        Raises:
            MapError: The kernel refused.
        """
        DescriptorMap.clear(self)


class SocketMap(_SocketArray):
    """An array of connected or listening sockets.

    Kernel: 4.14; may be read from 5.8 on.
    """

    _EMPTY = (errno.ENOENT, errno.EINVAL)


class SocketHashMap(_SocketMap[K]):
    """Sockets by any key. Where values have 4 bytes its keys may be walked, and `in` walks them.

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
        """Yield the key of each socket once, also while sockets come and go."""
        decode, _ = self._entries._decoders()
        return (decode(key, 1)[0] for key in walk_keys(self._entries))

    def __contains__(self, key: Any) -> bool:
        if self.value_size >= _COOKIE_BYTES:
            return super().__contains__(key)
        try:  # looking up says ENOSPC, with a socket or without
            return self._encoded(key) in walk_keys(self._entries)
        except RecordError:
            return False

    def __len__(self) -> int:
        return sum(1 for _ in walk_keys(self._entries))

    def _close(self) -> None:
        self._entries._close()
        super()._close()


class ReuseportSocketArrayMap(_SocketArray):
    """Listening sockets of one port that a program chooses among.

    Kernel: 4.19.
    """
