# SPDX-License-Identifier: Apache-2.0
"""The running kernel's own BTF: in sysfs, or in an image of the kernel at one of the places where libbpf looks.

Source: libbpf src/btf.c, btf__load_vmlinux_btf(); elf(5); Linux Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

__all__ = ["SYSFS", "btf_of", "kernel_btf", "mapped"]

SYSFS = "/sys/kernel/btf/vmlinux"
# Where libbpf looks when sysfs has none; {} is the kernel's release.
_KNOWN = (
    "/boot/vmlinux-{}",
    "/lib/modules/{}/vmlinux-{}",
    "/lib/modules/{}/build/vmlinux",
    "/usr/lib/modules/{}/kernel/vmlinux",
    "/usr/lib/debug/boot/vmlinux-{}",
    "/usr/lib/debug/boot/vmlinux-{}.debug",
    "/usr/lib/debug/lib/modules/{}/vmlinux",
)
_NOBITS = 8  # SHT_NOBITS: in a file of debug information a section has its header only


def kernel_btf(notes: list[str] | None = None) -> str:
    """Return the file that libbpf takes the running kernel's BTF from, empty if there is none.

    Args:
        notes: Gets what is at these places and holds none.
    """
    if os.access(SYSFS, os.R_OK):
        return SYSFS
    notes = [] if notes is None else notes
    notes.append(f"the kernel shows none in {SYSFS}")
    release = os.uname().release
    for known in _KNOWN:
        path = known.replace("{}", release)
        if not os.access(path, os.R_OK):
            continue
        try:
            btf_of(mapped(path))
        except (OSError, ValueError):
            notes.append(f"{path} holds none")
            continue
        return path
    return ""


def mapped(path: str) -> mmap:
    """Return a file's bytes, which are read where they are looked at: an image with debug information is large.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is empty.
    """
    import mmap

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def btf_of(data: bytes | mmap) -> bytes:
    """Return the BTF that a file holds, as a whole or as its section .BTF.

    Raises:
        ValueError: It holds none, as far as the header of BTF tells.
    """
    import struct

    start, length = 0, len(data)
    try:
        if data[:5] == b"\x7fELF\x02":
            start, length = _section(data)
        order = {b"\x9f\xeb": "<", b"\xeb\x9f": ">"}[data[start : start + 2]]
        header, _, type_length, strings, string_length = struct.unpack_from(f"{order}5I", data, start + 4)
    except (struct.error, KeyError):
        raise ValueError("no BTF") from None
    if header < 24 or not type_length or header + strings + string_length > length:
        raise ValueError("no BTF")
    return data[start : start + length]


def _section(data: bytes | mmap) -> tuple[int, int]:
    """Return where the section .BTF of a 64-bit ELF file is, and its length in bytes."""
    import struct

    order = "<" if data[5:6] == b"\1" else ">"
    (table,) = struct.unpack_from(f"{order}Q", data, 0x28)
    size, count, names = struct.unpack_from(f"{order}HHH", data, 0x3A)
    if not names < count or table + count * size > len(data):
        raise ValueError("no BTF: the table of sections is cut off")
    headers = [struct.unpack_from(f"{order}IIQQQQ", data, table + index * size) for index in range(count)]
    for name, kind, _, _, start, length in headers:
        at = headers[names][4] + name
        if data[at : at + 5] == b".BTF\0" and kind != _NOBITS and start + length <= len(data):
            return start, length
    raise ValueError("no BTF: there is no section .BTF")
