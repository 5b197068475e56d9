# SPDX-License-Identifier: Apache-2.0
"""bpf(2) and perf_event_open(2) themselves, for what needs no libbpf.

Every function returns what the kernel returns: a file descriptor or 0, or a negative error number.

Source: Linux include/uapi/linux/bpf.h, union bpf_attr; include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import os
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    byref,
    dlopen,
    dlsym,
    get_errno,
)
from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ctypes import c_char
    from typing import Any
else:
    # As in `ctypes`, which makes a hundred classes when it is imported: that takes longer than loading a small probe.
    class c_char(_SimpleCData):
        _type_ = "c"


class Function(CFuncPtr):
    """A foreign function that leaves its errno for `get_errno`."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO


__all__ = [
    "Function",
    "bpf",
    "c_char",
    "enable_stats",
    "iterator_create",
    "link_create",
    "link_update",
    "map_create",
    "map_freeze",
    "map_update",
    "object_get",
    "object_info",
    "object_open",
    "object_pin",
    "perf_event_open",
    "program_attach",
    "program_detach",
    "program_load",
    "program_test_run",
    "raw_tracepoint_open",
    "stream_read",
]

_BPF, _PERF_EVENT_OPEN = {"x86_64": (321, 298), "aarch64": (280, 241)}.get(os.uname().machine, (280, 241))
# enum bpf_cmd
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _OBJ_PIN, _OBJ_GET, _PROG_ATTACH, _PROG_DETACH, _PROG_TEST_RUN = (
    0, 2, 5, 6, 7, 8, 9, 10,
)  # fmt: skip
_OBJ_GET_INFO, _RAW_TRACEPOINT_OPEN, _MAP_FREEZE, _LINK_CREATE, _LINK_UPDATE = 15, 17, 22, 28, 29

_MAP_CREATE_ATTRIBUTES = Struct("=IIIIIII16s")
_MAP_UPDATE_ATTRIBUTES = Struct("=IxxxxQQQ")
_PROG_LOAD_ATTRIBUTES = Struct("=IIQQIIQII16sIIIIQIIQIIIIQ")
_TEST_RUN_ATTRIBUTES = Struct("=IIIIQQIIIIQQIII")
_PIN_ATTRIBUTES = Struct("=QII")
_ATTACH_ATTRIBUTES = Struct("=IIIII")
_INFO_ATTRIBUTES = Struct("=IIQ")
_TRACEPOINT_ATTRIBUTES = Struct("=QIxxxxQ")
_LINK_ATTRIBUTES = Struct("=IIII")

_STREAM_ATTRIBUTES = Struct("=QIII")

_this_process: Any = None  # for dlopen(3), whose name may be absent
_syscall = Function(dlsym(dlopen(_this_process, 0), "syscall"))


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Make the system call; return its result and the attributes after it.

    What the attributes point to is the caller's to keep alive.
    """
    buffer = bytearray(attributes)
    result: int = _syscall(_BPF, command, _first(buffer), len(attributes))
    return (result if result >= 0 else -get_errno()), bytes(buffer)


def _first(block: bytearray) -> object:
    """Return a reference to a block's bytes; one to an array would make a class for each length."""
    return byref(c_char.from_buffer(block))


def address(block: bytes | bytearray | memoryview | None) -> tuple[int, object]:
    """Return the address of a block's bytes, or of a copy of constant ones, 0 for none, and what keeps them there."""
    if not block:
        return 0, None
    view = c_char.from_buffer(bytearray(block) if isinstance(block, bytes) else block)
    return addressof(view), view


def map_create(kind: int, key_size: int, value_size: int, max_entries: int, flags: int = 0, name: bytes = b"") -> int:
    """Create a map; *kind* is a bpf_map_type."""
    return bpf(_MAP_CREATE, _MAP_CREATE_ATTRIBUTES.pack(kind, key_size, value_size, max_entries, flags, 0, 0, name))[0]


def map_update(fd: int, key: bytes, value: bytes) -> int:
    """Store one value."""
    key_address, key_kept = address(key)
    value_address, value_kept = address(value)
    result = bpf(_MAP_UPDATE, _MAP_UPDATE_ATTRIBUTES.pack(fd, key_address, value_address, 0))[0]
    del key_kept, value_kept
    return result


def map_freeze(fd: int) -> int:
    """Let user space write the map no more. Kernel: 5.2."""
    return bpf(_MAP_FREEZE, fd.to_bytes(4, "little"))[0]


def program_load(
    kind: int,
    instructions: bytes,
    *,
    name: bytes = b"",
    flags: int = 0,
    expected_attach_type: int = 0,
    attach_btf_id: int = 0,
    map_fds: Sequence[int] = (),
) -> int:
    """Load a program without a log; *kind* is a bpf_prog_type."""
    code, code_kept = address(instructions)
    licence, licence_kept = address(b"Dual BSD/GPL\0")
    fds, fds_kept = address(b"".join(fd.to_bytes(4, "little") for fd in map_fds))
    attributes = _PROG_LOAD_ATTRIBUTES.pack(
        kind, len(instructions) // 8, code, licence, 0, 0, 0, 0, flags, name, 0, expected_attach_type,
        0, 0, 0, 0, 0, 0, 0, attach_btf_id, 0, 0, fds,
    )  # fmt: skip
    # A kernel that does not know fd_array takes attributes that end before it.
    result = bpf(_PROG_LOAD, attributes if map_fds else attributes[:-16])[0]
    del code_kept, licence_kept, fds_kept
    return result


def program_test_run(
    fd: int,
    *,
    data: bytes | None = None,
    data_out: bytearray | None = None,
    context: bytes | bytearray | None = None,
    context_out: bytearray | None = None,
    repeat: int = 0,
    flags: int = 0,
    cpu: int = 0,
) -> tuple[int, int, int, int, int]:
    """Run a program once or *repeat* times.

    Returns:
        Result of the call, the program's return value, the mean duration in ns, and the sizes of data and context
        that came out.
    """
    data_address, data_kept = address(data)
    out_address, out_kept = address(data_out)
    context_address, context_kept = address(context)
    context_out_address, context_out_kept = address(context_out)
    result, after = bpf(
        _PROG_TEST_RUN,
        _TEST_RUN_ATTRIBUTES.pack(
            fd, 0, len(data or b""), len(data_out or b""), data_address, out_address, repeat, 0,
            len(context or b""), len(context_out or b""), context_address, context_out_address, flags, cpu, 0,
        ),
    )  # fmt: skip
    del data_kept, out_kept, context_kept, context_out_kept
    _, returned, _, data_size, _, _, _, duration, _, context_size, _, _, _, _, _ = _TEST_RUN_ATTRIBUTES.unpack(after)
    return result, returned, duration, data_size, context_size


def object_pin(path: bytes, fd: int) -> int:
    """Pin a map, program or link."""
    where, kept = address(path + b"\0")
    result = bpf(_OBJ_PIN, _PIN_ATTRIBUTES.pack(where, fd, 0))[0]
    del kept
    return result


def object_get(path: bytes) -> int:
    """Open what is pinned at a path."""
    where, kept = address(path + b"\0")
    result = bpf(_OBJ_GET, _PIN_ATTRIBUTES.pack(where, 0, 0))[0]
    del kept
    return result


def object_info(fd: int, size: int = 256, asked: bytes = b"") -> tuple[int, bytes]:
    """Return the result of the call and the information about a map, program, link or BTF, zeros behind its end.

    Args:
        asked: The beginning of the information, where it says what else the kernel shall write, and where.
    """
    block = bytearray(asked.ljust(size, b"\0"))
    where, kept = address(block)
    result = bpf(_OBJ_GET_INFO, _INFO_ATTRIBUTES.pack(fd, size, where))[0]
    del kept
    return result, bytes(block)


def object_open(kind: str, number: int) -> int:
    """Open a "map", "program" or "link" of the system by its id."""
    command = {"program": 13, "map": 14, "link": 30}[kind]
    return bpf(command, number.to_bytes(12, "little"))[0]


def enable_stats(kind: int) -> int:
    """Have the kernel count while the file descriptor is open; *kind* is a bpf_stats_type. Kernel: 5.8."""
    return bpf(32, kind.to_bytes(4, "little"))[0]


def iterator_create(link: int) -> int:
    """Begin a walk of an iterator. Kernel: 5.8."""
    return bpf(33, link.to_bytes(8, "little"))[0]


def program_attach(target: int, program: int, kind: int, flags: int = 0) -> int:
    """Attach without a link; *kind* is a bpf_attach_type."""
    return bpf(_PROG_ATTACH, _ATTACH_ATTRIBUTES.pack(target, program, kind, flags, 0))[0]


def program_detach(target: int, program: int, kind: int) -> int:
    """Undo `program_attach`."""
    return bpf(_PROG_DETACH, _ATTACH_ATTRIBUTES.pack(target, program, kind, 0, 0))[0]


def raw_tracepoint_open(name: str, program: int, cookie: int = 0) -> int:
    """Attach to a raw tracepoint, or without a name to the hook that the program was loaded for.

    Kernel: 4.17; cookie 6.10.
    """
    where, kept = address(name.encode() + b"\0" if name else None)
    attributes = _TRACEPOINT_ATTRIBUTES.pack(where, program, cookie)
    result = bpf(_RAW_TRACEPOINT_OPEN, attributes if cookie else attributes[:-8])[0]
    del kept
    return result


def link_create(program: int, target: int, kind: int, flags: int = 0, more: bytes = b"") -> int:
    """Create a link; *kind* is a bpf_attach_type, *more* what the kind wants behind the flags."""
    return bpf(_LINK_CREATE, _LINK_ATTRIBUTES.pack(program, target, kind, flags) + more)[0]


def link_update(link: int, program: int, replaced: int = -1) -> int:
    """Put another program into a link, if *replaced* is given only in place of that one."""
    flags = 4 if replaced >= 0 else 0  # BPF_F_REPLACE
    return bpf(_LINK_UPDATE, _LINK_ATTRIBUTES.pack(link, program, flags, max(replaced, 0)))[0]


def stream_read(program: int, stream: int, block: bytearray) -> int:
    """Take what a program printed to one of its streams; returns the bytes. Kernel: 6.17."""
    where, kept = address(block)
    result = bpf(37, _STREAM_ATTRIBUTES.pack(where, len(block), stream, program))[0]
    del kept
    return result


def perf_event_open(attributes: bytes, pid: int, cpu: int, group: int = -1) -> int:
    """Open an event, close-on-exec."""
    result: int = _syscall(_PERF_EVENT_OPEN, _first(bytearray(attributes)), pid, cpu, group, 8)
    return result if result >= 0 else -get_errno()
