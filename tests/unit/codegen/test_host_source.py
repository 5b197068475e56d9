# SPDX-License-Identifier: Apache-2.0
"""CO-RE declarations laid out for one kernel, whose BTF is made here."""

from __future__ import annotations

import pytest

from ebpf_codegen import btf
from ebpf_codegen.errors import BtfError, UnsupportedError
from ebpf_codegen.host_source import host_source
from tests.unit.codegen.writers import BtfWriter

MARKED = " __attribute__((preserve_access_index));"


def kernel() -> btf.IndexedBtf:
    made = BtfWriter()
    integer = made.integer("int", 4, signed=True)
    word = made.integer("long unsigned int", 8)
    char = made.integer("char", 1)
    node = made.struct("node", 16, [("next", made.ptr(0), 64)])
    anonymous = made.struct("", 8, [("inside", integer, 32)])
    counter = made.refer("typedef", made.struct("", 4, [("counter", integer, 0)]), "atomic_t")
    made.struct("task", 8, [("other_file", integer, 0)])  # of another file of the kernel
    members = [
        ("state", word, 64),
        ("pid", integer, 128),
        ("flag", integer, 2 << 24 | 195),
        ("", anonymous, 256),
        ("nodes", made.array(node, 3), 320),
        ("comm", made.array(char, 16), 704),
        ("parent", made.ptr(node), 832),
        ("usage", counter, 896),
    ]
    made.struct("task", 200, members, flag=True)
    made.enum("controller", 4, [("memory", 4), ("cpu", -1)], signed=True)
    return btf.index(made.build(), "kernel")


def declared(code: str) -> list[str]:
    """Return the lines that stand where *code* stood."""
    return host_source(code, kernel(), "x.c").partition('#line 1 "x.c"\n')[2].splitlines()


def member(code: str) -> str:
    """Return how a member of struct task is declared."""
    (line,) = declared(f"struct task {{ {code} }}{MARKED}")
    return line.removeprefix("struct task { union { ").partition(" char ebpf_size[200]; }")[0]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # Sizes and signs of numbers are the kernel's, whatever the source says.
        ("int state;", "struct { char ebpf_pad_state[8]; __typeof__(unsigned long long) state; };"),
        ("unsigned long pid;", "struct { char ebpf_pad_pid[16]; __typeof__(signed int) pid; };"),
        ("int inside;", "struct { char ebpf_pad_inside[36]; __typeof__(signed int) inside; };"),
        ("struct { int inside; };", "struct { char ebpf_pad_inside[36]; __typeof__(signed int) inside; };"),
        ("char comm[1];", "struct { char ebpf_pad_comm[88]; __typeof__(char[16]) comm; };"),
        ("const struct node *parent;", "struct { char ebpf_pad_parent[104]; __typeof__(const struct node*) parent; };"),
        (
            "struct { int counter; } usage;",
            "struct { char ebpf_pad_usage[112]; "
            "__typeof__(struct { union { struct { __typeof__(signed int) counter; }; char ebpf_size[4]; }; }) "
            "usage; };",
        ),
        # A bitfield, with what reads it: three bits from the low end of the int at byte 24.
        (
            "int flag : 2;",
            "struct { char ebpf_pad_flag[24]; signed int : 3; signed int flag : 2; }; "
            "struct { char ebpf_pad_unit_flag[24]; signed int ebpf_unit_flag; }; "
            "char ebpf_left_flag[0][28]; char ebpf_right_flag[0][31];",
        ),
        # What is not there, or is something else there.
        ("int gone;", "struct { char ebpf_pad_gone[268435456]; volatile __typeof__(int) gone; };"),
        ("void *pid;", "struct { char ebpf_pad_pid[268435456]; volatile __typeof__(void*) pid; };"),
        ("int pid[2];", "struct { char ebpf_pad_pid[268435456]; volatile __typeof__(int[2]) pid; };"),
        (
            "void (*parent)(int a, void (*b)(int));",
            "struct { char ebpf_pad_parent[104]; __typeof__(void*) parent; };",
        ),
    ],
)
def test_a_member_stands_where_the_kernel_has_it(code: str, expected: str) -> None:
    assert member(code) == expected


def test_the_type_that_has_the_members_is_taken_and_checked_by_the_compiler() -> None:
    (line,) = declared(f"struct task___flavour {{ int pid, gone; }}{MARKED}")
    assert line.endswith(
        "char ebpf_size[200]; }; }; "
        "_Static_assert(__builtin_offsetof(struct task___flavour, pid) == 16, "
        '"struct task___flavour.pid is misplaced");'
    )


def test_a_struct_inside_keeps_its_name_where_the_kernel_has_it_there() -> None:
    lines = declared(f"struct node {{ void *next; }}{MARKED}\nstruct task {{ struct node nodes[9]; }}{MARKED}")
    assert "__typeof__(struct node[3]) nodes;" in lines[1]
    lines = declared(f"struct other {{ int counter; }}{MARKED}\nstruct task {{ struct other usage; }}{MARKED}")
    assert "volatile __typeof__(int) counter" in lines[0]  # by itself, this kernel has no such type
    assert "__typeof__(struct { union { struct { __typeof__(signed int) counter; };" in lines[1]


def test_enumerators_have_the_kernels_values_and_say_whether_it_has_them() -> None:
    text = "enum controller___x { memory___x = 9, cpu, gone = 3 }" + MARKED
    assert declared(text) == [
        "enum controller___x { memory___x = 4, cpu = -1, gone = 0 }; "
        "enum { ebpf_has_memory___x = 1, ebpf_has_cpu = 1, ebpf_has_gone = 0 };"
    ]


def test_types_that_the_kernel_lacks_are_listed_for_bpf_core_type_exists() -> None:
    code = f"struct gone {{ int x; }}{MARKED}\nenum lost {{ y }}{MARKED}\nstruct node {{ void *next; }}{MARKED}\n"
    text = host_source(code, kernel(), "x.c")
    assert "struct gone;\n#define EBPF_ABSENT_TYPES struct gone *: 0, enum lost *: 0,\n" in text


def test_only_marked_declarations_change_and_every_line_keeps_its_number() -> None:
    code = """\
struct own { int pid; };
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* struct task { int pid; }; */
struct node;
struct task {
	int pid; /* } */
	int state;
};
#pragma clang attribute pop
#include <bpf/bpf_core_read.h>
static int own(struct task *task)
{
	return task->pid;
}
"""
    lines = declared(code)
    assert lines[0] == "struct own { int pid; };"
    assert lines[1] == ""
    assert lines[2:4] == ["/* struct task { int pid; }; */", "struct node;"]
    assert lines[4].startswith("struct task { union {")
    assert lines[5:9] == ["", "", "", ""]
    assert lines[9] == "#include <bpf/bpf_core_read.h>"
    assert lines[10] == "#undef bpf_core_field_exists"
    assert lines[lines.index("#line 11") + 1 :] == code.splitlines()[10:]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            '#include "vmlinux.h"\n',
            "x.c, line 1 when flattened: vmlinux.h was too large to be embedded; use the one of ebpf-runtime.",
        ),
        (
            f"struct task {{\n#ifdef A\n int pid;\n#endif\n}}{MARKED}",
            "x.c, line 2 when flattened: a directive stands inside the declaration of a kernel type.",
        ),
        (
            f"struct task {{ struct inner {{ int a; }} b; }}{MARKED}",
            "x.c, line 1 when flattened: struct inner is defined inside another type; define it before.",
        ),
        (
            f"struct node {{ int gone; }}{MARKED}struct task {{ struct node nodes[2]; }}{MARKED}",
            "x.c: member 'nodes': it is an array of struct node, of which this kernel has not all members. "
            "Declare a flavour with those in use.",
        ),
    ],
)
def test_what_cannot_be_laid_out_is_refused(code: str, message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        host_source(code, kernel(), "x.c")
    assert str(caught.value) == message


def test_an_index_gives_the_same_types_as_reading_all() -> None:
    made = BtfWriter()
    integer = made.integer("int", 4, signed=True)
    made.struct("a", 8, [("x", integer, 0), ("y", made.array(integer, 2), 32)])
    made.enum("a", 4, [("one", 1)])
    made.struct("a", 4, [("z", integer, 0)])
    found = btf.index(made.build())
    assert tuple(found.types) == btf.read(made.build()).types
    assert found.tagged(btf.Struct, "a") == [3, 5]
    assert found.tagged(btf.Enum, "a") == [4]
    assert found.tagged(btf.Struct, "int") == found.tagged(btf.Struct, "nosuch") == []


def test_damage_shows_when_the_type_is_asked_for() -> None:
    made = BtfWriter()
    made.ptr(7)
    found = btf.index(made.build(), "vmlinux")
    with pytest.raises(BtfError, match=r"vmlinux: \.BTF: type 7 is referred to, but the last is 1"):
        found.size(found[1].target)  # type: ignore[union-attr]
    for position, value, message in ((12, 8, "is cut off"), (31, 99, "has the unknown kind 99")):
        data = bytearray(made.build())
        data[position] = value
        with pytest.raises(BtfError, match=rf"vmlinux: \.BTF, byte 24: type 1 {message}"):
            btf.index(bytes(data), "vmlinux")


def test_a_type_declared_twice_is_absent_once() -> None:
    """As in a header that is included twice: its guard leaves one, but both are laid out."""
    text = host_source(f"struct gone {{ int a; }}{MARKED}\n" * 2, kernel(), "x.c")
    assert text.partition('#line 1 "x.c"\n')[0].count("struct gone *: 0,") == 1


def test_numbers_of_no_size_that_c_has_are_refused() -> None:
    made = BtfWriter()
    odd = made.integer("odd", 3)
    made.struct("task", 8, [("pid", odd, 0)])
    with pytest.raises(BtfError) as caught:
        host_source(f"struct task {{ int pid; }}{MARKED}", btf.index(made.build(), "kernel"), "x.c")
    assert str(caught.value) == "kernel: .BTF, type 1: C has no integer of 3 bytes."


def test_a_struct_that_holds_itself_is_refused() -> None:
    made = BtfWriter()
    made.struct("task", 8, [("", 1, 0)])
    with pytest.raises(BtfError) as caught:
        host_source(f"struct task {{ int pid; }}{MARKED}", btf.index(made.build(), "kernel"), "x.c")
    assert str(caught.value) == "kernel: .BTF: a type of task's members holds itself."
