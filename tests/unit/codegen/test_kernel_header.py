# SPDX-License-Identifier: Apache-2.0
"""A header of just the listed kernel types, and what is said of a list that asks for what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf_codegen import btf
from ebpf_codegen.kernel_header import HeaderError, ListedType, kernel_header, main, parse_list

from .writers import BtfWriter

TOP = """\
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Printed by tools/ebpf_codegen/kernel_header.py from types.txt; DO NOT EDIT. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "ebpf_base.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

"""
BOTTOM = """\

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
"""


def printed(w: BtfWriter, text: str) -> str:
    header = kernel_header(btf.read(w.build(), "vmlinux"), parse_list(text, "types.txt"))
    assert header.startswith(TOP)
    assert header.endswith(BOTTOM)
    return header.removeprefix(TOP).removesuffix(BOTTOM)


def refused(w: BtfWriter, text: str) -> str:
    with pytest.raises(HeaderError) as caught:
        printed(w, text)
    return str(caught.value)


# The list


def test_list_with_comments_and_blank_lines() -> None:
    text = "# all\n\nstruct a: x y   z # some\n  union b:  c\nenum e: A\n"
    assert parse_list(text, "l") == (
        ListedType("struct a", ("x", "y", "z")),
        ListedType("union b", ("c",)),
        ListedType("enum e", ("A",)),
    )


@pytest.mark.parametrize(
    "line", ["struct", "struct a", "struct a:", "a: b", "struct a b: c", "typedef a: b", "struct a: b,c", "struct a:b"]
)
def test_malformed_lines_are_named(line: str) -> None:
    with pytest.raises(HeaderError) as caught:
        parse_list(f"# one\n{line}\n", "types.txt")
    assert str(caught.value) == "read types.txt, line 2: not of the form 'struct NAME: MEMBER MEMBER'."


@pytest.mark.parametrize("text", ["struct a: b\nstruct a: c\n", "\nstruct a: b c b\n"])
def test_repetitions_are_named(text: str) -> None:
    with pytest.raises(HeaderError) as caught:
        parse_list(text, "types.txt")
    assert str(caught.value) == ("read types.txt, line 2: struct a or one of its names is there twice. Remove one.")


# The header


def test_members_are_printed_in_the_order_of_the_list() -> None:
    w = BtfWriter()
    integer = w.integer("int", 4, signed=True)
    char = w.integer("char", 1, signed=True)
    w.struct("s", 40, [
        ("a", w.refer("typedef", integer, "pid_t"), 0), ("text", w.array(w.array(char, 4), 2), 32),
        ("own", w.ptr(len(w.types) + 1), 128), ("unused", integer, 192), ("last", integer, 5 << 24 | 256),
    ], flag=True)  # fmt: skip
    assert printed(w, "struct s: text a last") == ("struct s {\n\tchar text[2][4];\n\tint a;\n\tint last : 5;\n};\n")


def test_pointers_need_declarations_only() -> None:
    w = BtfWriter()
    char = w.integer("char", 1, signed=True)
    far, union, listed = w.fwd("far"), w.fwd("either", union=True), w.struct("listed", 1, [("c", char, 0)])
    function = w.func_proto(0)
    enum = w.enum("e", 4, [("A", 0)])
    pointers = {
        "a": far, "b": w.refer("const", union), "c": listed, "d": 0, "e": function, "f": w.refer("const", char),
        "g": w.ptr(w.ptr(char)), "h": enum, "i": w.refer("const", 0), "j": w.refer("volatile", w.refer("const", far)),
    }  # fmt: skip
    w.struct("s", 80, [(name, w.ptr(kind), 64 * i) for i, (name, kind) in enumerate(pointers.items())])
    assert printed(w, "struct s: a b c d e f g h i j\nstruct listed: c") == (
        "struct far;\nunion either;\n\n"
        "struct s {\n"
        "\tstruct far *a;\n"
        "\tconst union either *b;\n"
        "\tstruct listed *c;\n"
        "\tvoid *d;\n"
        "\tvoid *e;\n"
        "\tconst char *f;\n"
        "\tchar ***g;\n"
        "\tvoid *h;\n"
        "\tconst void *i;\n"
        "\tconst struct far *j;\n"
        "};\n\n"
        "struct listed {\n\tchar c;\n};\n"
    )


def test_types_come_after_those_they_contain() -> None:
    w = BtfWriter()
    integer = w.integer("int", 4)
    inner = w.struct("inner", 4, [("n", integer, 0)])
    mood = w.enum("mood", 4, [("BAD", -1), ("GOOD", 1), ("BEST", 2)], signed=True)
    w.struct("outer", 12, [("inner", w.array(inner, 2), 0), ("mood", mood, 64)])
    assert printed(w, "struct outer: inner mood\nenum mood: GOOD BAD\nstruct inner: n") == (
        "struct inner {\n\tint n;\n};\n\n"
        "enum mood {\n\tGOOD = 1,\n\tBAD = -1,\n};\n\n"
        "struct outer {\n\tstruct inner inner[2];\n\tenum mood mood;\n};\n"
    )


def test_anonymous_members_are_printed_where_they_stand() -> None:
    w = BtfWriter()
    integer = w.integer("int", 4)
    pair = w.struct("", 8, [("low", integer, 0), ("high", integer, 32)])
    either = w.struct("", 8, [("whole", w.integer("long", 8), 0), ("", pair, 0)], union=True)
    named = w.struct("", 4, [("x", integer, 0), ("y", integer, 0)], union=True)
    mood = w.enum("", 4, [("A", 0)])
    signed = w.enum("", 4, [("B", -1)], signed=True)
    w.struct("s", 24, [("", either, 0), ("named", named, 64), ("mood", mood, 96), ("signed", signed, 128)])
    assert printed(w, "struct s: high named mood signed low") == (
        "struct s {\n"
        "\tunion {\n"
        "\t\tstruct {\n"
        "\t\t\tint high;\n"
        "\t\t\tint low;\n"
        "\t\t};\n"
        "\t};\n"
        "\tunion {\n"
        "\t\tint x;\n"
        "\t\tint y;\n"
        "\t} named;\n"
        "\tunsigned int mood;\n"
        "\tint signed;\n"
        "};\n"
    )


def test_of_two_types_of_one_name_the_one_with_the_members_is_meant() -> None:
    w = BtfWriter()
    integer, char = w.integer("int", 4), w.integer("char", 1)
    w.struct("s", 4, [("other", integer, 0)])
    w.struct("s", 1, [("wanted", char, 0)])
    assert printed(w, "struct s: wanted") == "struct s {\n\tchar wanted;\n};\n"


def test_missing_types_and_members_are_named() -> None:
    w = BtfWriter()
    integer = w.integer("int", 4)
    inner = w.struct("inner", 4, [("n", integer, 0)])
    w.struct("s", 8, [("a", integer, 0), ("b", inner, 32), ("c", w.fwd("far"), 32)])
    w.enum("e", 4, [("A", 0)])
    correct = "Correct the list, or declare what only some kernels have in compat.bpf.h."
    assert refused(w, "struct t: a") == "print struct t: vmlinux has no such type. Correct the list."
    assert refused(w, "union s: a") == "print union s: vmlinux has no such type. Correct the list."
    assert refused(w, "struct s: a z y") == f"print struct s: vmlinux has no 'z' in it. {correct}"
    assert refused(w, "enum e: A B") == f"print enum e: vmlinux has no 'B' in it. {correct}"
    assert refused(w, "struct s: b") == "print struct s.b: it contains a struct inner. List that type, too."
    assert refused(w, "struct s: c") == "print struct s.c: a member of kind Fwd cannot be declared."


def test_cycles_are_refused() -> None:
    expected = "print the header: the types of vmlinux form a cycle. The BTF is damaged."
    w = BtfWriter()
    w.struct("s", 8, [("a", w.ptr(1), 0)])
    assert refused(w, "struct s: a") == expected
    w = BtfWriter()
    w.struct("s", 8, [("", 1, 0)])
    assert refused(w, "struct s: a") == expected


# The command


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    w = BtfWriter()
    w.struct("s", 4, [("a", w.integer("int", 4), 0)])
    (tmp_path / "vmlinux").write_bytes(w.build())
    (tmp_path / "types.txt").write_text("struct s: a\n")
    return [str(tmp_path / "types.txt"), str(tmp_path / "vmlinux.h"), "--btf", str(tmp_path / "vmlinux")]


def test_command_writes_and_checks(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files) == 0
    header = tmp_path / "vmlinux.h"
    assert "struct s {\n\tint a;\n};\n" in header.read_text()
    assert main([*files, "--check"]) == 0
    assert capsys.readouterr().err == ""
    header.write_text(header.read_text().replace("int a", "long a"))
    assert main([*files, "--check"]) == 1
    difference = capsys.readouterr().err
    assert "-\tlong a;\n+\tint a;\n" in difference
    assert "long a" in header.read_text()


def test_command_refuses_in_one_line(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "types.txt"
    for content, expected in (
        (b"struct s: b\n", f"kernel_header.py: print struct s: {tmp_path / 'vmlinux'} has no 'b' in it. "),
        (b"struct s\n", f"kernel_header.py: read {listed}, line 1: not of the form 'struct NAME: MEMBER MEMBER'.\n"),
        (b"\xff", f"kernel_header.py: read {listed}: 'utf-8' codec can't decode byte 0xff in position 0: "),
    ):
        listed.write_bytes(content)
        assert main(files) == 1
        message = capsys.readouterr().err
        assert message.startswith(expected)
        assert message.count("\n") == 1
    listed.unlink()
    assert main(files) == 1
    assert capsys.readouterr().err == (
        f"kernel_header.py: open {listed}: ENOENT, No such file or directory. Check the path.\n"
    )
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
