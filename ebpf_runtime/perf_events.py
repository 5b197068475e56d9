# SPDX-License-Identifier: Apache-2.0
"""Perf events as hooks: tracepoints, kprobes, and counters that overflow.

Source: perf_event_open(2); Linux include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import errno
import os
from _struct import Struct, pack

from . import system_calls

__all__ = ["attach", "has_source", "open_counter", "open_kprobe", "open_tracepoint", "tracefs"]

# struct perf_event_attr up to sample_max_stack: type, size, config, sample_period or sample_freq, sample_type,
# read_format, flags, wakeup, bp_type, config1, config2, ...
_ATTRIBUTES = Struct("=IIQQQQQIIQQ40x")
_TYPE_TRACEPOINT = 2
_FREQUENCY = 1 << 10  # flag `freq`
_SOURCES = "/sys/bus/event_source/devices"
_SET_BPF = 0x40042408
_ENABLE = 0x2400
_ATTACH_PERF_EVENT = 41
_PATH = 4096


def attach(program: int, event: int, cookie: int = 0) -> int:
    """Attach a program to an event, which the result owns: a link, or where the kernel has none for it, the event.

    Kernel: link and cookie 5.15, ioctl 4.1.
    """
    if event < 0:
        return event
    more = pack("=Q", cookie) if cookie else b""
    link = system_calls.link_create(program, event, _ATTACH_PERF_EVENT, more=more)
    try:
        if link >= 0:
            _control(event, _ENABLE, 0)
            os.close(event)  # the link holds the event
            return link
        if link != -errno.EINVAL or cookie:  # EINVAL: it may be a kernel without such links
            os.close(event)
            return link
        _control(event, _SET_BPF, program)
        _control(event, _ENABLE, 0)
    except OSError as error:
        for fd in (event, link):
            if fd >= 0:
                os.close(fd)
        return -(error.errno or errno.EIO)
    return event


def _control(event: int, request: int, argument: int) -> None:
    from fcntl import ioctl

    ioctl(event, request, argument)


def open_tracepoint(target: str) -> int:
    """Open the event of a tracepoint, `category/name`."""
    try:
        number = int(_read(f"{tracefs()}/events/{target}/id"))
    except OSError as error:
        return -(error.errno or errno.EIO)
    return system_calls.perf_event_open(_attributes(_TYPE_TRACEPOINT, number), -1, 0)


def open_kprobe(target: str, *, is_return: bool) -> int:
    """Open the event of a kernel function, `name` or `name+offset`."""
    name, _, more = target.partition("+")
    try:
        offset = int(more or "0", 0)
        if not 0 <= offset < 1 << 64:
            return -errno.EINVAL
        kind = int(_read(f"{_SOURCES}/kprobe/type"))
    except ValueError:  # the offset is no number
        return -errno.EINVAL
    except OSError as error:
        return -(error.errno or errno.EIO)
    where, kept = system_calls.address(name.encode() + b"\0")
    # Bit 0 of config asks for a return probe, as /sys/bus/event_source/devices/kprobe/format/retprobe tells.
    result = system_calls.perf_event_open(_attributes(kind, int(is_return), 0, 0, where, offset), -1, 0)
    del kept
    return result


def open_counter(kind: int, config: int, *, period: int, frequency: int, pid: int, cpu: int) -> int:
    """Open an event that overflows after *period* counts, or *frequency* times a second."""
    flags = _FREQUENCY if frequency else 0
    return system_calls.perf_event_open(_attributes(kind, config, frequency or period, flags), pid, cpu)


def _attributes(kind: int, config: int, period: int = 0, flags: int = 0, config1: int = 0, config2: int = 0) -> bytes:
    return _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, config, period, 0, 0, flags, 0, 0, config1, config2)


def has_source(name: str) -> bool:
    """Return whether the kernel has an event source, such as `kprobe`."""
    return os.access(f"{_SOURCES}/{name}/type", os.R_OK)


def tracefs() -> str:
    """Return where tracefs is mounted; the newer place where it is at neither."""
    for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if os.access(f"{place}/events", os.F_OK):
            return place
    return "/sys/kernel/tracing"


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _PATH).decode()
    finally:
        os.close(fd)
