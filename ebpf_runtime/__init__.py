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
    VariableError,
    VerifierError,
)
from .namespaces import Links, Maps, Programs
from .probe import OpenProbe, Probe, RefusedVariant
from .records import (
    CEnum,
    Field,
    Record,
    Variables,
    array,
    boolean,
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
    from .arrays import dtype
    from .cpus import possible_cpus
    from .host_compiler import compile
    from .kernel_objects import ProgramCounters, map_memory, program_counters, run_statistics
    from .maps import Map
    from .maps.array import ArrayMap
    from .maps.hash import HashMap
    from .maps.per_cpu import PerCpuArrayMap, PerCpuHashMap
    from .programs import IteratorProgram, Link, Program
    from .registry import LoadedObject, loaded_objects
    from .ring_buffer import RingBuffer

__all__ = [
    "ArrayMap",
    "AttachError",
    "CEnum",
    "CloseError",
    "CoReError",
    "CompileError",
    "DigestError",
    "EbpfError",
    "FallbackWarning",
    "Field",
    "HashMap",
    "IteratorProgram",
    "LibraryNotFoundError",
    "Link",
    "Links",
    "LoadError",
    "LoadedObject",
    "Map",
    "MapError",
    "MapFullError",
    "MapSpec",
    "Maps",
    "ObjectSpec",
    "OpenError",
    "OpenProbe",
    "PerCpuArrayMap",
    "PerCpuHashMap",
    "PermissionDeniedError",
    "Probe",
    "ProbeConfig",
    "Program",
    "ProgramCounters",
    "ProgramSpec",
    "Programs",
    "Record",
    "RecordError",
    "RefusedVariant",
    "RingBuffer",
    "VariableError",
    "Variables",
    "VerifierError",
    "array",
    "boolean",
    "compile",
    "dtype",
    "enumeration",
    "f32",
    "f64",
    "fields",
    "loaded_objects",
    "map_memory",
    "nested",
    "padding",
    "pointer",
    "possible_cpus",
    "program_counters",
    "raw",
    "run_statistics",
    "s8",
    "s16",
    "s32",
    "s64",
    "s128",
    "sizeof",
    "text",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
]

# Names that need libbpf, numpy or a compiler, and the modules they come from.
_ON_USE = {
    "ArrayMap": "maps.array",
    "HashMap": "maps.hash",
    "IteratorProgram": "programs",
    "Link": "programs",
    "LoadedObject": "registry",
    "Map": "maps",
    "PerCpuArrayMap": "maps.per_cpu",
    "PerCpuHashMap": "maps.per_cpu",
    "Program": "programs",
    "ProgramCounters": "kernel_objects",
    "RingBuffer": "ring_buffer",
    "compile": "host_compiler",
    "dtype": "arrays",
    "loaded_objects": "registry",
    "map_memory": "kernel_objects",
    "possible_cpus": "cpus",
    "program_counters": "kernel_objects",
    "run_statistics": "kernel_objects",
}


def __getattr__(name: str) -> object:
    if name not in _ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_ON_USE[name]}", __name__), name)
