# SPDX-License-Identifier: Apache-2.0
"""What the Datadog Agent's check `ebpf` calls map and program types, and how it computes the memory of a map.

Its sizes are estimates with the structure sizes of one kernel; they serve the scheme `datadog` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebpf_collector.inventory import NO_PREALLOC

if TYPE_CHECKING:
    from ebpf_collector.inventory import MapState

__all__ = ["MAP_TYPES", "PROGRAM_TYPES", "MapMemory", "map_memory"]

MAP_TYPES = {
    "UNSPEC": "UnspecifiedMap",
    "HASH": "Hash",
    "ARRAY": "Array",
    "PROG_ARRAY": "ProgramArray",
    "PERF_EVENT_ARRAY": "PerfEventArray",
    "PERCPU_HASH": "PerCPUHash",
    "PERCPU_ARRAY": "PerCPUArray",
    "STACK_TRACE": "StackTrace",
    "CGROUP_ARRAY": "CGroupArray",
    "LRU_HASH": "LRUHash",
    "LRU_PERCPU_HASH": "LRUCPUHash",
    "LPM_TRIE": "LPMTrie",
    "ARRAY_OF_MAPS": "ArrayOfMaps",
    "HASH_OF_MAPS": "HashOfMaps",
    "DEVMAP": "DevMap",
    "SOCKMAP": "SockMap",
    "CPUMAP": "CPUMap",
    "XSKMAP": "XSKMap",
    "SOCKHASH": "SockHash",
    "CGROUP_STORAGE": "CGroupStorage",
    "REUSEPORT_SOCKARRAY": "ReusePortSockArray",
    "PERCPU_CGROUP_STORAGE": "PerCPUCGroupStorage",
    "QUEUE": "Queue",
    "STACK": "Stack",
    "SK_STORAGE": "SkStorage",
    "DEVMAP_HASH": "DevMapHash",
    "STRUCT_OPS": "StructOpsMap",
    "RINGBUF": "RingBuf",
    "INODE_STORAGE": "InodeStorage",
    "TASK_STORAGE": "TaskStorage",
}
PROGRAM_TYPES = {
    "UNSPEC": "UnspecifiedProgram",
    "SOCKET_FILTER": "SocketFilter",
    "KPROBE": "Kprobe",
    "SCHED_CLS": "SchedCLS",
    "SCHED_ACT": "SchedACT",
    "TRACEPOINT": "TracePoint",
    "XDP": "XDP",
    "PERF_EVENT": "PerfEvent",
    "CGROUP_SKB": "CGroupSKB",
    "CGROUP_SOCK": "CGroupSock",
    "LWT_IN": "LWTIn",
    "LWT_OUT": "LWTOut",
    "LWT_XMIT": "LWTXmit",
    "SOCK_OPS": "SockOps",
    "SK_SKB": "SkSKB",
    "CGROUP_DEVICE": "CGroupDevice",
    "SK_MSG": "SkMsg",
    "RAW_TRACEPOINT": "RawTracepoint",
    "CGROUP_SOCK_ADDR": "CGroupSockAddr",
    "LWT_SEG6LOCAL": "LWTSeg6Local",
    "LIRC_MODE2": "LircMode2",
    "SK_REUSEPORT": "SkReuseport",
    "FLOW_DISSECTOR": "FlowDissector",
    "CGROUP_SYSCTL": "CGroupSysctl",
    "RAW_TRACEPOINT_WRITABLE": "RawTracepointWritable",
    "CGROUP_SOCKOPT": "CGroupSockopt",
    "TRACING": "Tracing",
    "STRUCT_OPS": "StructOps",
    "EXT": "Extension",
    "LSM": "LSM",
    "SK_LOOKUP": "SkLookup",
    "SYSCALL": "Syscall",
    "NETFILTER": "Netfilter",
}

_ARRAY_BYTES = 320
_HASH_BYTES = 704
_ELEMENT_BYTES = 48
_BUCKET_BYTES = 16
_TRIE_NODE_BYTES = 40
_TRIE_PREFIX_BYTES = 4
_PAGE_STRUCT_BYTES = 64
_POINTER_BYTES = 8
_MMAPABLE = 1 << 10
_ARRAYS = frozenset({"ARRAY", "PROG_ARRAY", "CGROUP_ARRAY", "ARRAY_OF_MAPS", "PERF_EVENT_ARRAY"})
_HASHES = frozenset({"HASH", "HASH_OF_MAPS", "PERCPU_HASH"})
_STORAGES = frozenset({"SK_STORAGE", "TASK_STORAGE", "INODE_STORAGE"})


@dataclass(frozen=True, slots=True)
class MapMemory:
    """Memory of a map in bytes: the most it can take, and what it takes now (0: not known)."""

    max_bytes: int
    rss_bytes: int


def map_memory(state: MapState, possible_cpus: int, page_bytes: int) -> MapMemory | None:
    """Return upstream's sizes of a map, or None for types it leaves out."""
    kind = state.type.name
    if kind in _STORAGES:
        return None if state.memory_bytes is None else MapMemory(state.memory_bytes, state.memory_bytes)
    max_bytes = _max_bytes(state, possible_cpus, page_bytes)
    if max_bytes is None:
        return None
    if kind in _HASHES and state.flags & NO_PREALLOC:
        return MapMemory(max_bytes, (state.memory_bytes or 0) if state.kernel_counts_memory else 0)
    return MapMemory(max_bytes, max_bytes)


def _max_bytes(state: MapState, cpus: int, page_bytes: int) -> int | None:
    kind = state.type.name
    entries = state.max_entries
    key, value = _round8(state.key_size), _round8(state.value_size)
    buckets = _BUCKET_BYTES * (1 << (entries - 1).bit_length())
    table = _HASH_BYTES + buckets + 64 * cpus
    if kind in _ARRAYS:
        if state.flags & _MMAPABLE:
            return _align(_ARRAY_BYTES, page_bytes) + _align(entries * value, page_bytes)
        return _ARRAY_BYTES + entries * value + state.mapped_bytes
    if kind == "PERCPU_ARRAY":
        return _ARRAY_BYTES + _POINTER_BYTES * entries + entries * value * cpus
    if kind in ("HASH", "HASH_OF_MAPS"):
        return table + (_ELEMENT_BYTES + key + value) * (entries + cpus) + _POINTER_BYTES * cpus
    if kind == "LRU_HASH":
        return table + (_ELEMENT_BYTES + key + value) * entries
    if kind in ("PERCPU_HASH", "LRU_PERCPU_HASH"):
        return table + (_ELEMENT_BYTES + key + _POINTER_BYTES) * entries + value * cpus * entries
    if kind == "LPM_TRIE":
        return entries * (_TRIE_NODE_BYTES + state.key_size - _TRIE_PREFIX_BYTES + state.value_size)
    if kind == "RINGBUF":
        # A reader maps one page for its position, and one for the writer's with the data, twice.
        mapped = page_bytes + page_bytes + 2 * entries
        return _ARRAY_BYTES + _PAGE_STRUCT_BYTES * (3 + 2 * (entries // page_bytes)) + mapped
    return None


def _round8(size: int) -> int:
    return ((size - 1) | 7) + 1


def _align(size: int, page_bytes: int) -> int:
    return -(-size // page_bytes) * page_bytes
