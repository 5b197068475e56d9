# SPDX-License-Identifier: Apache-2.0
"""Maps and programs of this process and of the whole system by id, as far as bpf(2) and not an iterator tells of them.

Kernel: 4.13; what is not this process's own needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import errno
import os

from . import handles, system_calls
from .errors import EbpfError, PermissionDeniedError, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

__all__ = [
    "LoadedObject",
    "PinnedObject",
    "ProgramCounters",
    "loaded_objects",
    "map_flags",
    "map_memory",
    "map_sizes",
    "object_id",
    "pinned_object",
    "program_counters",
    "run_statistics",
]

_ID = slice(4, 8)
_MAP_FLAGS = slice(20, 24)
_LINK_PROGRAM_ID = slice(8, 12)
_RUN_TIME_NS = slice(192, 200)
_RUN_COUNT = slice(200, 208)
_RECURSION_MISSES = slice(208, 216)
_KINDS: dict[str, Literal["map", "program", "link"]] = {
    "anon_inode:bpf-map": "map",
    "anon_inode:bpf-prog": "program",
    "anon_inode:bpf-link": "link",
}
_RUN_TIME = 0  # enum bpf_stats_type


class LoadedObject:
    """One map or program of this process.

    Attributes:
        kind: "map" or "program".
        id: The kernel's id.
        name: Its full name in the object; sections of variables are named as in ELF, `.rodata`.
        module: Name of the probe's object.
    """

    __slots__ = ("id", "kind", "module", "name")

    def __init__(self, kind: Literal["map", "program"], id: int, name: str, module: str) -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.module = module

    def __repr__(self) -> str:
        return f"LoadedObject({self.kind!r}, {self.id}, {self.name!r}, {self.module!r})"


class ProgramCounters:
    """What the kernel has counted of a program.

    Attributes:
        run_time_ns: Nanoseconds spent in it while statistics were on.
        run_count: Runs while statistics were on.
        recursion_misses: Runs left out because it was running on that CPU already; 0 on kernels before 5.12.
    """

    __slots__ = ("recursion_misses", "run_count", "run_time_ns")

    def __init__(self, run_time_ns: int, run_count: int, recursion_misses: int) -> None:
        self.run_time_ns = run_time_ns
        self.run_count = run_count
        self.recursion_misses = recursion_misses

    def __repr__(self) -> str:
        return f"ProgramCounters({', '.join(f'{name}={getattr(self, name)}' for name in sorted(self.__slots__))})"


class PinnedObject:
    """What a file of bpffs holds.

    Attributes:
        kind: "map", "program" or "link".
        id: The kernel's id of it.
        program_id: Id of the program: of a program its own, of a link that of the program it attaches, of a map 0.
    """

    __slots__ = ("id", "kind", "program_id")

    def __init__(self, kind: Literal["map", "program", "link"], id: int, program_id: int) -> None:
        self.kind = kind
        self.id = id
        self.program_id = program_id


def pinned_object(path: str | os.PathLike[str]) -> PinnedObject | None:
    """Return what the file *path* of bpffs holds, or None if it is gone, or holds something else.

    Raises:
        PermissionDeniedError: The file's mode, or a missing capability.
        EbpfError: The kernel refused for another reason.
    Kernel: 4.4; links 5.7.
    Source: bpf(2) BPF_OBJ_GET, libbpf bpf_obj_get().
    """
    fd = system_calls.object_get(os.fsencode(path))
    if fd == -errno.ENOENT:
        return None
    if fd < 0:
        raise _refusal(f"open pinned object {os.fspath(path)}", "object", -fd)
    from pathlib import Path

    try:
        kind = _KINDS.get(str(Path(f"/proc/self/fd/{fd}").readlink()))
        info = _info(fd)
    finally:
        os.close(fd)
    if kind is None:
        return None
    number = int.from_bytes(info[_ID], "little")
    program = {"map": 0, "program": number, "link": int.from_bytes(info[_LINK_PROGRAM_ID], "little")}[kind]
    return PinnedObject(kind, number, program)


def object_id(fd: int) -> int:
    """Return the kernel's id of the map or program behind a file descriptor."""
    return int.from_bytes(_info(fd)[_ID], "little")


def map_flags(fd: int) -> int:
    """Return the flags that the map behind a file descriptor was made with."""
    return int.from_bytes(_info(fd)[_MAP_FLAGS], "little")


def map_sizes(fd: int) -> tuple[int, int, int]:
    """Return key size, value size and number of entries of the map behind a file descriptor."""
    info = _info(fd)
    key, value, entries = (int.from_bytes(info[start : start + 4], "little") for start in (8, 12, 16))
    return key, value, entries


def program_counters(program_id: int) -> ProgramCounters | None:
    """Return the counters of a program, or None if it is gone.

    Raises:
        PermissionDeniedError: CAP_SYS_ADMIN is missing.
        EbpfError: The kernel refused for another reason.
    Source: bpf(2) BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD.
    """
    fd = _open("program", program_id, system_calls.object_open("program", program_id))
    if fd is None:
        return None
    try:
        info = _info(fd)
    finally:
        os.close(fd)
    return counters(info)


def counters(info: bytes) -> ProgramCounters:
    """Return the counters in a program's information."""
    return ProgramCounters(
        *(int.from_bytes(info[part], "little") for part in (_RUN_TIME_NS, _RUN_COUNT, _RECURSION_MISSES))
    )


def map_memory(map_id: int) -> int | None:
    """Return the memory of a map in bytes as its fdinfo has it, or None if the map is gone.

    It is true from 6.4 on; before it, it is computed from key and value sizes alone, and 0 for a ring buffer.

    Raises:
        PermissionDeniedError: CAP_SYS_ADMIN is missing.
        EbpfError: The kernel refused for another reason.
    Source: bpf(2) BPF_MAP_GET_FD_BY_ID, /proc/self/fdinfo.
    """
    fd = _open("map", map_id, system_calls.object_open("map", map_id))
    if fd is None:
        return None
    try:
        from pathlib import Path

        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), None)


class run_statistics:
    """Have the kernel count run time and runs of all programs during the block, and no longer.

    Raises:
        PermissionDeniedError: CAP_SYS_ADMIN is missing.
        EbpfError: The kernel refused for another reason.
    Kernel: 5.8. Every run of any program costs some 100 ns more meanwhile.
    Source: bpf(2) BPF_ENABLE_STATS, libbpf bpf_enable_stats().
    """

    def __enter__(self) -> None:
        self._fd = system_calls.enable_stats(_RUN_TIME)
        if self._fd < 0:
            raise _refusal("enable statistics of programs", "statistics", -self._fd)

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def _open(kind: str, number: int, fd: int) -> int | None:
    if fd == -errno.ENOENT:
        return None
    if fd < 0:
        raise _refusal(f"open {kind} {number}", kind, -fd)
    return fd


def _refusal(action: str, name: str, number: int) -> EbpfError:
    if number == errno.EACCES:
        return PermissionDeniedError(
            f"{action}: EACCES, the file's mode forbids it. Run as root, or grant CAP_DAC_OVERRIDE.",
            name=name,
            errno=number,
        )
    if number == errno.EPERM:
        return PermissionDeniedError(
            f"{action}: EPERM, this process lacks CAP_SYS_ADMIN. Run as root, or grant the capability.",
            name=name,
            errno=number,
        )
    return EbpfError(f"{action}: {describe(number)}.", name=name, errno=number)


def _info(fd: int) -> bytes:
    result, info = system_calls.object_info(fd)
    if result < 0:
        raise _refusal(f"ask about file descriptor {fd}", "object", -result)
    return info


def loaded_objects() -> list[LoadedObject]:
    """Return the maps and programs of all probes that are loaded in this process.

    The kernel keeps 15 characters of a name; whoever lists its maps and programs finds the rest here.

    Raises:
        EbpfError: The kernel does not tell an id.
    """
    with handles.loaded_lock:
        return [
            LoadedObject(kind, object_id(fd), name, module)
            for module, objects in handles.loaded.values()
            for kind, name, fd in objects
        ]
