# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen abi-diff`: each kind of change, and whether it breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from ebpf_codegen import abi, elf
from ebpf_codegen.__main__ import main

from .writers import ObjectWriter

SCHEMA = Path(elf.__file__).with_name("schema") / "abi-diff.schema.json"


class Source:
    """The parts of a small object; a test changes some of them."""

    def __init__(self) -> None:
        self.order = "<"
        self.members = [("id", "u64", 0), ("port", "u32", 64), ("flag", "u32", 3 << 24 | 96)]
        self.size = 16
        self.choice = [("NO", 0), ("YES", 1)]
        self.map = {"type": 1, "max_entries": 64, "pinning": 1}
        self.key = "u32"
        self.maps = ["flows"]
        self.programs = {"trace": "kprobe/do_exit"}
        self.variables = {"limit": (".rodata", "u64"), "mode": (".rodata", "choice")}
        self.event_size = 8
        self.event = "event"

    def writer(self) -> ObjectWriter:
        writer = ObjectWriter(self.order)
        btf = writer.btf
        types = {
            "u32": btf.integer("unsigned int", 4),
            "u64": btf.integer("unsigned long long", 8),
            "s64": btf.integer("long long", 8, signed=True),
            "choice": btf.enum("choice", 4, self.choice),
        }
        types["port_t"] = btf.refer("typedef", types["u32"], "port_t")
        flow = btf.struct("flow", self.size, [(n, types[t], at) for n, t, at in self.members], flag=True)
        event = btf.struct(self.event, self.event_size, [("id", types["u64"], 0)])
        for name in self.maps:
            writer.map(name, self.map, {"key": types[self.key], "value": flow})
        writer.map("events", {"type": 27, "max_entries": 4096})
        if self.event:
            writer.record("events", event)
        for name, (section, kind) in self.variables.items():
            writer.variable(section, name, types[kind], 4 if kind in ("u32", "choice") else 8)
        for name, section in self.programs.items():
            writer.program(name, section)
        return writer


def swap(source: Source) -> None:
    source.members = [("port", "u32", 0), ("flag", "u32", 3 << 24 | 32), ("id", "u64", 64)]


def same_bytes_under_another_name(source: Source) -> None:
    source.members[1] = ("port", "port_t", 64)


CHANGES: dict[str, tuple[Callable[[Source], object], list[tuple[bool, str, str]]]] = {
    "nothing": (lambda s: None, []),
    "a typedef": (same_bytes_under_another_name, []),
    "members swapped": (
        swap,
        [
            (True, "struct flow, member 'id'", "its offset was 0, now 8"),
            (True, "struct flow, member 'port'", "its offset was 8, now 0"),
            (True, "struct flow, member 'flag'", "its offset was 12, bit 0, now 4, bit 0"),
        ],
    ),
    "a member is wider": (
        lambda s: s.members.__setitem__(1, ("port", "u64", 64)),
        [(True, "struct flow, member 'port'", "its size was 4 (unsigned int), now 8 (unsigned long long)")],
    ),
    "a member is signed": (
        lambda s: s.members.__setitem__(0, ("id", "s64", 0)),
        [(True, "struct flow, member 'id'", "its type was unsigned long long, now long long")],
    ),
    "a bitfield is wider": (
        lambda s: s.members.__setitem__(2, ("flag", "u32", 4 << 24 | 96)),
        [(True, "struct flow, member 'flag'", "its width was 3 bits, now 4 bits")],
    ),
    "a member is renamed": (
        lambda s: s.members.__setitem__(1, ("dport", "u32", 64)),
        [
            (True, "struct flow, member 'port'", "it is gone; 'dport' stands in its place"),
            (False, "struct flow, member 'dport'", "it is new, at offset 8"),
        ],
    ),
    "a member is gone": (lambda s: s.members.pop(), [(True, "struct flow, member 'flag'", "it is gone")]),
    "a member in what was padding": (
        lambda s: s.members.append(("rest", "u32", 8 << 24 | 104)),
        [(False, "struct flow, member 'rest'", "it is new, at offset 13, bit 0")],
    ),
    "a record grows": (
        lambda s: setattr(s, "size", 24),
        [
            (True, "map 'flows'", "its value size was 16 (struct flow), now 24 (struct flow)"),
            (True, "struct flow", "its size was 16, now 24"),
        ],
    ),
    "an event grows": (lambda s: setattr(s, "event_size", 16), [(True, "struct event", "its size was 8, now 16")]),
    "another event": (
        lambda s: setattr(s, "event", "other_event"),
        [
            (True, "map 'events'", "its records were struct event, now struct other_event"),
            (True, "struct event", "it is gone"),
            (False, "struct other_event", "it is new"),
        ],
    ),
    "events without a type": (
        lambda s: setattr(s, "event", ""),
        [
            (True, "map 'events'", "its records were struct event, now without a type"),
            (True, "struct event", "it is gone"),
        ],
    ),
    "a key is wider": (
        lambda s: setattr(s, "key", "u64"),
        [(True, "map 'flows'", "its key size was 4 (unsigned int), now 8 (unsigned long long)")],
    ),
    "a key is another type": (
        lambda s: setattr(s, "key", "choice"),
        [(True, "map 'flows'", "its key type was unsigned int, now enum choice")],
    ),
    "a map type": (
        lambda s: s.map.update(type=2),
        [(True, "map 'flows'", "its type was HASH, now ARRAY")],
    ),
    "a map is larger": (
        lambda s: s.map.update(max_entries=128),
        [(False, "map 'flows'", "its max_entries was 64, now 128")],
    ),
    "a map is no longer pinned": (
        lambda s: s.map.pop("pinning"),
        [(True, "map 'flows'", "it is no longer pinned by name")],
    ),
    "another map": (lambda s: s.maps.append("more"), [(False, "map 'more'", "it is new")]),
    "a map is gone": (
        lambda s: s.maps.clear(),
        [(True, "map 'flows'", "it is gone"), (True, "struct flow", "it is gone")],
    ),
    "another enumerator": (
        lambda s: s.choice.append(("MAYBE", 2)),
        [(False, "enum choice, enumerator MAYBE", "it is new: 2")],
    ),
    "an enumerator in between": (
        lambda s: s.choice.__setitem__(slice(None), [("NO", 0), ("MAYBE", 1), ("YES", 2)]),
        [
            (True, "enum choice, enumerator YES", "its value was 1, now 2"),
            (False, "enum choice, enumerator MAYBE", "it is new: 1"),
        ],
    ),
    "an enumerator is gone": (
        lambda s: s.choice.pop(0),
        [(True, "enum choice, enumerator NO", "it is gone; it was 0")],
    ),
    "a program is gone": (lambda s: s.programs.clear(), [(True, "program 'trace'", "it is gone")]),
    "another program": (lambda s: s.programs.update(more="xdp"), [(False, "program 'more'", "it is new")]),
    "another hook of the same kind": (
        lambda s: s.programs.update(trace="kprobe/do_fork"),
        [(False, "program 'trace'", "its section was kprobe/do_exit, now kprobe/do_fork")],
    ),
    "another kind of hook": (
        lambda s: s.programs.update(trace="fentry/do_exit"),
        [(True, "program 'trace'", "its section was kprobe/do_exit, now fentry/do_exit")],
    ),
    "a program is not loaded by default": (
        lambda s: s.programs.update(trace="?kprobe/do_exit"),
        [(True, "program 'trace'", "it is no longer loaded by default")],
    ),
    "a variable before the others": (
        lambda s: setattr(s, "variables", {"more": (".rodata", "u64"), **s.variables}),
        [(False, "variable 'more'", "it is new")],
    ),
    "a variable of another section": (
        lambda s: s.variables.update(limit=(".data", "u64")),
        [(True, "variable 'limit'", "its section was .rodata, now .data")],
    ),
    "a variable of another type": (
        lambda s: s.variables.update(limit=(".rodata", "s64")),
        [(True, "variable 'limit'", "its type was unsigned long long, now long long")],
    ),
    "a variable is gone": (lambda s: s.variables.pop("limit"), [(True, "variable 'limit'", "it is gone")]),
    "another byte order": (
        lambda s: setattr(s, "order", ">"),
        [(True, "object", "its byte order was little-endian, now big-endian")],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change(change: str) -> None:
    action, expected = CHANGES[change]
    source = Source()
    action(source)
    found = abi.compare(Source().writer().parse(), source.writer().parse())
    assert [(item.breaking, item.subject, item.what) for item in found] == expected


def write(path: Path, source: Source) -> str:
    path.write_bytes(source.writer().build())
    return str(path)


def test_the_command_says_what_breaks_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.o", Source())
    source = Source()
    source.choice.append(("MAYBE", 2))
    new = write(tmp_path / "new.o", source)
    assert main(["abi-diff", old, old]) == 0
    assert capsys.readouterr().out == "nothing changed that others see\n"
    assert main(["abi-diff", old, new]) == 0
    assert capsys.readouterr().out == "fine    enum choice, enumerator MAYBE: it is new: 2\n1 change, 0 breaking\n"
    assert main(["abi-diff", new, old]) == 1
    assert capsys.readouterr().out == (
        "BREAKS  enum choice, enumerator MAYBE: it is gone; it was 2\n1 change, 1 breaking\n"
    )
    assert main(["abi-diff", "--json", new, old]) == 1
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    assert report == {
        "old": new,
        "new": old,
        "breaking": True,
        "changes": [
            {"breaking": True, "subject": "enum choice, enumerator MAYBE", "what": "it is gone; it was 2"},
        ],
    }


def test_a_module_stands_for_the_object_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "flows.py"
    module.touch()
    monkeypatch.setattr("os.uname", lambda: type("Uname", (), {"machine": "aarch64"}))
    assert main(["abi-diff", str(module), str(module)]) == 1
    assert capsys.readouterr().err == (
        f"ebpf-codegen: read {module}: its object flows.arm64.bpf.o is not beside it. "
        "Name the object, or an installed module.\n"
    )
    write(tmp_path / "flows.arm64.bpf.o", Source())
    assert main(["abi-diff", str(module), str(module)]) == 0


def test_types_of_one_name_are_told_apart() -> None:
    def two(size: int) -> elf.Elf:
        writer = ObjectWriter()
        for number, length in enumerate((4, size)):
            item = writer.btf.integer("unsigned int", length)
            writer.value(writer.btf.struct("pair", length, [("x", item, 0)]), f"m{number}")
        return writer.parse()

    assert [(item.subject, item.what) for item in abi.compare(two(4), two(8))] == [
        ("map 'm1'", "its value size was 4 (struct pair), now 8 (struct pair)"),
        ("struct pair (2)", "its size was 4, now 8"),
        ("struct pair (2), member 'x'", "its size was 4 (unsigned int), now 8 (unsigned int)"),
    ]
