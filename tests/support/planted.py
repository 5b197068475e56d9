# SPDX-License-Identifier: Apache-2.0
"""Maps and buffers made by bpf(2) and perf_event_open(2) alone, for the inventory to find."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import pack

__all__ = [
    "MAP_TYPES",
    "NO_PREALLOC",
    "PlantedMap",
    "delete_batch",
    "perf_buffers",
    "pin",
    "plant",
    "tracefs_kprobe",
    "update",
    "update_batch",
]

_MACHINE = os.uname().machine
_NR_BPF = {"x86_64": 321, "aarch64": 280}[_MACHINE]
_NR_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}[_MACHINE]
_MAP_CREATE, _MAP_UPDATE_ELEM, _MAP_FREEZE, _OBJ_GET_INFO_BY_FD, _UPDATE_BATCH, _DELETE_BATCH = 0, 2, 22, 15, 26, 27
_OBJ_PIN = 6
_TRACEPOINT, _IOC_ENABLE, _IOC_SET_BPF = 2, 0x2400, 0x40042408
_TRACEFS = Path("/sys/kernel/tracing")
_SOFTWARE, _BPF_OUTPUT, _SAMPLE_RAW = 1, 10, 1 << 10
_CLOEXEC = 8

NO_PREALLOC = 1
_BATCH = 5_000
_MMAPABLE = 1 << 10
_ARRAY = 2

# name: (number, key bytes, value bytes, most entries, flags), with sizes that no two types share
MAP_TYPES: dict[str, tuple[int, int, int, int, int]] = {
    "hash": (1, 5, 11, 101, 0),
    "hash_alloc": (1, 6, 13, 103, NO_PREALLOC),
    "array": (2, 4, 17, 107, 0),
    "array_mmap": (2, 4, 19, 1090, _MMAPABLE),
    "prog_array": (3, 4, 4, 113, 0),
    "perf_event_arr": (4, 4, 4, 7, 0),
    "percpu_hash": (5, 9, 23, 127, 0),
    "percpu_hash_al": (5, 10, 29, 131, NO_PREALLOC),
    "percpu_array": (6, 4, 31, 137, 0),
    "stack_trace": (7, 4, 40, 139, 0),
    "cgroup_array": (8, 4, 4, 149, 0),
    "lru_hash": (9, 12, 37, 151, 0),
    "lru_percpu_hash": (10, 14, 41, 157, 0),
    "lpm_trie": (11, 8, 43, 163, NO_PREALLOC),
    "array_of_maps": (12, 4, 4, 167, 0),
    "hash_of_maps": (13, 15, 4, 173, NO_PREALLOC),
    "devmap": (14, 4, 4, 179, 0),
    "sockmap": (15, 4, 8, 181, 0),
    "cpumap": (16, 4, 4, 1, 0),
    "xskmap": (17, 4, 4, 191, 0),
    "sockhash": (18, 18, 8, 193, 0),
    "cgroup_storage": (19, 16, 47, 0, 0),
    "reuseport_array": (20, 4, 8, 197, 0),
    "percpu_cgroup_s": (21, 16, 53, 0, 0),
    "queue": (22, 0, 59, 199, 0),
    "stack": (23, 0, 61, 211, 0),
    "devmap_hash": (25, 4, 4, 223, 0),
    "ringbuf": (27, 0, 0, 1 << 14, 0),
    "bloom_filter": (30, 0, 67, 227, 0),
    "user_ringbuf": (31, 0, 0, 1 << 15, 0),
}
_WITH_INNER = {12, 13}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class PlantedMap:
    """A map of ours, open until the block that made it ends."""

    name: str
    fd: int
    id: int


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result: int = _libc.syscall(_NR_BPF, command, buffer, 128)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _create(number: int, key: int, value: int, entries: int, flags: int, name: str, inner: int = 0) -> int:
    return _bpf(_MAP_CREATE, pack("=IIIIIII16s", number, key, value, entries, flags, inner, 0, name.encode()))


def _id(fd: int) -> int:
    info = ctypes.create_string_buffer(256)
    _bpf(_OBJ_GET_INFO_BY_FD, pack("=IIQ", fd, 256, ctypes.addressof(info)))
    return int.from_bytes(info.raw[4:8], "little")


@contextmanager
def plant(*names: str, entries: int = 0, frozen: bool = False) -> Iterator[list[PlantedMap]]:
    """Make a map of each of the types *names* that this kernel has; *entries* in place of the table's."""
    with suppress(ValueError):  # before 5.11 maps are charged to it; where it cannot be raised, it must do
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with ExitStack() as stack:
        made = []
        for name in names:
            number, key, value, most, flags = MAP_TYPES[name]
            inner = 0
            if number in _WITH_INNER:
                inner = _create(_ARRAY, 4, 8, 1, 0, "inner")
                stack.callback(os.close, inner)
            try:
                fd = _create(number, key, value, entries or most, flags, f"p_{name}"[:15], inner)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                    continue  # not in this kernel; the test says how many it needs
                raise
            stack.callback(os.close, fd)
            if frozen:
                _bpf(_MAP_FREEZE, pack("=I", fd))
            made.append(PlantedMap(f"p_{name}"[:15], fd, _id(fd)))
        yield made


def pin(fd: int, path: Path) -> None:
    """Make a file of bpffs that holds a map, program or link; it stays until it is deleted."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_OBJ_PIN, pack("=QI", ctypes.addressof(name), fd))


@contextmanager
def tracefs_kprobe(function: str, program_fd: int) -> Iterator[None]:
    """Attach a program to a kprobe that is made in tracefs, in the way of tools before kernel 4.17."""
    _write_kprobe_event(f"p:ebpf_test/planted {function}")
    try:
        number = int((_TRACEFS / "events/ebpf_test/planted/id").read_text())
        fd = _perf_event(pack("=IIQ", _TRACEPOINT, 112, number))
        try:
            fcntl.ioctl(fd, _IOC_SET_BPF, program_fd)
            fcntl.ioctl(fd, _IOC_ENABLE, 0)
            yield
        finally:
            os.close(fd)
    finally:
        _write_kprobe_event("-:ebpf_test/planted")


def _write_kprobe_event(line: str) -> None:
    fd = os.open(_TRACEFS / "kprobe_events", os.O_WRONLY | os.O_APPEND)  # a file object would seek
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def _perf_event(attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(112, b"\0"), 112)
    fd: int = _libc.syscall(_NR_PERF_EVENT_OPEN, buffer, -1, 0, -1, _CLOEXEC)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def update(fd: int, key: bytes, value: bytes) -> None:
    """Store one entry."""
    buffers = ctypes.create_string_buffer(key, len(key) or 1), ctypes.create_string_buffer(value, len(value))
    # A queue has no keys, and the kernel wants none.
    addresses = ctypes.addressof(buffers[0]) if key else 0, ctypes.addressof(buffers[1])
    _bpf(_MAP_UPDATE_ELEM, pack("=IIQQQ", fd, 0, *addresses, 0))


def update_batch(fd: int, keys: list[bytes], value: bytes) -> None:
    """Store *value* under each of *keys*, many by one call."""
    for start in range(0, len(keys), _BATCH):
        some = keys[start : start + _BATCH]
        _batch(_UPDATE_BATCH, fd, some, value * len(some))


def delete_batch(fd: int, keys: list[bytes]) -> None:
    """Delete *keys*, many by one call."""
    for start in range(0, len(keys), _BATCH):
        _batch(_DELETE_BATCH, fd, keys[start : start + _BATCH], b"")


def _batch(command: int, fd: int, keys: list[bytes], values: bytes) -> None:
    joined = b"".join(keys)
    buffers = ctypes.create_string_buffer(joined, len(joined)), ctypes.create_string_buffer(values, len(values) or 1)
    attributes = pack("=QQQQIIQQ", 0, 0, *map(ctypes.addressof, buffers), len(keys), fd, 0, 0)
    deadline = time.monotonic() + 10
    while True:
        try:
            _bpf(command, attributes)
            return
        except OSError as error:
            # Elements come from a pool that the kernel fills up from behind; a slow machine is not always in time.
            if error.errno != errno.ENOMEM or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def perf_buffers(map_fd: int, slots: int, pages: int) -> Iterator[int]:
    """Put a perf buffer of *pages* data pages into each of the first *slots* of a map; give the bytes mapped in all.

    All on CPU 0: a slot need not be that of the buffer's CPU.
    """
    with ExitStack() as stack:
        total = 0
        for slot in range(slots):
            fd = _perf_event(pack("=IIQQQ", _SOFTWARE, 112, _BPF_OUTPUT, 1, _SAMPLE_RAW))
            length = (pages + 1) * mmap.PAGESIZE
            try:
                memory = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
                stack.callback(memory.close)
                update(map_fd, slot.to_bytes(4, "little"), fd.to_bytes(4, "little"))
            finally:
                os.close(fd)  # the mapping keeps a duplicate
            total += length
        yield total
