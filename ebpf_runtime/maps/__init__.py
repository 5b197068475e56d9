# SPDX-License-Identifier: Apache-2.0
"""Maps as typed Python objects, one module a kind; a map's class is imported when a map of its type is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from .base import Map

__all__ = ["CLASSES", "Map", "map_class"]

# enum bpf_map_type without its prefix -> module (of this package, or of the runtime) and class.
CLASSES: Final = {
    "HASH": (".hash", "HashMap"),
    "LRU_HASH": (".hash", "HashMap"),
    "ARRAY": (".array", "ArrayMap"),
    "PERCPU_HASH": (".per_cpu", "PerCpuHashMap"),
    "LRU_PERCPU_HASH": (".per_cpu", "PerCpuHashMap"),
    "PERCPU_ARRAY": (".per_cpu", "PerCpuArrayMap"),
    "PERF_EVENT_ARRAY": ("..streams", "PerfBuffer"),
    "RINGBUF": ("..streams", "RingBuffer"),
    "USER_RINGBUF": ("..streams", "UserRingBuffer"),
    "LPM_TRIE": (".lpm", "LpmTrieMap"),
    "QUEUE": (".values", "QueueMap"),
    "STACK": (".values", "StackMap"),
    "BLOOM_FILTER": (".values", "BloomFilterMap"),
    "ARRAY_OF_MAPS": (".of_maps", "ArrayOfMaps"),
    "HASH_OF_MAPS": (".of_maps", "HashOfMaps"),
    "PROG_ARRAY": (".descriptors", "ProgramArrayMap"),
    "CGROUP_ARRAY": (".descriptors", "CgroupArrayMap"),
    "STACK_TRACE": (".stack_trace", "StackTraceMap"),
    "TASK_STORAGE": (".storage", "TaskStorageMap"),
    "SK_STORAGE": (".storage", "SocketStorageMap"),
    "INODE_STORAGE": (".storage", "InodeStorageMap"),
    "CGROUP_STORAGE": (".hash", "HashMap"),
    "PERCPU_CGROUP_STORAGE": (".per_cpu", "PerCpuHashMap"),
    "CGRP_STORAGE": (".storage", "CgroupStorageMap"),
    "DEVMAP": (".devices", "DeviceMap"),
    "DEVMAP_HASH": (".devices", "DeviceMap"),
    "CPUMAP": (".devices", "CpuMap"),
    "XSKMAP": (".devices", "XskMap"),
    "SOCKMAP": (".sockets", "SocketMap"),
    "SOCKHASH": (".sockets", "SocketHashMap"),
    "REUSEPORT_SOCKARRAY": (".sockets", "ReuseportSocketArrayMap"),
    "STRUCT_OPS": (".struct_ops", "StructOpsMap"),
    "ARENA": (".arena", "ArenaMap"),
}


def map_class(kind: str) -> type[Map]:
    """Return the class for maps of a type; plain `Map` for a type that has none of its own."""
    module, name = CLASSES.get(kind, (".base", "Map"))
    return cast("type[Map]", getattr(import_module(module, __name__), name))
