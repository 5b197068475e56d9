# SPDX-License-Identifier: Apache-2.0
"""The thin runtime under generated probe modules: records, and probes over libbpf.

Importing it loads no library. What needs libbpf is imported when a probe is opened; names that only such a probe hands
out (maps, programs) are resolved on first use.
"""

from __future__ import annotations

from .config import ProbeConfig
from .errors import (
    AttachError,
    BtfError,
    CloseError,
    CompileError,
    CoReError,
    DigestError,
    EbpfError,
    FallbackWarning,
    LibraryNotFoundError,
    LoadError,
    MapError,
    MapFullError,
    OpenError,
    PermissionDeniedError,
    RecordError,
    TrustError,
    VariableError,
    VerifierError,
)
from .namespaces import Links, Maps, Programs
from .probe import OpenProbe, Probe, RefusedVariant
from .records import (
    Field,
    Metadata,
    Record,
    Variables,
    array,
    bitfield,
    boolean,
    either,
    enumeration,
    f32,
    f64,
    fields,
    nested,
    padding,
    pointer,
    raw,
    s8,
    s16,
    s32,
    s64,
    s128,
    sizeof,
    text,
    u8,
    u16,
    u32,
    u64,
    u128,
)
from .specs import MapSpec, ObjectSpec, ProgramSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alternatives import one_of, tagged
    from .arrays import dtype
    from .cpus import possible_cpus
    from .enums import CEnum
    from .facts import HostFacts, host_facts
    from .host_compiler import compile
    from .kernel_objects import (
        PinnedObject,
        ProgramCounters,
        map_memory,
        pinned_object,
        program_counters,
        run_statistics,
    )
    from .links import Link
    from .load_report import LoadReport
    from .maps import Map
    from .maps.arena import ArenaMap
    from .maps.array import ArrayMap
    from .maps.descriptors import CgroupArrayMap, ProgramArrayMap
    from .maps.devices import CpuMap, DeviceMap, Redirection, XskMap
    from .maps.hash import HashMap
    from .maps.lpm import LpmTrieMap
    from .maps.of_maps import ArrayOfMaps, HashOfMaps
    from .maps.per_cpu import PerCpuArrayMap, PerCpuHashMap
    from .maps.sockets import ReuseportSocketArrayMap, SocketHashMap, SocketMap
    from .maps.stack_trace import StackTraceMap
    from .maps.storage import CgroupStorageMap, InodeStorageMap, SocketStorageMap, TaskStorageMap
    from .maps.struct_ops import StructOpsMap
    from .maps.values import BloomFilterMap, QueueMap, StackMap
    from .network_programs import (
        NamespaceProgram,
        NetfilterProgram,
        NetkitProgram,
        ReuseportProgram,
        SocketProgram,
        SockmapProgram,
        TcxProgram,
        XdpProgram,
    )
    from .programs import BaseProgram, IteratorProgram, Program
    from .registry import LoadedObject, loaded_objects
    from .signals import signals_held
    from .streams import PerfBuffer, Poller, RecordBatch, RingBuffer, Stream, UserRingBuffer, poll_all
    from .target_programs import (
        CgroupProgram,
        DetachedProgram,
        LircProgram,
        PerfEventProgram,
        UprobeProgram,
        UsdtProgram,
    )
    from .test_runs import TestRun

__all__ = [
    "ArenaMap",
    "ArrayMap",
    "ArrayOfMaps",
    "AttachError",
    "BaseProgram",
    "BloomFilterMap",
    "BtfError",
    "CEnum",
    "CgroupArrayMap",
    "CgroupProgram",
    "CgroupStorageMap",
    "CloseError",
    "CoReError",
    "CompileError",
    "CpuMap",
    "DetachedProgram",
    "DeviceMap",
    "DigestError",
    "EbpfError",
    "FallbackWarning",
    "Field",
    "HashMap",
    "HashOfMaps",
    "HostFacts",
    "InodeStorageMap",
    "IteratorProgram",
    "LibraryNotFoundError",
    "Link",
    "Links",
    "LircProgram",
    "LoadError",
    "LoadReport",
    "LoadedObject",
    "LpmTrieMap",
    "Map",
    "MapError",
    "MapFullError",
    "MapSpec",
    "Maps",
    "Metadata",
    "NamespaceProgram",
    "NetfilterProgram",
    "NetkitProgram",
    "ObjectSpec",
    "OpenError",
    "OpenProbe",
    "PerCpuArrayMap",
    "PerCpuHashMap",
    "PerfBuffer",
    "PerfEventProgram",
    "PermissionDeniedError",
    "PinnedObject",
    "Poller",
    "Probe",
    "ProbeConfig",
    "Program",
    "ProgramArrayMap",
    "ProgramCounters",
    "ProgramSpec",
    "Programs",
    "QueueMap",
    "Record",
    "RecordBatch",
    "RecordError",
    "Redirection",
    "RefusedVariant",
    "ReuseportProgram",
    "ReuseportSocketArrayMap",
    "RingBuffer",
    "SocketHashMap",
    "SocketMap",
    "SocketProgram",
    "SocketStorageMap",
    "SockmapProgram",
    "StackMap",
    "StackTraceMap",
    "Stream",
    "StructOpsMap",
    "TaskStorageMap",
    "TcxProgram",
    "TestRun",
    "TrustError",
    "UprobeProgram",
    "UsdtProgram",
    "UserRingBuffer",
    "VariableError",
    "Variables",
    "VerifierError",
    "XdpProgram",
    "XskMap",
    "array",
    "bitfield",
    "boolean",
    "compile",
    "dtype",
    "either",
    "enumeration",
    "f32",
    "f64",
    "fields",
    "host_facts",
    "loaded_objects",
    "map_memory",
    "nested",
    "one_of",
    "padding",
    "pinned_object",
    "pointer",
    "poll_all",
    "possible_cpus",
    "program_counters",
    "raw",
    "run_statistics",
    "s8",
    "s16",
    "s32",
    "s64",
    "s128",
    "signals_held",
    "sizeof",
    "tagged",
    "text",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
]

# Names that need libbpf, numpy, a compiler or the module `enum`, and the modules they come from.
_ON_USE = {
    "ArenaMap": "maps.arena",
    "ArrayMap": "maps.array",
    "ArrayOfMaps": "maps.of_maps",
    "BaseProgram": "programs",
    "BloomFilterMap": "maps.values",
    "CEnum": "enums",
    "CgroupArrayMap": "maps.descriptors",
    "CgroupProgram": "target_programs",
    "CgroupStorageMap": "maps.storage",
    "CpuMap": "maps.devices",
    "DetachedProgram": "target_programs",
    "DeviceMap": "maps.devices",
    "HashMap": "maps.hash",
    "HashOfMaps": "maps.of_maps",
    "HostFacts": "facts",
    "InodeStorageMap": "maps.storage",
    "IteratorProgram": "programs",
    "Link": "links",
    "LircProgram": "target_programs",
    "LoadReport": "load_report",
    "LoadedObject": "registry",
    "LpmTrieMap": "maps.lpm",
    "Map": "maps",
    "NamespaceProgram": "network_programs",
    "NetfilterProgram": "network_programs",
    "NetkitProgram": "network_programs",
    "PerCpuArrayMap": "maps.per_cpu",
    "PerCpuHashMap": "maps.per_cpu",
    "PerfBuffer": "streams",
    "PerfEventProgram": "target_programs",
    "PinnedObject": "kernel_objects",
    "Poller": "streams",
    "Program": "programs",
    "ProgramArrayMap": "maps.descriptors",
    "ProgramCounters": "kernel_objects",
    "QueueMap": "maps.values",
    "RecordBatch": "streams",
    "Redirection": "maps.devices",
    "ReuseportProgram": "network_programs",
    "ReuseportSocketArrayMap": "maps.sockets",
    "RingBuffer": "streams",
    "SocketHashMap": "maps.sockets",
    "SocketMap": "maps.sockets",
    "SocketProgram": "network_programs",
    "SocketStorageMap": "maps.storage",
    "SockmapProgram": "network_programs",
    "StackMap": "maps.values",
    "StackTraceMap": "maps.stack_trace",
    "Stream": "streams",
    "StructOpsMap": "maps.struct_ops",
    "TaskStorageMap": "maps.storage",
    "TcxProgram": "network_programs",
    "TestRun": "test_runs",
    "UprobeProgram": "target_programs",
    "UsdtProgram": "target_programs",
    "UserRingBuffer": "streams",
    "XdpProgram": "network_programs",
    "XskMap": "maps.devices",
    "compile": "host_compiler",
    "dtype": "arrays",
    "host_facts": "facts",
    "loaded_objects": "registry",
    "map_memory": "kernel_objects",
    "one_of": "alternatives",
    "pinned_object": "kernel_objects",
    "poll_all": "streams",
    "possible_cpus": "cpus",
    "program_counters": "kernel_objects",
    "run_statistics": "kernel_objects",
    "signals_held": "signals",
    "tagged": "alternatives",
}


def __getattr__(name: str) -> object:
    if name not in _ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_ON_USE[name]}", __name__), name)
