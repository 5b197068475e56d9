# SPDX-License-Identifier: Apache-2.0
"""Functions of a program's file: where they begin, and what is no such file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ebpf_runtime.elf_symbols import functions, probes, resolve

NAMES = b"\0first\0second\0thing\0"
FUNCTION, OBJECT = 2, 1


def symbol(name: bytes, kind: int, address: int, section: int = 1) -> bytes:
    return struct.pack("<IBBHQQ", NAMES.index(b"\0" + name + b"\0") + 1, kind, 0, section, address, 8)


def image(symbols: bytes, names: bytes = NAMES) -> bytes:
    """Return an ELF file: a segment of 4096 bytes at address 0x400000 that begins at byte 0x100 of the file."""
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0x100, 0x400000, 0, 0x1000, 0x1000, 0x1000)
    at = 64 + len(segment)
    tables = at + len(symbols) + len(names)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 64, tables, 0, 64, 56, 1, 64, 3, 0
    )  # fmt: skip
    sections = (
        bytes(64)
        + struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, at, len(symbols), 2, 0, 8, 24)
        + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at + len(symbols), len(names), 0, 0, 1, 0)
    )
    return header + segment + symbols + names + sections


def test_functions_are_found_by_where_they_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(
        image(
            symbol(b"first", FUNCTION, 0x400010)
            + symbol(b"second", FUNCTION, 0x400FFF)
            + symbol(b"thing", OBJECT, 0x400020)
            + symbol(b"thing", FUNCTION, 0x400020, section=0)  # another file's
            + symbol(b"thing", FUNCTION, 0x401000)  # behind the segment
        )
    )
    assert functions(str(path)) == {"first": 0x110, "second": 0x10FF}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "{} is empty"),
        (b"#!/bin/sh\n", "{} is no 64-bit little-endian ELF file"),
        (image(symbol(b"first", FUNCTION, 0x400010))[:50], "{} is a damaged ELF file"),
        (image(symbol(b"first", FUNCTION, 0x400010))[:-100], "{} is a damaged ELF file"),
        (image(symbol(b"first", FUNCTION, 0x400010), b"\0first"), "{} is a damaged ELF file"),
    ],
)
def test_what_is_no_such_file_is_said(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole text is compared
        functions(str(path))
    assert str(caught.value) == message.format(path)


def note(name: bytes, kind: int, description: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(description), kind) + padded(name) + padded(description)


def noted(notes: bytes) -> bytes:
    """Return an ELF file with a section of notes."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64 + len(notes), 0, 64, 56, 0, 64, 1, 0)
    return header + notes + struct.pack("<IIQQQQIIQQ", 0, 7, 0, 0, 64, len(notes), 0, 0, 4, 0)


def test_probes_for_tracers_are_found_once_each(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(
        noted(
            note(b"GNU\0", 3, bytes(20))
            + note(b"stapsdt\0", 3, bytes(24) + b"shop\0sold\0-4@%edi\0")
            + note(b"stapsdt\0", 3, bytes(24) + b"shop\0sold\0-4@%esi\0")
            + note(b"stapsdt\0", 3, bytes(24) + b"shop\0bought\0\0")
        )
    )
    assert probes(str(path)) == ["shop:sold", "shop:bought"]
    path.write_bytes(noted(note(b"stapsdt\0", 3, bytes(24) + b"shop")))
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole text is compared
        probes(str(path))
    assert str(caught.value) == f"{path} is a damaged ELF file"


def test_names_without_a_slash_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libshop.so.1"
    library.touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}")
    assert resolve("libshop.so.1") == str(library)
    assert resolve("./libshop.so.1") == "./libshop.so.1"
    with pytest.raises(FileNotFoundError) as caught:
        resolve("libshop.so.2")
    assert str(caught.value) == "libshop.so.2 is in none of the usual folders"
