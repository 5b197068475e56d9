# SPDX-License-Identifier: Apache-2.0
"""The functions of a user-space program or library, where in its file they begin, and its probes for tracers.

Source: elf(5).
"""

from __future__ import annotations

import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["functions", "probes", "resolve"]

_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")
_MAGIC = b"\x7fELF\2\1"  # 64-bit, little-endian
_LOAD = 1
_TABLES = (2, 11)  # SHT_SYMTAB, SHT_DYNSYM
_FUNCTION = 2  # STT_FUNC
_NOTE = Struct("<III")
_NOTES = 7  # SHT_NOTE
_PROBE = (b"stapsdt\0", 3)  # name and type of a note
_ADDRESSES = 24  # bytes of a probe's place, base and semaphore before its names
_TRIPLET = f"{os.uname().machine}-linux-gnu"
_LIBRARIES = ("/usr/lib64", "/usr/lib", f"/usr/lib/{_TRIPLET}", "/lib64", "/lib", f"/lib/{_TRIPLET}")
_PROGRAMS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


def resolve(path: str) -> str:
    """Return the file of a program or library: a name without a slash is looked for where they usually are.

    Raises:
        FileNotFoundError: There is none.
    """
    if "/" in path:
        return path
    is_library = path.endswith(".so") or ".so." in path
    variable, usual = ("LD_LIBRARY_PATH", _LIBRARIES) if is_library else ("PATH", _PROGRAMS)
    for folder in (*os.environ.get(variable, "").split(":"), *usual):
        if folder and os.access(f"{folder}/{path}", os.R_OK if is_library else os.R_OK | os.X_OK):
            return f"{folder}/{path}"
    raise FileNotFoundError(f"{path} is in none of the usual folders")


def functions(path: str) -> dict[str, int]:
    """Return the functions that a file defines, by name, with where in the file each begins, in bytes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no program or library of a 64-bit little-endian machine, or damaged.
    """
    return _read(path, _functions)


def probes(path: str) -> list[str]:
    """Return the probes for tracers (USDT) that a file has, as `provider:name`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no program or library of a 64-bit little-endian machine, or damaged.
    """
    return _read(path, _probes)


def _read(path: str, parse: Callable[[mmap], T]) -> T:
    from mmap import ACCESS_READ, mmap
    from pathlib import Path
    from struct import error

    with Path(path).open("rb") as file:
        try:
            image = mmap(file.fileno(), 0, access=ACCESS_READ)
        except ValueError:
            raise ValueError(f"{path} is empty") from None
    with image:
        if image[: len(_MAGIC)] != _MAGIC:
            raise ValueError(f"{path} is no 64-bit little-endian ELF file")
        try:
            return parse(image)
        except (error, IndexError, ValueError):  # ValueError: a name without an end
            raise ValueError(f"{path} is a damaged ELF file") from None


def _sections(image: mmap) -> list[tuple[int, ...]]:
    header = _HEADER.unpack_from(image)
    return [_SECTION.unpack_from(image, header[6] + number * _SECTION.size) for number in range(header[12])]


def _functions(image: mmap) -> dict[str, int]:
    header = _HEADER.unpack_from(image)
    segments_at, segments = header[5], header[10]
    loaded = []
    for number in range(segments):
        kind, _, at, address, _, size, _, _ = _SEGMENT.unpack_from(image, segments_at + number * _SEGMENT.size)
        if kind == _LOAD:
            loaded.append((address, address + size, at - address))
    tables = _sections(image)
    found: dict[str, int] = {}
    for _, kind, _, _, at, size, link, _, _, _ in tables:
        if kind not in _TABLES:
            continue
        names_at, names_size = tables[link][4:6]
        names = bytes(image[names_at : names_at + names_size])
        for name, info, _, section, value, _ in _SYMBOL.iter_unpack(image[at : at + size - size % _SYMBOL.size]):
            if info & 15 != _FUNCTION or not section or not value:
                continue
            for start, end, shift in loaded:
                if start <= value < end:
                    text = names[name : names.index(b"\0", name)].decode("utf-8", "replace")
                    found.setdefault(text, value + shift)
                    break
    return found


def _probes(image: mmap) -> list[str]:
    found: dict[str, None] = {}  # one probe may have many places
    for _, kind, _, _, at, size, _, _, _, _ in _sections(image):
        end = at + size if kind == _NOTES else at
        while at < end:
            name_size, size, number = _NOTE.unpack_from(image, at)
            at += _NOTE.size
            name = image[at : at + name_size]
            at += name_size + 3 & ~3
            if (name, number) == _PROBE:
                provider, probe, _ = image[at + _ADDRESSES : at + size].split(b"\0", 2)
                found[f"{provider.decode('utf-8', 'replace')}:{probe.decode('utf-8', 'replace')}"] = None
            at += size + 3 & ~3
    return list(found)
