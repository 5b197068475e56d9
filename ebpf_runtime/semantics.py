# SPDX-License-Identifier: Apache-2.0
"""What members of records mean: addresses, times, error numbers, cgroups, symbols of the kernel.

Generated records call these for members with a tag of `tags.bpf.h`. What they need is imported when they are called.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from ipaddress import IPv4Address, IPv6Address

__all__ = [
    "boot_time",
    "cgroup_path",
    "errno_name",
    "ipv4_address",
    "ipv6_address",
    "kernel_symbol",
    "memory_cgroup_path",
    "monotonic_time",
    "network_port",
    "tai_time",
    "text_of",
]

_NS = 10**9
_STEADY_NS = 10**6  # by less than this the clocks seem to differ only because they are read one after the other
# Errors that the kernel has for itself, from include/linux/errno.h.
_KERNEL_ERRORS = {
    512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD", 516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM", 521: "EBADHANDLE", 522: "ENOTSYNC", 523: "EBADCOOKIE",
    524: "ENOTSUPP", 525: "ETOOSMALL", 526: "ESERVERFAULT", 527: "EBADTYPE", 528: "EJUKEBOX", 529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT", 531: "ENOGRACE",
}  # fmt: skip

_offsets: dict[int, int] = {}
_cgroups: dict[str, dict[int, str]] = {}  # by hierarchy
_symbols: tuple[list[int], list[str]] | None = None


def ipv4_address(data: bytes) -> IPv4Address:
    """Return the address in four bytes of network order."""
    from ipaddress import IPv4Address

    return IPv4Address(data)


def ipv6_address(data: bytes) -> IPv6Address:
    """Return the address in sixteen bytes."""
    from ipaddress import IPv6Address

    return IPv6Address(data)


def network_port(data: bytes) -> int:
    """Return the number in two bytes of network order."""
    return int.from_bytes(data, "big")


def text_of(data: bytes) -> str:
    """Return text up to the first NUL; bytes that are not UTF-8 show as backslash escapes."""
    return data.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def monotonic_time(nanoseconds: int) -> datetime:
    """Return the time, in UTC, of a reading of CLOCK_MONOTONIC on this machine since it was started.

    It is told by the clocks as they are now; while the machine slept after the reading, the clock stood still.
    """
    from time import CLOCK_MONOTONIC

    return _time(nanoseconds, CLOCK_MONOTONIC)


def boot_time(nanoseconds: int) -> datetime:
    """Return the time, in UTC, of a reading of CLOCK_BOOTTIME on this machine since it was started."""
    from time import CLOCK_BOOTTIME

    return _time(nanoseconds, CLOCK_BOOTTIME)


def tai_time(nanoseconds: int) -> datetime:
    """Return the time, in UTC, of a reading of CLOCK_TAI."""
    from time import CLOCK_TAI

    return _time(nanoseconds, CLOCK_TAI)


def _time(nanoseconds: int, clock: int) -> datetime:
    from datetime import UTC, datetime, timedelta
    from time import clock_gettime_ns, time_ns

    offset = time_ns() - clock_gettime_ns(clock)
    # The same reading is the same time, until somebody sets the clock.
    if abs(offset - _offsets.get(clock, 0)) > _STEADY_NS:
        _offsets[clock] = offset
    since = nanoseconds + _offsets.get(clock, 0)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=since // _NS, microseconds=since % _NS // 1000)


def errno_name(number: int) -> str:
    """Return the name of an error number, of either sign: "ENOENT"; "" for 0, the number if it has no name."""
    from errno import errorcode

    if not number:
        return ""
    value = abs(number)
    return errorcode.get(value) or _KERNEL_ERRORS.get(value) or str(number)


def cgroup_path(cgroup_id: int) -> str:
    """Return the path of a cgroup of version 2 below the root, "/" for the root; "" if there is none of this id.

    An id is the inode number of the cgroup's directory. Directories are read anew where an id is not known yet.
    """
    return _cgroup_path("cgroup2", cgroup_id)


def memory_cgroup_path(cgroup_id: int) -> str:
    """Return the path of a cgroup of the memory controller's hierarchy: version 1 where it is mounted, else 2."""
    return _cgroup_path("memory", cgroup_id)


def _cgroup_path(hierarchy: str, cgroup_id: int) -> str:
    known = _cgroups.setdefault(hierarchy, {})
    if cgroup_id not in known:
        known.clear()
        known.update(_read_cgroups(hierarchy))
    return known.get(cgroup_id, "")


def _read_cgroups(hierarchy: str) -> dict[int, str]:
    import os
    from pathlib import Path

    found: dict[int, str] = {}
    root = _mounted(hierarchy)
    for directory, _, _ in os.walk(root) if root else ():
        try:
            number = Path(directory).stat().st_ino
        except OSError:
            continue  # it has gone meanwhile
        found[number] = directory.removeprefix(root) or "/"
    return found


def _mounted(hierarchy: str) -> str:
    """Return where a hierarchy is mounted; "" if nowhere."""
    from pathlib import Path

    unified = ""
    with Path("/proc/self/mounts").open() as lines:
        for line in lines:
            _, directory, kind, options = line.split(" ")[:4]
            directory = directory.encode().decode("unicode_escape")
            if kind == "cgroup" and hierarchy in options.split(","):
                return directory
            if kind == "cgroup2":
                unified = unified or directory
    return unified


def kernel_symbol(address: int) -> str:
    """Return the kernel's symbol at or before an address, as "symbol+0x12"; "" if the kernel does not tell.

    /proc/kallsyms is read once; addresses are shown to those with CAP_SYSLOG only.
    """
    from bisect import bisect_right

    global _symbols
    if _symbols is None:
        _symbols = _read_symbols()
    addresses, names = _symbols
    index = bisect_right(addresses, address) - 1
    if not address or index < 0:
        return ""
    distance = address - addresses[index]
    return f"{names[index]}+{distance:#x}" if distance else names[index]


def _read_symbols() -> tuple[list[int], list[str]]:
    from pathlib import Path

    pairs = []
    with Path("/proc/kallsyms").open() as lines:
        for line in lines:
            address, _, rest = line.partition(" ")
            number = int(address, 16)
            if number:
                pairs.append((number, rest.split()[1]))
    pairs.sort(key=lambda pair: pair[0])
    return [number for number, _ in pairs], [name for _, name in pairs]
