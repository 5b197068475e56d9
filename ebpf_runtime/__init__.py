# SPDX-License-Identifier: Apache-2.0
"""The thin runtime under generated probe modules: records, and probes over libbpf.

Importing it loads no library. What needs libbpf is imported when a probe is opened; names that only such a probe hands
out (maps, programs) are resolved on first use.
"""

from __future__ import annotations

from .config import ProbeConfig
from .errors import (
    AttachError,
    CloseError,
    EbpfError,
    LoadError,
    MapError,
    MapFullError,
    OpenError,
    PermissionDeniedError,
    RecordError,
    VariableError,
    VerifierError,
)
from .namespaces import Links, Maps, Programs
from .probe import OpenProbe, Probe
from .records import (
    Field,
    Record,
    boolean,
    f32,
    f64,
    fields,
    nested,
    pointer,
    s8,
    s16,
    s32,
    s64,
    sizeof,
    u8,
    u16,
    u32,
    u64,
)
from .specs import MapSpec, ObjectSpec, ProgramSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alternatives import one_of, tagged
    from .arrays import dtype
    from .btf_sources import Host, host
    from .cpus import possible_cpus
    from .enums import CEnum
    from .facts import HostFacts, host_facts
    from .host_compiler import compile
    from .host_errors import (
        BtfError,
        CompileError,
        CoReError,
        DigestError,
        FallbackWarning,
        LibraryNotFoundError,
        TrustError,
    )
    from .iterators import IteratorProgram
    from .kernel_objects import (
        PinnedObject,
        ProgramCounters,
        map_memory,
        pinned_object,
        program_counters,
        run_statistics,
    )
    from .links import Link
    from .live_variables import live
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
    from .multi_programs import KprobeMultiProgram, UprobeMultiProgram
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
    from .programs import BaseProgram, Program
    from .record_fields import array, bitfield, either, enumeration, padding, raw, s128, text, u128
    from .registry import LoadedObject, loaded_objects
    from .semantics import (
        boot_time,
        cgroup_path,
        errno_name,
        ipv4_address,
        ipv6_address,
        kernel_symbol,
        memory_cgroup_path,
        monotonic_time,
        network_port,
        tai_time,
        text_of,
    )
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
    from .variables import Metadata, Variables
    from .variants import RefusedVariant

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
    "Host",
    "HostFacts",
    "InodeStorageMap",
    "IteratorProgram",
    "KprobeMultiProgram",
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
    "UprobeMultiProgram",
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
    "boot_time",
    "cgroup_path",
    "compile",
    "dtype",
    "either",
    "enumeration",
    "errno_name",
    "f32",
    "f64",
    "fields",
    "host",
    "host_facts",
    "ipv4_address",
    "ipv6_address",
    "kernel_symbol",
    "live",
    "loaded_objects",
    "map_memory",
    "memory_cgroup_path",
    "monotonic_time",
    "nested",
    "network_port",
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
    "tai_time",
    "text",
    "text_of",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
]

# Names that not every probe needs, or that need libbpf, numpy, a compiler or the module `enum`; and their modules.
_ON_USE = {
    "ArenaMap": "maps.arena",
    "ArrayMap": "maps.array",
    "ArrayOfMaps": "maps.of_maps",
    "BaseProgram": "programs",
    "BloomFilterMap": "maps.values",
    "BtfError": "host_errors",
    "CEnum": "enums",
    "CgroupArrayMap": "maps.descriptors",
    "CgroupProgram": "target_programs",
    "CgroupStorageMap": "maps.storage",
    "CoReError": "host_errors",
    "CompileError": "host_errors",
    "CpuMap": "maps.devices",
    "DetachedProgram": "target_programs",
    "DeviceMap": "maps.devices",
    "DigestError": "host_errors",
    "FallbackWarning": "host_errors",
    "HashMap": "maps.hash",
    "HashOfMaps": "maps.of_maps",
    "Host": "btf_sources",
    "HostFacts": "facts",
    "InodeStorageMap": "maps.storage",
    "IteratorProgram": "iterators",
    "KprobeMultiProgram": "multi_programs",
    "LibraryNotFoundError": "host_errors",
    "Link": "links",
    "LircProgram": "target_programs",
    "LoadReport": "load_report",
    "LoadedObject": "registry",
    "LpmTrieMap": "maps.lpm",
    "Map": "maps",
    "Metadata": "variables",
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
    "RefusedVariant": "variants",
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
    "TrustError": "host_errors",
    "UprobeMultiProgram": "multi_programs",
    "UprobeProgram": "target_programs",
    "UsdtProgram": "target_programs",
    "UserRingBuffer": "streams",
    "Variables": "variables",
    "XdpProgram": "network_programs",
    "XskMap": "maps.devices",
    "array": "record_fields",
    "bitfield": "record_fields",
    "boot_time": "semantics",
    "cgroup_path": "semantics",
    "compile": "host_compiler",
    "dtype": "arrays",
    "either": "record_fields",
    "enumeration": "record_fields",
    "errno_name": "semantics",
    "host": "btf_sources",
    "host_facts": "facts",
    "ipv4_address": "semantics",
    "ipv6_address": "semantics",
    "kernel_symbol": "semantics",
    "live": "live_variables",
    "loaded_objects": "registry",
    "map_memory": "kernel_objects",
    "memory_cgroup_path": "semantics",
    "monotonic_time": "semantics",
    "network_port": "semantics",
    "one_of": "alternatives",
    "padding": "record_fields",
    "pinned_object": "kernel_objects",
    "poll_all": "streams",
    "possible_cpus": "cpus",
    "program_counters": "kernel_objects",
    "raw": "record_fields",
    "run_statistics": "kernel_objects",
    "s128": "record_fields",
    "signals_held": "signals",
    "tagged": "alternatives",
    "tai_time": "semantics",
    "text": "record_fields",
    "text_of": "semantics",
    "u128": "record_fields",
}


def __getattr__(name: str) -> object:
    if name not in _ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # As importlib.import_module does; but importing importlib takes as long as importing a probe.
    return getattr(__import__(f"{__name__}.{_ON_USE[name]}", fromlist=(name,)), name)
