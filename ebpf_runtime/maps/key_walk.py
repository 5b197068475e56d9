# SPDX-License-Identifier: Apache-2.0
"""Walking over the keys alone, of maps whose values a walk does not need or the kernel does not show."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .walk import Walk

if TYPE_CHECKING:
    from .keyed import KeyedMap

__all__ = ["walk_keys"]


def walk_keys(entries: KeyedMap[Any, Any]) -> Iterator[bytes]:
    """Yield the bytes of each key once, also while entries come and go.

    Raises:
        MapError: The kernel refused.
    Source: bpf(2) BPF_MAP_GET_NEXT_KEY, libbpf bpf_map_get_next_key().
    """
    walk = _KeyWalk(entries)
    key = ctypes.create_string_buffer(entries.key_size)
    while not walk.over:
        if walk.read(ctypes.addressof(key), 0, 1):
            yield key.raw


class _KeyWalk(Walk):
    """A walk entry by entry that looks nothing up."""

    def __init__(self, entries: KeyedMap[Any, Any]) -> None:
        super().__init__(entries)
        self._by_batch = False

    def _read_entry(self, key: bytes, value: int) -> bool:
        return True
