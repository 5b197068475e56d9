# SPDX-License-Identifier: Apache-2.0
"""Debugging sections go, all else stays, and what refers to a section or symbol by number still does."""

from __future__ import annotations

import struct

import pytest

from ebpf_codegen import elf
from ebpf_codegen.errors import ElfError
from ebpf_codegen.strip import strip

from .writers import NOBITS, BtfWriter, ElfWriter

ORDERS = ("<", ">")


def sample(order: str) -> bytes:
    """Return an object whose debugging sections stand between the others, so that all numbers change."""
    w = ElfWriter(order)
    debug = w.section(".debug_info", b"debug" * 20)
    code = w.section("kprobe/x", bytes(range(32)), executable=True)
    w.section(".debug_str", b"string")
    bss = w.section(".bss", kind=NOBITS, size=64)
    w.section(".llvm_addrsig", b"a")
    btf = BtfWriter(order)
    btf.integer("int", 4)
    w.section(".BTF", btf.build())
    ext = w.section(".BTF.ext", bytes(8))
    w.symbol("", debug, kind="section", bind="local")
    w.symbol("", code, kind="section", bind="local")
    w.symbol("run", code, 8, 24, kind="func")
    w.symbol("counter", bss, 16, 8)
    w.symbol("elsewhere", 0, kind="notype")
    w.symbol("absolute", 0xFFF1)
    w.relocate(debug, [(0, 1), (8, 2)])
    w.relocate(code, [(0, 4), (16, 5)])
    w.relocate(ext, [(4, 2)], addends=True)
    return w.build()


@pytest.mark.parametrize("order", ORDERS)
def test_only_debugging_sections_go(order: str) -> None:
    before, after = elf.parse(sample(order), "x.o"), elf.parse(strip(sample(order)), "x.o")
    assert [section.name for section in after.sections] == [
        "", "kprobe/x", ".bss", ".BTF", ".BTF.ext", ".relkprobe/x", ".rela.BTF.ext", ".symtab", ".strtab",
    ]  # fmt: skip
    kept = {section.name: section for section in before.sections}
    for section in after.sections:
        if section.name not in (".symtab", ".relkprobe/x", ".rela.BTF.ext"):
            assert section == kept[section.name]
    assert list(after.btf.types) == list(before.btf.types)
    assert [(s.name, s.kind, s.offset, s.size, s.is_global) for s in after.symbols] == [
        (s.name, s.kind, s.offset, s.size, s.is_global) for s in before.symbols
    ]
    assert {symbol.name: symbol.section for symbol in after.symbols} == {
        "run": 1, "counter": 2, "elsewhere": 0, "absolute": 0,
    }  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_relocations_follow_their_symbols_and_sections(order: str) -> None:
    image = strip(sample(order))
    (table,) = struct.unpack_from(order + "Q", image, 0x28)
    headers = [struct.unpack_from(order + "IIQQQQIIQQ", image, table + 64 * index) for index in range(9)]

    def data(index: int) -> bytes:
        return image[headers[index][4] : headers[index][4] + headers[index][5]]

    # Symbols: null, section kprobe/x, run, counter, elsewhere, absolute; the debugging one is gone.
    assert len(data(7)) == 24 * 6
    assert headers[7][6:8] == (8, 2)  # names in .strtab, two local symbols
    assert headers[5][6:8] == (7, 1)  # .symtab, relocates kprobe/x
    assert headers[6][6:8] == (7, 4)
    assert struct.unpack(order + "QQQQ", data(5)) == (0, 3 << 32 | 1, 16, 4 << 32 | 1)
    assert struct.unpack(order + "QQq", data(6)) == (4, 1 << 32 | 1, 7)
    assert struct.unpack_from(order + "HH", image, 0x3C) == (9, 8)
    for header in headers[1:]:
        assert header[4] % header[8] == 0


@pytest.mark.parametrize("order", ORDERS)
def test_stripping_twice_changes_nothing(order: str) -> None:
    once = strip(sample(order))
    assert strip(once) == once
    assert len(once) < len(sample(order))


def test_size_of_bss_is_kept_without_bytes() -> None:
    w = ElfWriter()
    w.section(".BTF", BtfWriter().build())
    w.section(".bss", kind=NOBITS, size=1 << 20)
    image = strip(w.build())
    assert len(image) < 1000
    assert elf.parse(image, "x.o").sections[2].size == 1 << 20


def refused(image: bytes) -> str:
    with pytest.raises(ElfError) as caught:
        strip(image)
    return str(caught.value)


@pytest.mark.parametrize("order", ORDERS)
def test_cut_off_anywhere_is_refused(order: str) -> None:
    image = sample(order)
    for size in range(len(image)):
        assert refused(image[:size]).startswith("strip object: "), size


@pytest.mark.parametrize("head", [b"", b"\x7fELF", b"\x7fELF\x02\x03", b"\x7fELF\x01\x01", b"!<arch>\n"])
def test_anything_but_elf64_is_refused(head: bytes) -> None:
    assert refused(head.ljust(100, b"\0") if len(head) > 4 else head) == (
        "strip object: it does not begin like an ELF64 file."
    )


def test_relocation_to_a_dropped_symbol_is_refused() -> None:
    w = ElfWriter()
    debug = w.section(".debug_info", bytes(8))
    code = w.section("kprobe/x", bytes(8))
    w.symbol("info", debug)
    w.relocate(code, [(0, 1)])
    assert refused(w.build()) == "strip object: a kept relocation points to the dropped symbol 1."


def changed(offset: int, code: str, value: int, section: int | None = None) -> bytes:
    w = ElfWriter()
    w.symbol("x", w.section(".data", bytes(8)))
    w.relocate(1, [(0, 1)])
    data = bytearray(w.build())
    if section is not None:
        offset += struct.unpack_from("<Q", data, 0x28)[0] + 64 * section
    struct.pack_into("<" + code, data, offset, value)
    return bytes(data)


def test_damage_is_named() -> None:
    size = len(changed(0x10, "H", 1))
    assert refused(changed(0x18, "Q", 1 << 20, 1)) == (
        f"strip object: section 1 ends at byte 1048584, after the file ({size})."
    )
    assert refused(changed(0x30, "Q", 1 << 40, 1)) == (
        "strip object: section 1 is aligned to 1099511627776 bytes, which nothing needs."
    )
    assert refused(changed(0x2C, "I", 99, 2)) == "strip object: section 2 relocates section 99, which is not kept."
    assert refused(changed(0x3E, "H", 9)) == "strip object: section 9, which holds the names, is not there."
    assert refused(changed(0x28, "Q", (1 << 64) - 1)).startswith(
        "strip object: it is not an intact relocatable ELF64 file ("
    )
    assert refused(changed(0x20, "Q", 15, 2)).startswith("strip object: it is not an intact relocatable ELF64 file (")
