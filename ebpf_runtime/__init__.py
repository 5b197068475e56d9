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
    CEnum,
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
    from .btf_sources import Host, host
    from .cpus import possible_cpus
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
    from .maps import ArrayMap, HashMap, Map, PerCpuArrayMap, PerCpuHashMap
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
    "ArrayMap",
    "AttachError",
    "BaseProgram",
    "BtfError",
    "CEnum",
    "CgroupProgram",
    "CloseError",
    "CoReError",
    "CompileError",
    "DetachedProgram",
    "DigestError",
    "EbpfError",
    "FallbackWarning",
    "Field",
    "HashMap",
    "Host",
    "HostFacts",
    "IteratorProgram",
    "LibraryNotFoundError",
    "Link",
    "Links",
    "LircProgram",
    "LoadError",
    "LoadReport",
    "LoadedObject",
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
    "ProgramCounters",
    "ProgramSpec",
    "Programs",
    "Record",
    "RecordBatch",
    "RecordError",
    "RefusedVariant",
    "ReuseportProgram",
    "RingBuffer",
    "SocketProgram",
    "SockmapProgram",
    "Stream",
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
    "host",
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

# Names that need libbpf, numpy or a compiler, and the modules they come from.
_ON_USE = {
    "ArrayMap": "maps",
    "BaseProgram": "programs",
    "CgroupProgram": "target_programs",
    "DetachedProgram": "target_programs",
    "HashMap": "maps",
    "Host": "btf_sources",
    "HostFacts": "facts",
    "IteratorProgram": "programs",
    "Link": "links",
    "LircProgram": "target_programs",
    "LoadReport": "load_report",
    "LoadedObject": "registry",
    "Map": "maps",
    "NamespaceProgram": "network_programs",
    "NetfilterProgram": "network_programs",
    "NetkitProgram": "network_programs",
    "PerCpuArrayMap": "maps",
    "PerCpuHashMap": "maps",
    "PerfBuffer": "streams",
    "PerfEventProgram": "target_programs",
    "PinnedObject": "kernel_objects",
    "Poller": "streams",
    "Program": "programs",
    "ProgramCounters": "kernel_objects",
    "RecordBatch": "streams",
    "ReuseportProgram": "network_programs",
    "RingBuffer": "streams",
    "SocketProgram": "network_programs",
    "SockmapProgram": "network_programs",
    "Stream": "streams",
    "TcxProgram": "network_programs",
    "TestRun": "test_runs",
    "UprobeProgram": "target_programs",
    "UsdtProgram": "target_programs",
    "UserRingBuffer": "streams",
    "XdpProgram": "network_programs",
    "compile": "host_compiler",
    "dtype": "arrays",
    "host": "btf_sources",
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
