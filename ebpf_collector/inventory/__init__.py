# SPDX-License-Identifier: Apache-2.0
"""Maps and programs of the system at one moment, as the check `ebpf` reports them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf_probes.ebpf_inventory import InventoryMapType, InventoryProgramType

__all__ = [
    "NO_PREALLOC",
    "UNKNOWN_MODULE",
    "Inventory",
    "KprobeCounters",
    "MapState",
    "ProgramState",
    "Sample",
    "UnreadPins",
]

UNKNOWN_MODULE = "unknown"
"""The module of what another process has loaded."""
NO_PREALLOC = 1 << 0
"""The flag of maps whose entries take memory only when they are there, BPF_F_NO_PREALLOC."""


@dataclass(frozen=True, slots=True)
class MapState:
    """One map."""

    id: int
    name: str
    """In full where this process has loaded it, else what the kernel keeps, 15 characters."""
    module: str
    """Name of the probe it belongs to, or `UNKNOWN_MODULE`."""
    type: InventoryMapType
    key_size: int
    value_size: int
    """Bytes, on one CPU."""
    max_entries: int
    """Bytes of data for a ring buffer."""
    flags: int
    memory_bytes: int | None
    """Memory of the map, that of perf buffers in its slots not included; None if not known."""
    buffer_bytes: int
    """Ring buffers: their pages; perf event arrays: the pages of all buffers in the slots."""
    mapped_bytes: int
    """The same with a buffer that several slots share counted for each of them."""
    unread_bytes: int
    """Written to a ring buffer and not read yet."""
    entry_count: int | None
    """None where the kernel does not count them."""
    holders: int
    """Processes with a file descriptor or a mapping of the map."""
    pins: tuple[str, ...]
    """Files of bpffs that hold it, in order."""
    kernel_counts_memory: bool
    """The kernel's own memory counts are true, those of maps without preallocation, too."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What ran in a window of time during which the kernel's statistics were on."""

    window_ns: int
    run_time_ns: int
    run_count: int


@dataclass(frozen=True, slots=True)
class KprobeCounters:
    """What the kernel has counted at the kprobes that a program is attached to, all of them together."""

    hits: int | None
    """Calls that reached them; None where the kernel does not tell, before 5.19."""
    nesting_misses: int
    """Calls left out because a kprobe was being handled on that CPU already."""
    maxactive_misses: int
    """Returns left out because too many calls were under way."""


@dataclass(frozen=True, slots=True)
class ProgramState:
    """One program."""

    id: int
    name: str
    module: str
    type: InventoryProgramType
    xlated_bytes: int
    jited_bytes: int
    memory_bytes: int
    verified_instructions: int
    """0 on kernels before 5.16, which do not tell."""
    run_time_ns: int | None
    """All counted since the load, which is only what ran while statistics were on; None if not told."""
    run_count: int | None
    recursion_misses: int | None
    """Always counted; 0 on kernels before 5.12."""
    sample: Sample | None
    """None if none was taken, or the program came during the window."""
    holders: int
    pins: tuple[str, ...]
    """Files of bpffs that hold it, or a link that attaches it, in order."""
    kprobes: KprobeCounters | None
    """None if it hangs on no kprobe that a process has a file descriptor of."""


@dataclass(frozen=True, slots=True)
class UnreadPins:
    """A file or directory of bpffs that could not be looked at."""

    path: str
    reason: str
    """The error's name, as ENOENT, or `too_many`."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All maps and programs, each by rising id."""

    maps: tuple[MapState, ...]
    programs: tuple[ProgramState, ...]
    unread_pins: tuple[UnreadPins, ...] = ()
