# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen inspect`: what objects put together in the test are said to hold."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import jsonschema
import pytest

from ebpf_codegen import elf
from ebpf_codegen.__main__ import main
from ebpf_codegen.errors import BtfError
from ebpf_codegen.inspection import Inspection, inspect, text

from .writers import ElfWriter, ObjectWriter

SCHEMA = Path(elf.__file__).with_name("schema") / "inspect.schema.json"
ORDERS = ("<", ">")


def sample(order: str = "<") -> ObjectWriter:
    """An object with a map in a map, variables of each linkage, two programs and two relocations."""
    writer = ObjectWriter(order)
    btf = writer.btf
    u32, u64 = btf.integer("unsigned int", 4), btf.integer("unsigned long long", 8)
    inner = btf.struct("", 8, [("a", u32, 0), ("b", u32, 3 << 24 | 32)], flag=True)
    flow = btf.struct("flow", 16, [("id", u64, 0), ("", inner, 64)])
    kernel = btf.struct("task_struct", 16, [("pid", u32, 0), ("comm", btf.array(u32, 2), 32)])
    choice = btf.enum("choice", 4, [("NO", 0), ("YES", 1)])
    writer.map("flows", {"type": 1, "max_entries": 64, "map_flags": 1, "pinning": 1}, {"key": u32, "value": flow})
    writer.map("events", {"type": 27, "max_entries": 4096})
    writer.record("events", flow)
    definition = btf.struct("", 16, [("type", writer.number(2), 0), ("max_entries", writer.number(8), 64)])
    extra = btf.enum64("", [("___x", 1 << 33)])
    outer = btf.struct(
        "",
        24,
        [
            ("type", writer.number(12), 0),
            ("map_extra", extra, 64),
            ("values", btf.array(btf.ptr(definition), 0), 128),
        ],
    )
    writer.variable(".maps", "outer", outer, 24)
    writer.variable(".rodata", "limit", btf.refer("const", u64), 8)
    writer.variable(".rodata", "mode", choice, 4)
    writer.variable(".bss", "hits", u64, 8)
    writer.program("trace", "kprobe/do_exit")
    writer.program("other", "?fentry/do_exit")
    writer.variable("license", "LICENSE", btf.array(btf.integer("char", 1, signed=True), 4), 4)
    writer.elf.sections[writer.used["license"]].data = b"GPL\0"
    strings = {name: btf.string(name) for name in ("kprobe/do_exit", "0:0", "0:1:1", "1")}
    pack = struct.Struct(order + "4I").pack
    records = [
        pack(0, kernel, strings["0:0"], 0),
        pack(8, kernel, strings["0:1:1"], 2),
        pack(16, choice, strings["1"], 10),
    ]
    body = struct.pack(order + "3I", 16, strings["kprobe/do_exit"], len(records)) + b"".join(records)
    header = struct.pack(order + "HBB7I", 0xEB9F, 1, 0, 32, 0, 0, 0, 0, 0, len(body))
    writer.elf.section(".BTF.ext", header + body)
    return writer


@pytest.mark.parametrize("order", ORDERS)
def test_everything_is_found(order: str) -> None:
    found = inspect(sample(order).parse())
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert (found["file"], found["byte_order"], found["license"]) == (
        "probe.bpf.c", "little" if order == "<" else "big", "GPL",
    )  # fmt: skip
    assert found["maps"] == [
        {
            "name": "flows",
            "type": "HASH",
            "key": {"type": "unsigned int", "bytes": 4},
            "value": {"type": "struct flow", "bytes": 16},
            "max_entries": 64,
            "flags": 1,
            "pinning": True,
            "map_extra": 0,
            "records": [],
            "inner": None,
        },
        {
            "name": "events",
            "type": "RINGBUF",
            "key": None,
            "value": None,
            "max_entries": 4096,
            "flags": 0,
            "pinning": False,
            "map_extra": 0,
            "records": ["struct flow"],
            "inner": None,
        },
        {
            "name": "outer",
            "type": "ARRAY_OF_MAPS",
            "key": None,
            "value": None,
            "max_entries": 0,
            "flags": 0,
            "pinning": False,
            "map_extra": 1 << 33,
            "records": [],
            "inner": {
                "name": "outer.inner",
                "type": "ARRAY",
                "key": None,
                "value": None,
                "max_entries": 8,
                "flags": 0,
                "pinning": False,
                "map_extra": 0,
                "records": [],
                "inner": None,
            },
        },
    ]
    assert found["programs"] == [
        {"name": "trace", "section": "kprobe/do_exit", "autoload": True, "instructions": 2, "records": []},
        {"name": "other", "section": "fentry/do_exit", "autoload": False, "instructions": 2, "records": []},
    ]
    assert [tuple(variable.values()) for variable in found["variables"]] == [
        (".bss", "hits", "unsigned long long", 0, 8, "global"),
        (".ringbuf_record", "__ringbuf_record_events", "struct flow *", 0, 8, "global"),
        (".rodata", "limit", "unsigned long long", 0, 8, "global"),
        (".rodata", "mode", "enum choice", 8, 4, "global"),
    ]
    assert [record["name"] for record in found["records"]] == ["flow", "task_struct"]
    assert [tuple(member.values()) for member in found["records"][0]["members"]] == [
        ("id", "unsigned long long", 0, 0),
        ("a", "unsigned int", 64, 0),
        ("b", "unsigned int", 96, 3),
    ]
    assert found["enums"] == [{"name": "choice", "bytes": 4, "signed": False, "values": {"NO": 0, "YES": 1}}]
    assert [tuple(relocation.values()) for relocation in found["relocations"]] == [
        ("kprobe/do_exit", "enumval_exists", "enum choice.YES", 1),
        ("kprobe/do_exit", "field_byte_offset", "struct task_struct.pid", 1),
        ("kprobe/do_exit", "field_exists", "struct task_struct.comm[1]", 1),
    ]


def test_the_text_shows_each_thing_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "probe.o"
    path.write_bytes(sample().build())
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{path}: little-endian BPF object, license GPL, ")
    for line in (
        "programs (2)",
        "  trace  kprobe/do_exit  yes       2",
        "  flows   HASH           unsigned int  struct flow      64           0x1",
        "  events  RINGBUF        -             struct flow      4096         0x0",
        "  kprobe/do_exit  enumval_exists     enum choice.YES             1",
        "  enum    4      choice",
    ):
        assert f"{line}\n" in shown
    assert main(["inspect", "--json", str(path)]) == 0
    found: Inspection = json.loads(capsys.readouterr().out)
    assert text(found) == shown


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, 0, ".BTF.ext, byte 0: it does not begin with the magic number eb9f"),
        (28, 4096, ".BTF.ext, byte 24: CO-RE relocations end at 4128, after the section (92)"),
        (32, 4, ".BTF.ext, byte 32: CO-RE relocations of 4 bytes are shorter than 16"),
        (40, 4096, ".BTF.ext, byte 44: 4096 relocations of section 'kprobe/do_exit' do not fit"),
        (48, 99, ".BTF.ext, byte 44: a relocation refers to type 99, which is not there"),
        (36, 9999, ".BTF.ext, byte 36: string offset 9999 is outside the {strings} bytes of strings"),
    ],
)
def test_damaged_relocations_are_refused(offset: int, value: int, reason: str) -> None:
    writer = sample()
    section = next(item for item in writer.elf.sections if item.name == ".BTF.ext")
    data = bytearray(section.data)
    struct.pack_into("<I", data, offset, value)
    section.data = bytes(data)
    with pytest.raises(BtfError) as caught:
        inspect(writer.parse())
    assert str(caught.value) == f"probe.bpf.c: {reason.format(strings=len(writer.btf.strings))}."


def test_an_access_that_leads_nowhere_is_refused() -> None:
    writer = sample()
    section = next(item for item in writer.elf.sections if item.name == ".BTF.ext")
    data = bytearray(section.data)
    struct.pack_into("<I", data, 44 + 8, writer.btf.string("0:7"))
    section.data = bytes(data)
    with pytest.raises(BtfError) as caught:
        inspect(writer.parse())
    assert str(caught.value) == ("probe.bpf.c: .BTF.ext, byte 44: access '0:7' leads out of struct task_struct.")


def test_relocations_without_types_say_nothing() -> None:
    writer = ElfWriter()
    writer.section("xdp", bytes(16), executable=True)
    writer.section(".BTF.ext", bytes(32))
    assert inspect(elf.parse(writer.build(), "x.o"))["relocations"] == []


def test_no_object_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "none.o")]) == 1
    assert capsys.readouterr().err == f"ebpf-codegen: read {tmp_path}/none.o: No such file or directory.\n"
