# SPDX-License-Identifier: Apache-2.0
"""Sections, symbols and types of an object; every damaged file is one error with a text."""

from __future__ import annotations

import contextlib
import io
import random
import re
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from ebpf_codegen import elf, model, render
from ebpf_codegen.errors import BtfError, CodegenError, ElfError
from ebpf_codegen.source import Documentation
from ebpf_codegen.strip import strip

from .writers import NOBITS, BtfWriter, ElfWriter, ObjectWriter

ORDERS = ("<", ">")


def sample(order: str = "<") -> bytes:
    """Return an object that has a bit of everything."""
    w = ObjectWriter(order)
    char = w.btf.integer("char", 1, signed=True)
    w.elf.symbol("hidden_away", 0, bind="local")
    mood = w.btf.enum("mood", 4, [("MOOD_BAD", 0), ("MOOD_GOOD", 1)])
    record = w.btf.struct("record", 24, [("text", w.btf.array(char, 16), 0), ("n", w.int, 128), ("mood", mood, 160)])
    w.map("events", {"type": 27, "max_entries": 4096})
    w.record("events", record)
    w.value(record)
    w.variable(".bss", "counter", w.int, 4)
    w.variable(".data", "limit", w.btf.refer("typedef", w.btf.refer("volatile", w.int), "s32"), 4)
    w.program("run", "?kprobe/run", "kprobe")
    w.program("helper", ".text")
    w.elf.relocate(1, [(0, 2)])
    return w.build()


def tiny(order: str = "<") -> ElfWriter:
    w = ElfWriter(order)
    w.section(".BTF", BtfWriter(order).build())
    return w


def refused(data: bytes) -> str:
    with pytest.raises(ElfError) as caught:
        elf.parse(data, "x.o")
    return str(caught.value)


@pytest.mark.parametrize(("order", "name"), [("<", "little"), (">", "big")])
def test_sections_and_symbols(order: str, name: str) -> None:
    w = tiny(order)
    code = w.section("kprobe/x", bytes(16), executable=True)
    data = w.section(".data", b"12345678")
    bss = w.section(".bss", kind=NOBITS, size=40)
    w.symbol("a", data, bind="local")
    w.symbol("", data, kind="section", bind="local")
    w.symbol("program", code, 8, 16, kind="func")
    w.symbol("b", bss, 4, 8, bind="weak")
    w.symbol("c", data, 2, 1, visibility=2)
    w.symbol("extern", 0, kind="notype")
    w.symbol("absolute", 0xFFF1)
    read = elf.parse(w.build(), "x.o")
    assert (read.source, read.byte_order) == ("x.o", name)
    assert read.sections[code] == elf.Section("kprobe/x", 16, bytes(16), True)
    assert read.sections[data] == elf.Section(".data", 8, b"12345678", False)
    assert read.sections[bss] == elf.Section(".bss", 40, b"", False)
    assert [section.name for section in read.sections][-2:] == [".symtab", ".strtab"]
    assert read.symbols == (
        elf.Symbol("a", "object", data, 0, 0, False, True),
        elf.Symbol("program", "func", code, 8, 16, True, False),
        elf.Symbol("b", "object", bss, 4, 8, True, False),
        elf.Symbol("c", "object", data, 2, 1, False, False),
        elf.Symbol("extern", "object", 0, 0, 0, True, False),
        elf.Symbol("absolute", "object", 0, 0, 0, True, False),
    )
    assert read.section(".bss") == bss
    assert read.section(".rodata") is None
    assert len(read.btf.types) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_pyelftools_reads_the_same(order: str) -> None:
    data = sample(order)
    read, witness = elf.parse(data, "x.o"), ELFFile(io.BytesIO(data))
    assert witness.little_endian == (read.byte_order == "little")
    theirs = list(witness.iter_sections())
    assert [(s.name, s.size, s.data, s.executable) for s in read.sections[1:]] == [
        (s.name, s["sh_size"], b"" if s["sh_type"] == "SHT_NOBITS" else s.data(), bool(s["sh_flags"] & 4))
        for s in theirs[1:]
    ]
    tables = [s for s in theirs if isinstance(s, SymbolTableSection)]
    named = [s for table in tables for s in table.iter_symbols() if s.name and s["st_info"]["type"] != "STT_SECTION"]
    assert [(s.name, s.offset, s.size, s.is_local) for s in read.symbols] == [
        (s.name, s["st_value"], s["st_size"], s["st_info"]["bind"] == "STB_LOCAL") for s in named
    ]
    for section in theirs:
        if isinstance(section, RelocationSection):
            symbols = [tables[0].get_symbol(item["r_info_sym"]) for item in section.iter_relocations()]
            assert [(r.name, r.value) for r in read.relocations(section["sh_info"])] == [
                (s.name, s["st_value"]) for s in symbols
            ]


def test_read_takes_a_path(tmp_path: Path) -> None:
    path = tmp_path / "probe.o"
    path.write_bytes(sample())
    read, parsed = elf.read(path), elf.parse(sample(), str(path))
    assert read.source == parsed.source
    assert (read.sections, read.symbols) == (parsed.sections, parsed.symbols)
    assert list(read.btf.types) == list(parsed.btf.types)
    with pytest.raises(ElfError, match=f"^read {tmp_path / 'none.o'}: No such file or directory.$"):
        elf.read(tmp_path / "none.o")
    with pytest.raises(ElfError, match=f"^read {tmp_path}: Is a directory.$"):
        elf.read(tmp_path)


def test_too_large_a_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.o"
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(ElfError, match=f"^read {path}: 268435457 bytes are too many for a BPF object.$"):
        elf.read(path)


def test_another_machine_is_refused() -> None:
    w = tiny()
    w.machine = 62
    assert refused(w.build()) == "read x.o: its machine is EM_X86_64, not EM_BPF. Compile with -target bpf."


def test_object_without_btf_is_refused() -> None:
    w = ElfWriter()
    w.section(".data", b"1234")
    assert refused(w.build()) == "read x.o: it has no .BTF section. Compile with clang -g."


def test_programs_alone_need_no_btf() -> None:
    w = ElfWriter()
    w.symbol("pass", w.section("xdp", bytes(16), executable=True), 0, 16, kind="func")
    found = model.build(elf.parse(w.build(), "x.o"), "x", Documentation())
    assert [(program.name, program.section) for program in found.programs] == [("pass", "xdp")]


def test_relocations() -> None:
    w = tiny()
    maps = w.section(".maps", bytes(64))
    first = w.symbol("first", maps, 8)
    w.relocate(maps, [(16, first), (24, 0)])
    read = elf.parse(w.build(), "x.o")
    assert read.relocations(maps) == (elf.Relocation(16, "first", maps, 8), elf.Relocation(24, "", 0, 0))
    assert read.relocations(1) == ()
    w.relocate(maps, [(32, 77)])
    with pytest.raises(ElfError, match=r"^read x.o: section '.rel.maps': a relocation names symbol 77 of 2.$"):
        elf.parse(w.build(), "x.o").relocations(maps)


def test_too_many_symbols_are_refused() -> None:
    w = tiny()
    w.symbol("one", 1)
    data = bytearray(w.build())
    table, count = struct.unpack_from("<Q", data, 0x28)[0], struct.unpack_from("<H", data, 0x3C)[0]
    struct.pack_into("<Q", data, table + 64 * (count - 2) + 56, 23)  # the size of an entry
    assert re.fullmatch(r"read x\.o: section 2, byte \d+: its 48 bytes are no table of symbols\.", refused(bytes(data)))


def test_symbol_in_a_section_that_is_not_there_is_refused() -> None:
    w = tiny()
    w.symbol("lost", 77)
    assert refused(w.build()) == "read x.o: symbol 'lost' is in section 77, which is not there."


def test_file_of_another_format_is_refused() -> None:
    assert refused(b"") == "read x.o: it is not an ELF file; it begins with nothing."
    assert refused(b"BC\xc0\xde" + bytes(100)) == "read x.o: it is not an ELF file; it begins with 4243c0de."
    data = bytearray(sample())
    data[4] = 1
    assert refused(bytes(data)) == "read x.o: byte 4: it is not a 64-bit ELF file of either byte order."
    data[4], data[16] = 2, 3
    assert refused(bytes(data)) == "read x.o: byte 16: its type is 3, not 1, a relocatable object."
    assert refused(sample()[:40]) == "read x.o: 40 bytes are too few for an ELF header. The file is truncated."


def test_section_beyond_the_end_is_refused() -> None:
    w = tiny()
    w.section(".data", b"12345678", size=100_000)
    data = w.build()
    start = data.index(b"12345678")
    expected = f"section '.data' ends at byte {start + 100_000}, after the file ({len(data)}). The file is truncated."
    assert refused(data) == f"read x.o: {expected}"


@pytest.mark.parametrize("order", ORDERS)
def test_cut_off_anywhere_is_refused(order: str) -> None:
    data = sample(order)
    for size in range(len(data)):
        with pytest.raises((ElfError, BtfError)):
            elf.parse(data[:size], "x.o")


@pytest.mark.timeout(60)
def test_bytes_changed_at_random_end_in_bindings_or_in_an_error() -> None:
    """From the file to the text of the module: no other exception, and no endless loop."""
    chance = random.Random(19700101)
    originals = [sample(order) for order in ORDERS]
    origin = render.Origin("bpf/x.bpf.c", "0", "tools/regen x")
    outcomes = {"bindings": 0, "refused": 0}
    for _ in range(2500):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        try:
            found = model.build(elf.parse(bytes(data), "x.o"), "x", Documentation())
            compile(render.render(found, origin), "x.py", "exec")
            outcomes["bindings"] += 1
        except CodegenError:
            outcomes["refused"] += 1
        with contextlib.suppress(ElfError):
            strip(bytes(data))
    assert min(outcomes.values()) > 100


def test_a_header_of_each_field_all_ones() -> None:
    """Sizes, offsets and counts as large as they can be."""
    data = sample()
    table, count = struct.unpack_from("<Q", data, 0x28)[0], struct.unpack_from("<H", data, 0x3C)[0]
    for at, code in [(0x28, "Q"), (0x3A, "H"), (0x3C, "H"), (0x3E, "H")] + [
        (table + 64 * section + offset, code)
        for section in range(count)
        for offset, code in enumerate("I...I...Q.......Q.......Q.......Q.......I...I...Q.......Q.......")
        if code != "."
    ]:
        for value in (0, 1, (1 << 8 * struct.calcsize(code)) - 1, (1 << 8 * struct.calcsize(code) - 1)):
            changed = bytearray(data)
            struct.pack_into("<" + code, changed, at, value)
            for action in (lambda image: elf.parse(image, "x.o"), strip):
                with contextlib.suppress(CodegenError):
                    action(bytes(changed))


@pytest.mark.timeout(20)
def test_what_only_costs_time_is_refused_or_done_in_a_moment() -> None:
    """Tables and counts that no compiler makes; each takes a fraction of a second on an idle machine."""

    def blob(types: bytes) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 3)
        w = ElfWriter()
        w.section(".BTF", header + types + b"\0x\0")
        return w.build()

    def outcome(data: bytes, *, all_types: bool = False) -> str:
        try:
            found = model.build(elf.parse(data, "x.o"), "x", Documentation(), model.Options(all_types=all_types))
        except CodegenError as error:
            return str(error)
        return f"{len(found.records)} records"

    number = struct.pack("<IIII", 1, 1 << 24, 4, 32)
    structs = struct.pack("<III", 1, 4 << 24, 0) * 70_000
    many = number + struct.pack("<III", 1, 4 << 24 | 100_000, 4) + struct.pack("<III", 1, 1, 0) * 100_000
    union = number + struct.pack("<III", 1, 5 << 24 | 65_535, 4) + struct.pack("<III", 1, 1, 0) * 65_535
    assert outcome(blob(structs)) == "0 records"
    assert outcome(blob(structs), all_types=True) == (
        "x.o: --all-types: there are 70000 structs and unions. Leave the option out."
    )
    assert outcome(blob(many), all_types=True) == (
        "x.o: .BTF, byte 40: type 2 has 100000 parts, the kernel takes 65535 at most."
    )
    assert outcome(blob(union), all_types=True) == "1 records"
    assert outcome(blob(bytes(9 << 20))) == (
        "read x.o: section '.BTF' has 9437211 bytes, more than the 8388608 of any object."
    )


def test_thousands_of_names_that_become_one() -> None:
    w = ObjectWriter()
    w.value(w.btf.struct("s", 80_000, [(chr(0x4E00 + i), w.int, 32 * i) for i in range(20_000)]))
    found = model.build(w.parse(), "x", Documentation())
    text = render.render(found, render.Origin("x", "0", "y"))
    assert text.count(": int = s32(") == 20_000
