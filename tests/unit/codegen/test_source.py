# SPDX-License-Identifier: Apache-2.0
"""Flattening keeps what was compiled, and every place; comments reach what they stand at."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf_codegen.errors import CodegenError
from ebpf_codegen.source import Documentation, document, flatten


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


# Flattening


def test_headers_are_inlined_each_time_and_places_kept(tmp_path: Path) -> None:
    write(
        tmp_path, p_c='#include "a.h"\nint p;\n#include "b.h"\nint q;\n', a_h='#include "b.h"\nint a;\n', b_h="int b;\n"
    )
    flattened = flatten(tmp_path / "p.c")
    assert flattened.text == (
        '#line 1 "p.c"\n#line 1 "a.h"\n#line 1 "b.h"\nint b;\n#line 2 "a.h"\nint a;\n#line 2 "p.c"\n'
        'int p;\n#line 1 "b.h"\nint b;\n#line 4 "p.c"\nint q;\n'
    )
    assert flattened.files == (tmp_path / "p.c", tmp_path / "a.h", tmp_path / "b.h")


def test_a_small_vmlinux_h_is_embedded_and_a_whole_kernels_is_not(tmp_path: Path) -> None:
    write(tmp_path, p_c='#include "vmlinux.h"\n', vmlinux_h="int v;\n")
    flattened = flatten(tmp_path / "p.c")
    assert flattened.text == '#line 1 "p.c"\n#line 1 "vmlinux.h"\nint v;\n#line 2 "p.c"\n'
    for size, embedded in ((256 << 10, True), ((256 << 10) + 1, False)):
        (tmp_path / "vmlinux.h").write_text("\n" * size)
        assert ("#include" not in flatten(tmp_path / "p.c").text) is embedded


def test_libbpf_headers_stay(tmp_path: Path) -> None:
    text = '#include <bpf/bpf_helpers.h>\n#include "bpf/bpf_tracing.h"\n#include <own.h>\n'
    write(tmp_path, p_c=text, own_h="int o;\n", bpf__bpf_h="")
    (tmp_path / "bpf" / "bpf_tracing.h").write_text("int t;\n")
    assert flatten(tmp_path / "p.c").text == f'#line 1 "p.c"\n{text}'


def test_headers_beside_the_includer_come_before_include_directories(tmp_path: Path) -> None:
    write(tmp_path, p_c='#include "sub/a.h"\n#include "c.h"\n', sub__a_h='#include "b.h"\n', sub__b_h="int near;\n")
    write(tmp_path, one__b_h="int far;\n", one__c_h="int first;\n", two__c_h="int second;\n")
    text = flatten(tmp_path / "p.c", [tmp_path / "one", tmp_path / "two"]).text
    assert [line for line in text.splitlines() if not line.startswith("#")] == ["int near;", "int first;"]


def test_one_header_by_two_paths_is_inlined_once(tmp_path: Path) -> None:
    write(tmp_path, p_c='#include "sub/../a.h"\n#include "a.h"\n  #  include "./a.h"\n', a_h="int a;\n", sub__b_h="")
    flattened = flatten(tmp_path / "p.c")
    assert flattened.text.count("int a;") == 3
    assert flattened.files == (tmp_path / "p.c", tmp_path / "sub" / ".." / "a.h")


def test_headers_that_include_each_other_end_by_their_guards(tmp_path: Path) -> None:
    guard = "/* a */\n#ifndef A /* a */\n#  define A 1\n"
    write(
        tmp_path,
        p_c='#include "a.h"\n',
        a_h=f'{guard}#include "b.h"\nint a;\n#endif\n',
        b_h='#pragma once\n#include "a.h"\n#include "b.h"\nint b;\n',
    )
    text = flatten(tmp_path / "p.c").text
    assert (text.count("int a;"), text.count("int b;")) == (1, 1)


@pytest.mark.parametrize("guard", ["", "#ifdef A\n#define A\n", "#ifndef A\n#define B\n", "#ifndef A\n", "#\n#\n"])
def test_headers_that_include_each_other_without_end_are_refused(tmp_path: Path, guard: str) -> None:
    write(tmp_path, p_c='#include "a.h"\n', a_h=f'{guard}#include "b.h"\n', b_h='#include "a.h"\n')
    with pytest.raises(CodegenError) as caught:
        flatten(tmp_path / "p.c")
    assert str(caught.value) == f"inline {tmp_path}/a.h: it includes itself without end. Give it an include guard."


def test_headers_that_multiply_are_refused(tmp_path: Path) -> None:
    write(tmp_path, p_c='#include "0.h"\n')
    for number in range(20):
        (tmp_path / f"{number}.h").write_text(f'#include "{number + 1}.h"\n' * 2)
    with pytest.raises(
        CodegenError, match=r"\.h: the headers include each other too often\. Give each an include guard"
    ):
        flatten(tmp_path / "p.c")


def test_pragma_once_becomes_a_guard(tmp_path: Path) -> None:
    write(tmp_path, p_c='#include "a.h"\n#include "a.h"\n', a_h="// a\n # pragma once // really\nint a;\n")
    inlined = '#ifndef __FLATTENED_0\n#define __FLATTENED_0\n#line 1 "a.h"\n// a\n\nint a;\n#endif\n'
    assert flatten(tmp_path / "p.c").text == (f'#line 1 "p.c"\n{inlined}#line 2 "p.c"\n{inlined}#line 3 "p.c"\n')


def test_includes_in_comments_stay(tmp_path: Path) -> None:
    text = '/*\n#include "a.h"\n#pragma once\n*/\nint p;\n'
    write(tmp_path, p_c=text, a_h="/* a */\n")
    assert flatten(tmp_path / "p.c").text == f'#line 1 "p.c"\n{text}'


def test_header_that_is_nowhere_is_left_to_the_compiler(tmp_path: Path) -> None:
    write(tmp_path, p_c='#include "none.h"\n')
    assert flatten(tmp_path / "p.c").text == '#line 1 "p.c"\n#include "none.h"\n'


def test_lines_end_only_where_c_ends_them(tmp_path: Path) -> None:
    (tmp_path / "p.c").write_bytes("int a;\x0c\r\n// \u2028 \x1c\nint b;".encode())
    assert flatten(tmp_path / "p.c").text == '#line 1 "p.c"\nint a;\x0c\n// \u2028 \x1c\nint b;\n'


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.c"
    with pytest.raises(CodegenError, match=f"^read {path}: No such file or directory.$"):
        flatten(path)
    path.write_bytes(b"// \xe9\n")
    with pytest.raises(CodegenError, match=f"^read {path}: 'utf-8' codec can't decode byte 0xe9 in position 3: "):
        flatten(path)
    path.write_text('#include "a.h"\n')
    (tmp_path / "a.h").write_bytes(b"\xff")
    with pytest.raises(CodegenError, match=f"^read {tmp_path / 'a.h'}: "):
        flatten(path)


# Comments


def test_file_comment_is_the_first_that_stands_alone() -> None:
    licence = "/* SPDX-License-Identifier: GPL-2.0 */\n"
    text = "/*\n * What it does,\n * in two lines.\n */\n#include <x.h>\n\n/* other */\n\n"
    assert document(licence + text).file == "What it does, in two lines."
    assert document("// About.\n\nint a;\n").file == "About."
    assert document("/* of a */\nint a;\n").file == ""
    assert document("/* of a */\nint a;\n").variables == {"a": "of a"}
    assert document("// SPDX-License-Identifier: MIT\n\nint a;\n") == Documentation()
    assert document("") == Documentation()


def test_file_comment_of_a_header_is_not_the_source_s(tmp_path: Path) -> None:
    header = "/* SPDX-License-Identifier: MIT */\n/* About the header. */\n#define X\n\n/* Alone. */\n\n"
    write(tmp_path, a_h=header, p_c='// SPDX-License-Identifier: MIT\n#include "a.h"\n\n/* Maps. */\n\nint p;\n')
    assert document(flatten(tmp_path / "p.c").text).file == ""
    write(tmp_path, p_c='/* About p. */\n#include "a.h"\nint p;\n')
    assert document(flatten(tmp_path / "p.c").text).file == "About p."
    write(tmp_path, p_c="#define Y\n\n/* Behind a directive. */\n\nint p;\n")
    assert document(flatten(tmp_path / "p.c").text).file == "Behind a directive."


def test_variants_in_order_of_mention() -> None:
    text = """
        #define VARIANT(name) __attribute__((btf_decl_tag("variant:" #name)))
        #define BOTH VARIANT(zeta) VARIANT(beta)
        /* VARIANT(comment) */
        SEC("VARIANT(string)") VARIANT(zeta) VARIANT( alpha ) int f(void) { return 0; }
        SEC("x") VARIANT(/* now */ gamma) VARIANT(beta) int g(void) { return 0; }
        """
    assert document(text).variants == ("zeta", "beta", "alpha", "gamma")


def test_members_before_behind_and_both() -> None:
    found = document(
        """
        /* About s. */
        struct s {
            /* before a */
            __u32 a;
            __u64 b; /* behind b */
            /* before c */
            char c[16]; // behind c
            unsigned long d;
            /*
             * before e,
             * two lines
             */
            struct t e[4], *f;
            int g __attribute__((aligned(8))); /* behind g */
            int h : 3; /* behind h */
        #ifdef X
            /* before i */
            int i;
        #endif
        } __attribute__((packed));
        """
    )
    assert found.types == {"s": "About s."}
    assert {name: text for (tag, name), text in found.members.items() if tag == "s"} == {
        "a": "before a",
        "b": "behind b",
        "c": "behind c",
        "e": "before e, two lines",
        "f": "before e, two lines",
        "g": "behind g",
        "h": "behind h",
        "i": "before i",
    }


def test_each_name_of_a_declaration_is_documented() -> None:
    found = document(
        """
        struct s {
            __u32 first, last; /* of the range */
            /* of the header */
            unsigned version : 4, length : 4;
            char name[16], *text, **lines; /* of the file */
            int (*call)(void *context, int count), (*const *all)(void); /* of the driver */
            int (*rows)[4]; /* of the table */
            struct { int low, high; } in, out; /* of the device */
        };
        /* Readings. */
        int now = 1, before[2] = { 1, 2 }, (*next)(int which, int how);
        struct { int low, high; } limits = { 1, 2 }, others; /* Limits. */
        """
    )
    assert {name: text for (tag, name), text in found.members.items() if tag == "s"} == {
        "first": "of the range",
        "last": "of the range",
        "version": "of the header",
        "length": "of the header",
        "name": "of the file",
        "text": "of the file",
        "lines": "of the file",
        "call": "of the driver",
        "all": "of the driver",
        "rows": "of the table",
        "in": "of the device",
        "out": "of the device",
    }
    assert found.variables == {
        "now": "Readings.",
        "before": "Readings.",
        "next": "Readings.",
        "limits": "Limits.",
        "others": "Limits.",
    }


def test_a_comment_behind_the_brace_is_the_type_s() -> None:
    found = document(
        """
        struct s { /* About s. */
            int a;
        };
        /* About t. */
        struct t { /* More of t. */
            int a;
        };
        enum e { /* About e. */
            A,
        };
        struct one { /* a */ int a; };
        """
    )
    assert found.types == {"s": "About s.", "t": "About t.", "e": "About e."}
    assert found.members == {("one", "a"): "a"}


def test_tags_behind_attributes_and_typedefs() -> None:
    found = document(
        """
        /* one */
        struct __attribute__((packed)) one { int a; /* a1 */ };
        /* two */
        typedef struct { int a; /* a2 */ } __attribute__((packed)) two;
        /* three */
        typedef struct three { int a; /* a3 */ } three_t;
        /* four */
        union four { int a; /* a4 */ };
        /* five */
        typedef enum { A /* a5 */ } five;
        """
    )
    assert found.types == {"one": "one", "two": "two", "three": "three", "four": "four", "five": "five"}
    members = {("one", "a"): "a1", ("two", "a"): "a2", ("three", "a"): "a3", ("four", "a"): "a4", ("five", "A"): "a5"}
    assert found.members == members


def test_kernel_doc() -> None:
    found = document(
        """
        /**
         * struct event - One thing that happened.
         * @pid: process id,
         *       in the initial namespace
         * @comm: its name
         *
         * More about it.
         */
        struct event {
            __u32 pid;
            /* said here, too */
            char comm[16];
            /** @late: inside */
            __u32 late;
        };
        /** enum e - Choices. */
        enum e { A };
        /**
         * counts() - Count something.
         * @ctx: left out
         */
        SEC("x") int counts(void *ctx) { return 0; }
        """
    )
    assert found.types == {"event": "One thing that happened.\n\nMore about it.", "e": "Choices."}
    assert found.members == {
        ("event", "pid"): "process id, in the initial namespace",
        ("event", "comm"): "its name",
        ("event", "late"): "inside",
    }
    assert found.functions == {"counts": "Count something."}


def test_macros_of_attributes_are_no_names() -> None:
    found = document(
        """
        #define TAG(x) __attribute__((btf_decl_tag(x)))
        #define PID TAG("pid")
        #define NO_ATTRIBUTE 1
        struct s {
            int a TAG("b, c"); /* about a */
            /* about p */
            int p PID;
            int q[NO_ATTRIBUTE] PID; /* about q */
        };
        /* the variable */
        int shown PID = 3;
        """
    )
    assert found.members == {("s", "a"): "about a", ("s", "p"): "about p", ("s", "q"): "about q"}
    assert found.variables == {"shown": "the variable"}


def test_enumerators() -> None:
    found = document(
        """
        /* About e. */
        enum e {
            /* before A */
            A,
            B = 1, /* behind B */
            C = (1 << 2), // behind C
            D = sizeof(int),
            /* before E */
            E
        };
        enum f { F, /* behind F */ G /* behind G */ };
        enum g { H };
        """
    )
    assert found.types == {"e": "About e."}
    assert found.members == {
        ("e", "A"): "before A",
        ("e", "B"): "behind B",
        ("e", "C"): "behind C",
        ("e", "E"): "before E",
        ("f", "F"): "behind F",
        ("f", "G"): "behind G",
    }


def test_maps_and_variables() -> None:
    found = document(
        """
        /* the map */
        struct {
            __uint(type, BPF_MAP_TYPE_HASH); /* no member */
            __type(key, __u32);
        } counts SEC(".maps");

        /* bound elsewhere */
        RINGBUF_RECORD(counts, struct s);
        /* settable */
        const volatile bool verbose = true;
        /* with text { } ; in it */
        char name[] = "a { ; /* no comment */";
        /* in its own section */
        SEC(".data.x") int placed = 3;
        int behind; /* stands behind */
        int none;
        static long both = 1; /* later */
        /* initialised */
        struct point origin = { .x = 1, .y = 2 };
        """
    )
    assert found.variables == {
        "counts": "the map",
        "verbose": "settable",
        "name": "with text { } ; in it",
        "placed": "in its own section",
        "behind": "stands behind",
        "both": "later",
        "origin": "initialised",
    }
    assert not found.types


def test_functions_behind_their_macros() -> None:
    found = document(
        """
        /* kprobe */
        SEC("?kprobe/f(x)")
        VARIANT(kprobe)
        int BPF_KPROBE(on_f, int x)
        {
            if (x) { /* inner */ return 1; }
            return 0; /* end */
        }
        /* plain */
        static __always_inline __attribute__((noinline)) int helper(void) { return 0; }
        int undocumented(void) { return 0; }
        """
    )
    assert found.functions == {"on_f": "kprobe", "helper": "plain"}


@pytest.mark.parametrize(
    "head",
    [
        "int f(struct g *g, int h)",
        "static struct g *f(void)",
        "int BPF_PROG(f, struct g *g, int (*h)(int))",
        "int BPF_KRETPROBE(f)",
        '__weak __msg("g") int f(int g) __attribute__((section("h")))',
        'SEC("g(h)") int f(int g[sizeof(h)])',
    ],
)
def test_function_comment_is_for_its_name_only(head: str) -> None:
    assert document(f"/* about f */\n{head}\n{{ return g(h); }}\n").functions == {"f": "about f"}


def test_functions_may_be_named_in_capitals() -> None:
    assert document("/* F */\nint BPF_PROG(F, struct g *h) { }\n").functions == {"F": "F"}


def test_record_bindings_are_no_variables() -> None:
    assert document("/* a */\nRINGBUF_RECORD(m, struct s);\n/* b */\nITER_RECORD(p, struct t);\n").variables == {}


def test_a_comment_must_touch_what_it_describes() -> None:
    found = document("/* far */\n\nint a;\n/* cut off */\n#define X 1\nint b;\n/* last of two */\n/* near */\nint c;\n")
    assert found.variables == {"c": "near"}


def test_comments_of_directives_end_with_them() -> None:
    text = "/* f */\n\n#define A 1 /* begins here\n and; ends { here */\n#define B \\\n  2\n/* about x */\nint x;\n"
    assert document(text).variables == {"x": "about x"}


def test_labels_paragraphs_and_indentation() -> None:
    text = """/*
 * A summary that goes
 * over two lines.
 *
 * Kernel: 5.8 and
 * newer.
 * Cost: none.
 *
 * Table:
 *   first   1
 *   second  2
 * Behind the table
 * comes text.
 *\tby\ttabs
 */

"""
    assert document(text).file == (
        "A summary that goes over two lines.\n\n"
        "Kernel: 5.8 and newer.\nCost: none.\n\n"
        "Table:\n  first   1\n  second  2\nBehind the table comes text.\n     by      tabs"
    )


@pytest.mark.parametrize(
    "comment", ["/* a */", "/** a */", "/*! a */", "// a", "/*a*/", "/*\n * a\n */", "/*\n   a\n*/"]
)
def test_styles_of_comments(comment: str) -> None:
    assert document(f"{comment}\nint x;\n").variables == {"x": "a"}


@given(st.text(st.sampled_from("struct enum SEC(){};,=[]:#\"'/*\\\n ax1"), max_size=60))
def test_any_text_has_documentation_or_none(text: str) -> None:
    """Text that no compiler would take must not stop the search; its end is reached."""
    document(text)
    document(f"struct s {{ {text}")
    document(f"enum e {{ {text} }};")
