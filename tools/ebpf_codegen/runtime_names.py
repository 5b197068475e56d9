# SPDX-License-Identifier: Apache-2.0
"""Which class of the runtime stands for a map or a program: names that generated modules annotate with."""

from __future__ import annotations

from typing import Final

__all__ = ["MAP_CLASSES", "MAP_TYPES", "OTHER_MAP", "PROGRAM_CLASSES", "program_class"]

# enum bpf_map_type of include/uapi/linux/bpf.h.
MAP_TYPES: Final = (
    "UNSPEC", "HASH", "ARRAY", "PROG_ARRAY", "PERF_EVENT_ARRAY", "PERCPU_HASH", "PERCPU_ARRAY", "STACK_TRACE",
    "CGROUP_ARRAY", "LRU_HASH", "LRU_PERCPU_HASH", "LPM_TRIE", "ARRAY_OF_MAPS", "HASH_OF_MAPS", "DEVMAP", "SOCKMAP",
    "CPUMAP", "XSKMAP", "SOCKHASH", "CGROUP_STORAGE", "REUSEPORT_SOCKARRAY", "PERCPU_CGROUP_STORAGE", "QUEUE",
    "STACK", "SK_STORAGE", "DEVMAP_HASH", "STRUCT_OPS", "RINGBUF", "INODE_STORAGE", "TASK_STORAGE",
    "BLOOM_FILTER", "USER_RINGBUF", "CGRP_STORAGE", "ARENA", "INSN_ARRAY",
)  # fmt: skip
# enum bpf_map_type without its prefix -> class, and what its type parameters are: k the key, v the value or record,
# m the map inside.
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
    "ARRAY_OF_MAPS": ("ArrayOfMaps", "m"),
    "HASH_OF_MAPS": ("HashOfMaps", "km"),
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

# How a section begins, up to a slash or the end -> class of its programs, where attaching takes an argument or is no
# matter of this package. The longest that fits counts.
_PROGRAM_CLASSES: Final = {
    "action": "DetachedProgram",
    "cgroup": "CgroupProgram",
    "cgroup_skb": "CgroupProgram",
    "classifier": "TcxProgram",
    "flow_dissector": "NamespaceProgram",
    "kprobe.multi": "KprobeMultiProgram",
    "kprobe.session": "KprobeMultiProgram",
    "kretprobe.multi": "KprobeMultiProgram",
    "lirc_mode2": "LircProgram",
    "lsm_cgroup": "CgroupProgram",
    "lwt_in": "DetachedProgram",
    "lwt_out": "DetachedProgram",
    "lwt_seg6local": "DetachedProgram",
    "lwt_xmit": "DetachedProgram",
    "netfilter": "NetfilterProgram",
    "netkit": "NetkitProgram",
    "perf_event": "PerfEventProgram",
    "sk_lookup": "NamespaceProgram",
    "sk_msg": "SockmapProgram",
    "sk_reuseport": "ReuseportProgram",
    "sk_skb": "SockmapProgram",
    "socket": "SocketProgram",
    "sockops": "CgroupProgram",
    "struct_ops": "DetachedProgram",
    "syscall": "DetachedProgram",
    "tc": "TcxProgram",
    "tcx": "TcxProgram",
    "uprobe": "UprobeProgram",
    "uprobe.multi": "UprobeMultiProgram",
    "uprobe.session": "UprobeMultiProgram",
    "uretprobe": "UprobeProgram",
    "uretprobe.multi": "UprobeMultiProgram",
    "usdt": "UsdtProgram",
    "xdp": "XdpProgram",
    "xdp.frags": "XdpProgram",
    "xdp.frags/cpumap": "DetachedProgram",
    "xdp.frags/devmap": "DetachedProgram",
    "xdp/cpumap": "DetachedProgram",
    "xdp/devmap": "DetachedProgram",
}

# All that `program_class` returns.
PROGRAM_CLASSES: Final = tuple(sorted({*_PROGRAM_CLASSES.values(), "IteratorProgram", "Program"}))


def program_class(section: str, has_rows: bool) -> str:
    """Return the class of a program by its section (without the `?`) and whether its rows have a type."""
    name = section.partition("/")[0].removesuffix(".s")
    if has_rows and name == "iter":
        return "IteratorProgram"
    return _PROGRAM_CLASSES.get(section) or _PROGRAM_CLASSES.get(name, "Program")
