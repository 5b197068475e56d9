# SPDX-License-Identifier: Apache-2.0
"""What the running kernel says of itself, asked by bpf(2) and libbpf directly, not by the code under test."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from struct import pack

__all__ = [
    "assert_nothing_new",
    "helper_refusal",
    "identifiers",
    "kprobe_refusal",
    "map_refusal",
    "open_files",
    "refusal",
    "release",
    "relocation_refusal",
    "send_length_refusal",
    "tracing_refusal",
]

_NR_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_MAP_CREATE, _PROG_LOAD, _PROG_GET_NEXT_ID, _MAP_GET_NEXT_ID, _RAW_TRACEPOINT_OPEN, _LINK_GET_NEXT_ID = (
    0, 5, 11, 12, 17, 31,
)  # fmt: skip
_ARRAY = 2
_PROG_TYPE_SOCKET_FILTER, _PROG_TYPE_RAW_TRACEPOINT, _PROG_TYPE_TRACING = 1, 17, 26
_TRACE_FENTRY = 24
_ENOTSUPP = 524  # linux/errno.h
_RETURN_0 = pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Make the system call; return its result (or a negative error number) and the attributes after it."""
    size = max(128, len(attributes))
    buffer = ctypes.create_string_buffer(attributes.ljust(size, b"\0"), size)
    result = _libc.syscall(_NR_BPF, command, buffer, size)
    return (result if result >= 0 else -ctypes.get_errno()), buffer.raw


def _load(kind: int, fields: Mapping[int, int]) -> int:
    """Load a program that returns 0; return its file descriptor, or a negative error number.

    Args:
        fields: Other 32-bit numbers among the attributes, by their offset, in order.
    """
    code, license_text = ctypes.create_string_buffer(_RETURN_0), ctypes.create_string_buffer(b"GPL")
    attributes = pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(license_text))
    for offset, number in fields.items():
        attributes = attributes.ljust(offset, b"\0") + pack("=I", number)
    return _bpf(_PROG_LOAD, attributes)[0]


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def release() -> tuple[int, ...]:
    """Return the running kernel's series, as `(6, 1)`."""
    return tuple(map(int, os.uname().release.split(".")[:2]))


@cache
def refusal() -> str:
    """Return why this process cannot use BPF; empty if it can make a map."""
    result, _ = _bpf(_MAP_CREATE, pack("=IIII", _ARRAY, 4, 8, 1))
    if result < 0:
        return f"bpf(BPF_MAP_CREATE) answers {_name(-result)}"
    os.close(result)
    return ""


@cache
def kprobe_refusal() -> str:
    """Return why the kernel takes no kprobes; empty if it does."""
    pmu = Path("/sys/bus/event_source/devices/kprobe")
    return "" if pmu.exists() else f"the kernel has no kprobes ({pmu} is missing)"


@cache
def map_refusal(name: str, number: int, floor: str) -> str:
    """Return why the kernel has no maps of a type that came with *floor*; empty if libbpf can make one."""
    answer = ctypes.CDLL("libbpf.so.1").libbpf_probe_bpf_map_type(number, None)
    return f"the kernel has no maps of type {name} (before Linux {floor})" if answer == 0 else ""


@cache
def helper_refusal(name: str, number: int, floor: str) -> str:
    """Return why raw tracepoints have no helper that came with *floor*; empty if libbpf's trial program finds it."""
    answer = ctypes.CDLL("libbpf.so.1").libbpf_probe_bpf_helper(_PROG_TYPE_RAW_TRACEPOINT, number, None)
    return f"the kernel has no helper {name} (before Linux {floor})" if answer == 0 else ""


@cache
def relocation_refusal() -> str:
    """Return why the kernel does no CO-RE relocations of its own; empty if it knows the size of one, as from 5.17 on.

    A kernel refuses attributes with E2BIG whose end it does not know, unless that is 0; the size alone changes nothing.
    """
    result = _load(_PROG_TYPE_SOCKET_FILTER, {136: 16})  # attr.core_relo_rec_size
    if result >= 0:
        os.close(result)
        return ""
    assert result == -errno.E2BIG, f"a trial program is refused: {_name(-result)}"
    assert release() < (5, 17), "the kernel is newer than 5.17 and does no relocations"
    return "the kernel does no relocations of its own (before 5.17)"


@cache
def tracing_refusal() -> str:
    """Return why the kernel takes no fentry programs; empty if one loads and attaches to a function made for tests."""
    function = ctypes.CDLL("libbpf.so.1").libbpf_find_vmlinux_btf_id(b"bpf_fentry_test1", _TRACE_FENTRY)
    if function < 0:
        return f"the kernel takes no fentry programs (its BTF has no bpf_fentry_test1: {_name(-function)})"
    program = _load(_PROG_TYPE_TRACING, {68: _TRACE_FENTRY, 108: function})  # attr.expected_attach_type, attach_btf_id
    if program < 0:
        return f"the kernel takes no fentry programs (loading one: {_name(-program)})"
    link, _ = _bpf(_RAW_TRACEPOINT_OPEN, pack("=QI", 0, program))
    os.close(program)
    if link >= 0:
        os.close(link)
        return ""
    assert (os.uname().machine, -link) == ("aarch64", _ENOTSUPP), f"a trial program is not attached: {_name(-link)}"
    assert release() < (6, 4), "the kernel is newer than 6.4 and attaches no fentry programs"
    return "the kernel attaches no fentry programs (before 6.4, on arm64)"


@cache
def send_length_refusal() -> str:
    """Return why there is no tracepoint sock_send_length; empty if the kernel's BTF has it, as from 6.3 on."""
    if b"\0btf_trace_sock_send_length\0" in Path("/sys/kernel/btf/vmlinux").read_bytes():
        return ""
    assert release() < (6, 3), "the kernel is newer than 6.3 and has no tracepoint sock_send_length"
    return "the kernel has no tracepoint sock_send_length (before 6.3)"


def identifiers() -> dict[str, set[int]]:
    """Return the ids of all maps, programs and links of the system."""
    found = {}
    commands = {"maps": _MAP_GET_NEXT_ID, "programs": _PROG_GET_NEXT_ID, "links": _LINK_GET_NEXT_ID}
    for name, command in commands.items():
        ids: set[int] = set()
        current = 0
        while True:
            result, after = _bpf(command, pack("=III", current, 0, 0))
            if result < 0:
                break
            current = int.from_bytes(after[4:8], "little")
            ids.add(current)
        found[name] = ids
    return found


def assert_nothing_new(before: dict[str, set[int]]) -> None:
    """Fail if maps, programs or links are there that were not; the kernel may take a grace period to free them."""
    deadline = time.monotonic() + 10
    while True:
        new = {name: ids - before[name] for name, ids in identifiers().items()}
        if not any(new.values()):
            return
        assert time.monotonic() < deadline, f"left in the kernel: {new}"
        time.sleep(0.05)


def open_files() -> set[str]:
    """Return what each file descriptor is open on; the one that lists them is its own directory."""
    return {f"{path.name} {path.readlink()}" for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
