# SPDX-License-Identifier: Apache-2.0
"""Maps without keys: queues, stacks and Bloom filters."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ebpf_runtime.errors import RecordError

from .base import Map, exact

__all__ = ["BloomFilterMap", "QueueMap", "StackMap"]

V = TypeVar("V")

_ANY, _EXIST = 0, 2


class _ValueMap(Map, Generic[V]):
    """A map that values are pushed into."""

    def _encode(self, value: V) -> ctypes.Array[ctypes.c_char]:
        buffer = ctypes.create_string_buffer(self.value_size)
        if self._value is not None:
            self._value.pack(buffer, 0, value)
        else:
            buffer.raw = exact(self, value, self.value_size, "value")
        return buffer

    def _push(self, value: V, flags: int) -> None:
        result: int = self._lib.bpf_map_update_elem(self.fd, None, self._encode(value), flags)
        if result:
            raise self._fail("push into", -result)


class QueueMap(_ValueMap[V]):
    """A queue: the value pushed first is popped first.

    Kernel: 4.20.
    """

    def push(self, value: V, *, replace: bool = False) -> None:
        """Add a value.

        Args:
            value: One value.
            replace: Where the map is full, drop the value that would be popped next; without it that is an error.
        Raises:
            MapFullError: There is no room.
            MapError: The kernel refused.
            RecordError: The value does not fit the map's type.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._push(value, _EXIST if replace else _ANY)

    def peek(self) -> V | None:
        """Return the value that would be popped next, or None if there is none.

        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        return self._take("peek into", self._lib.bpf_map_lookup_elem)

    def pop(self) -> V | None:
        """Remove the next value and return it, or None if there is none.

        Source: bpf(2) BPF_MAP_LOOKUP_AND_DELETE_ELEM, libbpf bpf_map_lookup_and_delete_elem().
        """
        return self._take("pop from", self._lib.bpf_map_lookup_and_delete_elem)

    def drain(self) -> Iterator[V]:
        """Pop and yield values until there are none."""
        while (value := self.pop()) is not None:
            yield value

    def _take(self, action: str, function: Any) -> V | None:
        buffer = ctypes.create_string_buffer(self.value_size)
        result: int = function(self.fd, None, buffer)
        if result == -errno.ENOENT:
            return None
        if result:
            raise self._fail(action, -result)
        unpacked: Any = self._value.unpack(buffer.raw, 0) if self._value is not None else buffer.raw
        value: V = unpacked
        return value


class StackMap(QueueMap[V]):
    """A stack: the value pushed last is popped first; a full one that must replace drops its oldest value.

    Kernel: 4.20.
    """


class BloomFilterMap(_ValueMap[V]):
    """A Bloom filter: a value that is not in it was certainly never pushed; one that is, probably.

    Kernel: 5.16.
    """

    def push(self, value: V) -> None:
        """Add a value.

        Raises:
            MapError: The kernel refused.
            RecordError: The value does not fit the map's type.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._push(value, _ANY)

    def __contains__(self, value: Any) -> bool:
        """Return whether the value was probably pushed.

        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        try:
            encoded = self._encode(value)
        except RecordError:  # it cannot have been pushed
            return False
        result: int = self._lib.bpf_map_lookup_elem(self.fd, None, encoded)
        if result and result != -errno.ENOENT:
            raise self._fail("peek into", -result)
        return not result
