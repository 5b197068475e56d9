# SPDX-License-Identifier: Apache-2.0
"""Which class of the runtime stands for a map or a program: names that generated modules annotate with."""

from __future__ import annotations

from typing import Final

__all__ = ["MAP_CLASSES", "OTHER_MAP", "PROGRAM_CLASSES", "program_class"]

# enum bpf_map_type without its prefix -> class, and what its type parameters are: k the key, v the value or record.
MAP_CLASSES: Final = {
    "HASH": ("HashMap", "kv"),
    "LRU_HASH": ("HashMap", "kv"),
    "ARRAY": ("ArrayMap", "v"),
    "PERCPU_HASH": ("PerCpuHashMap", "kv"),
    "LRU_PERCPU_HASH": ("PerCpuHashMap", "kv"),
    "PERCPU_ARRAY": ("PerCpuArrayMap", "v"),
    "RINGBUF": ("RingBuffer", "v"),
    "PERF_EVENT_ARRAY": ("PerfBuffer", "v"),
    "USER_RINGBUF": ("UserRingBuffer", "v"),
    "LPM_TRIE": ("LpmTrieMap", "kv"),
    "QUEUE": ("QueueMap", "v"),
    "STACK": ("StackMap", "v"),
    "BLOOM_FILTER": ("BloomFilterMap", "v"),
    "ARRAY_OF_MAPS": ("ArrayOfMaps", ""),
    "HASH_OF_MAPS": ("HashOfMaps", "k"),
    "PROG_ARRAY": ("ProgramArrayMap", ""),
    "CGROUP_ARRAY": ("CgroupArrayMap", ""),
    "STACK_TRACE": ("StackTraceMap", ""),
    "TASK_STORAGE": ("TaskStorageMap", "v"),
    "SK_STORAGE": ("SocketStorageMap", "v"),
    "INODE_STORAGE": ("InodeStorageMap", "v"),
    "CGRP_STORAGE": ("CgroupStorageMap", "v"),
    "CGROUP_STORAGE": ("HashMap", "kv"),
    "PERCPU_CGROUP_STORAGE": ("PerCpuHashMap", "kv"),
    "DEVMAP": ("DeviceMap", ""),
    "DEVMAP_HASH": ("DeviceMap", ""),
    "CPUMAP": ("CpuMap", ""),
    "XSKMAP": ("XskMap", ""),
    "SOCKMAP": ("SocketMap", ""),
    "SOCKHASH": ("SocketHashMap", "k"),
    "REUSEPORT_SOCKARRAY": ("ReuseportSocketArrayMap", ""),
    "STRUCT_OPS": ("StructOpsMap", ""),
    "ARENA": ("ArenaMap", ""),
}
OTHER_MAP: Final = ("Map", "")

# All that `program_class` returns.
PROGRAM_CLASSES: Final = ("IteratorProgram", "Program")


def program_class(section: str, has_rows: bool) -> str:
    """Return the class of a program by its section (without the `?`) and whether its rows have a type."""
    return "IteratorProgram" if has_rows and section.partition("/")[0].startswith("iter") else "Program"
