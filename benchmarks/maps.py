# SPDX-License-Identifier: Apache-2.0
"""Hash maps that contenders share by their file descriptor, and what the jobs over them have in common."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["BIG", "KINDS", "PER_CPU", "SMALL", "Kind", "made", "opened"]

_libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


@dataclass(frozen=True)
class Kind:
    """What a map holds; see maps.c."""

    name: str
    type: int
    key_size: int
    value_size: int
    per_cpu: bool = False

    @property
    def cells(self) -> int:
        return int(_libbpf.libbpf_num_possible_cpus()) if self.per_cpu else 1


SMALL = Kind("small", 1, 4, 8)
BIG = Kind("big", 1, 16, 64)
PER_CPU = Kind("per_cpu", 5, 4, 8, per_cpu=True)
KINDS = {kind.name: kind for kind in (SMALL, BIG, PER_CPU)}


@contextmanager
def made(kind: Kind, entries: int) -> Iterator[int]:
    """Make a map; return its file descriptor."""
    fd = _libbpf.bpf_map_create(kind.type, b"bench", kind.key_size, kind.value_size, entries, None)
    if fd < 0:
        raise OSError(-fd, f"make a map of {entries} entries: {os.strerror(-fd)}")
    try:
        yield fd
    finally:
        os.close(fd)


def opened(kind: Kind, fd: int, entries: int) -> Any:
    """Return the map as the runtime would hand it out for a generated module."""
    from ebpf_runtime import HashMap, PerCpuHashMap, Record, array, nested, u32, u64

    class Key(Record, c_name="struct key", size=16):
        __slots__ = ()
        number: int = u32(0)
        rest: tuple[int, ...] = array(4, u32(0), 3)

    class Value(Record, c_name="struct value", size=64):
        __slots__ = ()
        number: int = u64(0)
        rest: tuple[int, ...] = array(8, u64(0), 7)

    sizes = (kind.key_size, kind.value_size, entries)
    if kind is BIG:
        return HashMap("bench", "HASH", fd, sizes, nested(0, Key), nested(0, Value))
    if kind.per_cpu:
        return PerCpuHashMap("bench", "PERCPU_HASH", fd, sizes, u32(0), u64(0))
    return HashMap("bench", "HASH", fd, sizes, u32(0), u64(0))
