# SPDX-License-Identifier: Apache-2.0
"""What an object offers, and by which words everything without a Python form is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ebpf_codegen import model
from ebpf_codegen.errors import BtfError, CodegenError, ElfError, UnsupportedError
from ebpf_codegen.source import Documentation
from ebpf_codegen.streams import Arm

from .writers import ObjectWriter

ATOMIC_ARRAYS = "Clang before 20 writes such types for arrays of _Atomic: declare them without."


def built(w: ObjectWriter, documentation: Documentation | None = None) -> model.ObjectModel:
    return model.build(w.parse(), "probe", documentation or Documentation())


def refused(w: ObjectWriter, error: type[CodegenError] = UnsupportedError) -> str:
    with pytest.raises(error) as caught:
        built(w)
    return str(caught.value)


def record(w: ObjectWriter) -> model.RecordType:
    """Return the only record of an object."""
    (found,) = built(w).records
    return found


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_empty_object(order: str) -> None:
    found = built(ObjectWriter(order))
    assert found == model.ObjectModel("probe", {"<": "little", ">": "big"}[order], "", (), (), (), (), (), ())


# Values


def test_scalars() -> None:
    w = ObjectWriter()
    kinds = {
        "u8": w.btf.integer("unsigned char", 1), "s16": w.btf.integer("short", 2, signed=True),
        "u32": w.btf.integer("u", 4),
        "s64": w.btf.integer("long", 8, signed=True), "u128": w.btf.integer("unsigned __int128", 16),
        "boolean": w.btf.integer("_Bool", 1, boolean=True), "f32": w.btf.floating("float", 4),
        "f64": w.btf.floating("double", 8), "pointer": w.btf.ptr(0),
    }  # fmt: skip
    w.value(w.btf.struct("s", 16 * len(kinds), [(name, kind, 128 * i) for i, (name, kind) in enumerate(kinds.items())]))
    sizes = (1, 2, 4, 8, 16, 1, 4, 8, 8)
    assert [(m.name, m.type) for m in record(w).members] == [
        (name, model.Scalar(name, size, c_type))
        for (name, size, c_type) in zip(
            kinds, sizes,
            ("unsigned char", "short", "u", "long", "unsigned __int128", "_Bool", "float", "double", "void *"),
            strict=True,
        )
    ]  # fmt: skip
    assert [m.offset for m in record(w).members] == [16 * i for i in range(len(kinds))]


def test_c_types_are_spelled_as_in_c() -> None:
    w = ObjectWriter()
    b = w.btf
    union = b.struct("u", 4, [], union=True)
    kinds = {
        "s32": b.refer("typedef", b.refer("volatile", w.int), "s32"),
        "int": b.refer("const", w.int),
        "int * *": b.ptr(b.ptr(w.int)),
        "struct t *": b.ptr(b.fwd("t")),
        "union t *": b.ptr(b.fwd("t", union=True)),
        "union u *": b.ptr(union),
        "int (*)(void)": b.ptr(w.proto),
        "void (*)(struct t *, int, ...)": b.ptr(b.func_proto(0, [("t", b.ptr(b.fwd("t"))), ("n", w.int), ("", 0)])),
        "int (*)(function *)": b.ptr(b.func_proto(w.int, [("f", b.ptr(w.proto))])),
        "enum e *": b.ptr(b.enum("e", 4, [])),
        "int[2][3]": b.array(b.array(w.int, 3), 2),
        "int *[2][3]": b.array(b.refer("const", b.array(b.ptr(w.int), 3)), 2),
        "int[3] *[2]": b.array(b.ptr(b.array(w.int, 3)), 2),
        "void *": b.ptr(b.refer("const", 0)),
        "function *": b.ptr(b.func_proto(0, [("x", b.fwd("x" * 100))] * 3)),
    }
    w.value(b.struct("s", 1600, [(f"m{i}", kind, 512 * i) for i, kind in enumerate(kinds.values())]))
    assert [member.type.c_type for member in record(w).members] == list(kinds)


def test_arrays_and_text() -> None:
    w = ObjectWriter()
    b = w.btf
    char = b.integer("char", 1, signed=True)
    byte = b.integer("signed char", 1, signed=True)
    members = [
        ("text", b.array(char, 5), 0),
        ("bytes", b.array(byte, 3), 40),
        ("grid", b.array(b.array(w.int, 2), 3), 64),
    ]
    w.value(b.struct("s", 32, members))
    text, data, grid = (member.type for member in record(w).members)
    assert text == model.Text(5, "char[5]")
    assert data == model.ArrayOf(model.Scalar("s8", 1, "signed char"), 3, 3, "signed char[3]")
    row = model.ArrayOf(model.Scalar("s32", 4, "int"), 2, 8, "int[2]")
    assert grid == model.ArrayOf(row, 3, 24, "int[3][2]")


def test_enums_keep_size_sign_and_order() -> None:
    w = ObjectWriter()
    b = w.btf
    signed = b.enum("mood", 4, [("GOOD", 1), ("BAD", -1)], signed=True)
    wide = b.enum64("wide", [("TOP", 1 << 63)])
    nameless = b.enum("", 4, [("A", 0)])
    w.value(b.struct("s", 24, [("m", signed, 0), ("n", nameless, 32), ("w", wide, 64), ("again", wide, 128)]))
    docs = Documentation(types={"mood": "How it is."}, members={("mood", "BAD"): "Not well."})
    found = built(w, docs)
    assert found.enums == (
        model.EnumType("mood", 4, True, (("GOOD", 1, ""), ("BAD", -1, "Not well.")), "How it is.", "enum mood"),
        model.EnumType("s_n", 4, False, (("A", 0, ""),), "", "enum s.n"),
        model.EnumType("wide", 8, False, (("TOP", 1 << 63, ""),), "", "enum wide"),
    )
    assert [member.type for member in found.records[0].members] == [
        model.EnumRef("mood", 4, "enum mood"),
        model.EnumRef("s_n", 4, "enum s.n"),
        model.EnumRef("wide", 8, "enum wide"),
        model.EnumRef("wide", 8, "enum wide"),
    ]


def test_records_come_after_those_they_hold_else_by_name() -> None:
    w = ObjectWriter()
    b = w.btf
    inner = b.struct("z_inner", 4, [("n", w.int, 0)])
    middle = b.struct("y_middle", 8, [("inner", b.array(inner, 2), 0)])
    w.value(b.struct("a_outer", 8, [("middle", middle, 0)]), "one")
    w.value(b.struct("b_other", 4, [("inner", inner, 0)]), "two")
    assert [r.name for r in built(w).records] == ["z_inner", "y_middle", "a_outer", "b_other"]


def test_typedef_names_an_anonymous_struct() -> None:
    w = ObjectWriter()
    b = w.btf
    anonymous = b.struct("", 4, [("n", w.int, 0)])
    w.value(b.refer("const", b.refer("typedef", anonymous, "pair_t")))
    docs = Documentation(types={"pair_t": "A pair."}, members={("pair_t", "n"): "Number."})
    (found,) = built(w, docs).records
    member = model.Member("n", 0, model.Scalar("s32", 4, "int"), "Number.")
    assert found == model.RecordType("pair_t", "pair_t", 4, (member,), "A pair.")


def test_typedef_of_a_named_struct_keeps_the_tag() -> None:
    w = ObjectWriter()
    w.value(w.btf.refer("typedef", w.btf.struct("pair", 4, [("n", w.int, 0)]), "pair_t"))
    assert (record(w).name, record(w).c_name) == ("pair", "struct pair")


def test_members_named_pad_are_padding() -> None:
    w = ObjectWriter()
    b = w.btf
    byte, char = b.integer("u8", 1), b.integer("char", 1, signed=True)
    names = ["pad0", "_pad1", "__pad", "pad", "pad2_", "padding", "keypad", "pad_x"]
    members = [(name, b.array(char if name == "pad" else byte, 2), 16 * i) for i, name in enumerate(names)]
    w.value(b.struct("s", 16, members))
    padding = [m.name for m in record(w).members if isinstance(m.type, model.Padding)]
    assert padding == ["pad0", "_pad1", "__pad", "pad", "pad2_"]
    assert record(w).members[0].type == model.Padding(2, "u8[2]")


# Refusals


def with_member(
    make: Callable[[ObjectWriter], int], *, name: str = "m", at: int = 0, flag: bool = False
) -> ObjectWriter:
    w = ObjectWriter()
    w.value(w.btf.struct("s", 64, [(name, make(w), at)], flag=flag))
    return w


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (with_member(lambda w: w.btf.fwd("f")), "member 'm': struct f has no Python form. Use a sized type."),
        (with_member(lambda w: w.proto), "member 'm': function has no Python form. Use a sized type."),
        (with_member(lambda w: w.btf.array(0, 2)), f"member 'm': its elements have no type. {ATOMIC_ARRAYS}"),
        (with_member(lambda w: 0, at=512), "member 'm': this type has no Python form. Use a sized type."),
        (with_member(lambda w: w.int, at=8 * 62), "member 'm': it ends at byte 66 of 64. The BTF is damaged."),
        (
            with_member(lambda w: w.int, at=33 << 24, flag=True),
            "member 'm': 33 bits at bit 0 are no bitfield of int. The BTF is damaged.",
        ),
        (
            with_member(lambda w: w.btf.struct("t", 8, []), at=3 << 24, flag=True),
            "member 'm': 3 bits at bit 0 are no bitfield of struct t. The BTF is damaged.",
        ),
        (
            with_member(lambda w: w.int, at=3 << 24 | 510, flag=True),
            "member 'm': it ends at byte 65 of 64. The BTF is damaged.",
        ),
    ],
)
def test_members_without_a_python_form(w: ObjectWriter, message: str) -> None:
    assert refused(w) == f"probe.bpf.c: struct s, {message}"


def test_the_innermost_place_is_named() -> None:
    w = ObjectWriter()
    inner = w.btf.struct("inner", 4, [("f", w.btf.fwd("f"), 0)])
    w.value(w.btf.struct("outer", 8, [("inner", w.btf.array(inner, 2), 0)]))
    assert refused(w) == "probe.bpf.c: struct inner, member 'f': struct f has no Python form. Use a sized type."
    w = ObjectWriter()
    w.value(w.btf.fwd("f", union=True), "counts")
    assert refused(w) == "probe.bpf.c: map 'counts', value: union f has no Python form. Use a sized type."


# Layouts


@pytest.mark.parametrize(
    ("kind", "at", "flag", "expected"),
    [
        ("u", 3 << 24 | 5, True, model.Bits(model.Scalar("u32", 4, "u"), 5, 3, 1, "u:3")),
        ("u", 32 << 24 | 5, True, model.Bits(model.Scalar("u32", 4, "u"), 5, 32, 5, "u:32")),
        ("old", 8, False, model.Bits(model.Scalar("s32", 4, "old"), 10, 3, 1, "old:3")),
        ("e", 2 << 24 | 31, True, model.Bits(model.EnumRef("e", 4, "enum e"), 31, 2, 2, "enum e:2")),
    ],
)
def test_bitfields(kind: str, at: int, flag: bool, expected: model.Bits) -> None:
    w = ObjectWriter()
    kinds = {
        "u": w.btf.integer("u", 4),
        "old": w.btf.integer("old", 4, signed=True, bits=3, offset=2),
        "e": w.btf.enum("e", 4, [("A", 0)]),
    }
    w.value(w.btf.struct("s", 8, [("m", kinds[kind], at)], flag=flag))
    (member,) = record(w).members
    assert member == model.Member("m", expected.first // 8, expected, "")


def test_anonymous_members_belong_to_the_record_around_them() -> None:
    w = ObjectWriter()
    b = w.btf
    deep = b.struct("", 4, [("low", b.integer("u16", 2), 0), ("", w.int, 0), ("high", b.integer("u16", 2), 16)])
    union = b.struct("", 4, [("whole", w.int, 0), ("", deep, 0)], union=True)
    inner = b.struct("", 8, [("first", w.int, 0), ("", union, 32)])
    w.value(b.struct("s", 16, [("before", w.int, 0), ("", inner, 32), ("after", w.int, 96)]))
    assert [(m.name, m.offset, m.shared) for m in record(w).members] == [
        ("before", 0, False), ("first", 4, False), ("whole", 8, True), ("low", 8, True), ("high", 10, True),
        ("after", 12, False),
    ]  # fmt: skip


def test_unions_share_their_bytes() -> None:
    w = ObjectWriter()
    w.value(w.btf.struct("u", 8, [("n", w.int, 0), ("p", w.btf.ptr(0), 0)], union=True))
    found = record(w)
    assert (found.c_name, found.is_union) == ("union u", True)
    assert [(m.name, m.offset, m.shared) for m in found.members] == [("n", 0, True), ("p", 0, True)]


def test_members_in_any_order_are_sorted_unless_they_overlap() -> None:
    w = ObjectWriter()
    w.value(w.btf.struct("s", 8, [("second", w.int, 32), ("first", w.int, 0)]))
    assert [m.name for m in record(w).members] == ["first", "second"]
    w = ObjectWriter()
    w.value(w.btf.struct("s", 8, [("one", w.int, 0), ("other", w.int, 16)]))
    assert refused(w) == (
        "probe.bpf.c: struct s, member 'other': it overlaps the one before byte 4. The BTF is damaged."
    )


def test_numbers_of_other_sizes_are_bytes() -> None:
    w = ObjectWriter()
    kinds = [w.btf.integer("odd", 3), w.btf.floating("long double", 16), w.btf.integer("_Bool", 4, boolean=True)]
    w.value(w.btf.struct("s", 48, [(f"m{i}", kind, 128 * i) for i, kind in enumerate(kinds)]))
    assert [m.type for m in record(w).members] == [
        model.Opaque(3, "odd"), model.Opaque(16, "long double"), model.Scalar("u32", 4, "_Bool"),
    ]  # fmt: skip


def test_flexible_arrays_add_nothing() -> None:
    w = ObjectWriter()
    char = w.btf.integer("char", 1, signed=True)
    w.value(w.btf.struct("s", 4, [("n", w.int, 0), ("a", w.btf.array(w.int, 0), 32), ("t", w.btf.array(char, 0), 32)]))
    assert [m.type for m in record(w).members[1:]] == [
        model.ArrayOf(model.Scalar("s32", 4, "int"), 0, 0, "int[]"),
        model.Text(0, "char[]"),
    ]


def test_what_btf_gives_no_type_is_atomic() -> None:
    w = ObjectWriter()
    w.variable(".bss", "atomic", 0, 4)
    w.variable(".bss", "structure", 0, 12)
    (section,) = built(w).sections
    assert [m.type for m in section.variables] == [
        model.Scalar("u32", 4, "_Atomic, 4 bytes"),
        model.Opaque(12, "_Atomic, 12 bytes"),
    ]
    w = with_member(lambda w: 0, at=480)
    assert record(w).members[0].type == model.Scalar("u32", 4, "_Atomic, 4 bytes")


def test_types_without_a_name_are_called_like_their_place() -> None:
    w = ObjectWriter()
    b = w.btf
    deep = b.struct("", 4, [("n", w.int, 0)])
    inner = b.struct("", 4, [("deep", b.array(deep, 1), 0)], union=True)
    w.value(b.struct("s", 4, [("inner", inner, 0)]))
    w.variable(".bss", "counter", b.struct("", 8, [("n", w.int, 0), ("m", w.int, 32)]), 8)
    w.value(b.struct("", 12, []), "nameless")
    assert [(r.name, r.c_name) for r in built(w).records] == [
        ("counter", "struct bss.counter"),
        ("nameless_value", "struct nameless.value"),
        ("s_inner_deep", "struct s.inner.deep"),
        ("s_inner", "union s.inner"),
        ("s", "struct s"),
    ]


def test_two_types_of_one_name_are_both_there() -> None:
    w = ObjectWriter()
    w.value(w.btf.struct("s", 4, [("a", w.int, 0)]), "one")
    w.value(w.btf.refer("typedef", w.btf.struct("", 8, [("a", w.int, 32)]), "s"), "two")
    w.value(w.btf.struct("s", 4, [("a", w.int, 0)]), "same")
    found = built(w)
    assert [(r.name, r.c_name, r.size) for r in found.records] == [("s", "struct s", 4), ("s 2", "s", 8)]
    assert [m.value.name for m in found.maps if isinstance(m.value, model.RecordRef)] == ["s", "s 2", "s"]


def test_all_types_on_demand() -> None:
    w = ObjectWriter()
    w.btf.struct("unused", 4, [("a", w.int, 0)])
    w.btf.refer("typedef", w.btf.struct("", 8, [("a", w.int, 32)]), "alias")
    assert built(w).records == ()
    every = model.build(w.parse(), "probe", Documentation(), model.Options(all_types=True))
    assert [r.c_name for r in every.records] == ["alias", "struct unused"]


def test_a_struct_that_grows_without_end_is_refused() -> None:
    w = ObjectWriter()
    kind = w.int
    for _ in range(40):
        kind = w.btf.struct("", 4, [("", kind, 0), ("", kind, 0), ("n", w.int, 0)], union=True)
    w.value(w.btf.struct("s", 4, [("", kind, 0)]))
    assert refused(w) == "probe.bpf.c: struct s: it has too many members. The kernel takes 65535."


def test_anonymous_members_that_double_are_refused_before_they_are_made() -> None:
    w = ObjectWriter()
    inner = w.btf.struct("", 4, [("x", w.int, 0)])
    for power in range(1, 29):
        inner = w.btf.struct("", 4 << power, [("", inner, 0), ("", inner, 16 << power)])
    w.value(w.btf.struct("s", 4 << 28, [("", inner, 0)]))
    start = time.perf_counter()
    assert refused(w) == "probe.bpf.c: struct s: it has too many members. The kernel takes 65535."
    assert time.perf_counter() - start < 1


def test_struct_that_contains_itself_is_refused() -> None:
    w = ObjectWriter()
    own = len(w.btf.types) + 1
    w.value(w.btf.struct("s", 8, [("s", own, 0)]))
    assert refused(w) == "probe.bpf.c: struct s: it contains itself. The BTF is damaged."


def test_cycles_of_pointers_and_arrays_are_refused() -> None:
    w = ObjectWriter()
    w.value(w.btf.ptr(len(w.btf.types) + 1))
    assert refused(w, BtfError) == f"probe.bpf.c: type 3: its pointers and arrays form a cycle. {ATOMIC_ARRAYS}"
    w = ObjectWriter()
    w.value(w.btf.array(len(w.btf.types) + 1, 2))
    assert refused(w, BtfError) == f"probe.bpf.c: type 3: its pointers and arrays form a cycle. {ATOMIC_ARRAYS}"


def test_structs_that_nest_too_deep_are_refused() -> None:
    w = ObjectWriter()
    kind = w.int
    for level in range(500):
        kind = w.btf.struct(f"s{level}", 4, [("m", kind, 0)])
    w.value(kind)
    assert refused(w) == "probe.bpf.c: struct s435: structs nest deeper than 64 levels. Nest fewer."


@pytest.mark.parametrize("section", ["maps", "maps/counts"])
def test_legacy_maps_are_refused(section: str) -> None:
    w = ObjectWriter()
    w.elf.section(section, bytes(20))
    assert refused(w) == (
        f'probe.bpf.c: section {section!r}: legacy map definitions. Define maps in SEC(".maps") with BTF.'
    )


# Padding


def holes(*members: tuple[str, int, int], size: int) -> str:
    w = ObjectWriter()
    w.value(w.btf.struct("s", size, [(name, kind or w.int, 8 * offset) for name, kind, offset in members]))
    found = built(w)
    with pytest.raises(UnsupportedError) as caught:
        model.refuse_holes(found)
    return str(caught.value)


def test_padding_in_the_middle_is_refused() -> None:
    assert holes(("a", 0, 0), ("b", 0, 12), size=16) == (
        "struct s: 8 bytes of implicit padding at offset 4, before member 'b'. "
        "Order members by size or add `__u8 pad0[8];` and zero it."
    )


def test_padding_at_the_end_is_refused() -> None:
    assert holes(("a", 0, 0), size=7) == (
        "struct s: 3 bytes of implicit padding at offset 4, at its end. "
        "Order members by size or add `__u8 pad0[3];` and zero it."
    )


def test_padding_of_inner_records_is_refused() -> None:
    w = ObjectWriter()
    inner = w.btf.struct("inner", 8, [("n", w.int, 0)])
    w.value(w.btf.struct("outer", 8, [("inner", inner, 0)]))
    with pytest.raises(
        UnsupportedError, match=r"^struct inner: 4 bytes of implicit padding at offset 4, at its end\. "
    ):
        model.refuse_holes(built(w))


def test_bits_without_a_name_are_refused() -> None:
    w = ObjectWriter()
    w.value(w.btf.struct("s", 4, [("a", w.int, 3 << 24), ("b", w.int, 20 << 24 | 8)], flag=True))
    with pytest.raises(UnsupportedError) as caught:
        model.refuse_holes(built(w))
    assert str(caught.value) == (
        "struct s: 5 bits of implicit padding at bit 3, before member 'b'. Add `__u32 pad0:5;` and zero it."
    )


def test_records_without_holes_are_taken() -> None:
    w = ObjectWriter()
    byte = w.btf.integer("u8", 1)
    w.value(w.btf.struct("s", 8, [("n", w.int, 0), ("pad0", w.btf.array(byte, 4), 32)]))
    w.value(w.btf.struct("empty", 0, []), "none")
    model.refuse_holes(built(w))


# Maps


def test_maps_in_order_of_their_place() -> None:
    w = ObjectWriter()
    w.map("zeta", {"type": 1, "max_entries": 10}, {"key": w.int, "value": w.int})
    w.map("alpha", {"type": 6, "max_entries": 1, "key_size": 4, "value_size": 24, "map_flags": 0})
    w.variables[".maps"].reverse()
    number = model.Scalar("s32", 4, "int")
    byte = model.Scalar("u8", 1, "__u8")
    key, value = model.ArrayOf(byte, 4, 4, "__u8[4]"), model.ArrayOf(byte, 24, 24, "__u8[24]")
    assert built(w, Documentation(variables={"zeta": "Last letter."})).maps == (
        model.Map("zeta", "HASH", number, number, 10, "Last letter."),
        model.Map("alpha", "PERCPU_ARRAY", key, value, 1, ""),
    )


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "HASH"),
        (2, "ARRAY"),
        (5, "PERCPU_HASH"),
        (9, "LRU_HASH"),
        (27, "RINGBUF"),
        (32, "CGRP_STORAGE"),
        (33, "ARENA"),
    ],
)
def test_map_types(number: int, name: str) -> None:
    w = ObjectWriter()
    w.map("m", {"type": number, "max_entries": 1})
    assert built(w).maps == (model.Map("m", name, None, None, 1, ""),)


@pytest.mark.parametrize("numbers", [{"type": 0}, {"type": 35}, {"type": 0xFFFFFFFF}, {}])
def test_unknown_map_types_are_refused(numbers: dict[str, int]) -> None:
    w = ObjectWriter()
    w.map("m", numbers)
    shown = numbers.get("type", 0)
    assert refused(w) == f"probe.bpf.c: map 'm': map type {shown} is unknown. Set __uint(type, BPF_MAP_TYPE_…)."


def test_options_of_maps() -> None:
    w = ObjectWriter()
    extra = w.btf.enum64("", [("__unique_value_map_extra", 1 << 32)])
    definition = w.btf.struct("", 32, [
        ("type", w.number(33), 0), ("map_flags", w.number(1024), 64), ("map_extra", extra, 128),
        ("pinning", w.number(1), 192),
    ])  # fmt: skip
    w.variable(".maps", "arena", definition, 32)
    assert built(w).maps == (model.Map("arena", "ARENA", None, None, 0, "", 1024, 1 << 32, 0, 1),)


def test_maps_in_maps_and_what_they_hold() -> None:
    w = ObjectWriter()
    b = w.btf
    inner = b.struct("", 24, [("type", w.number(1), 0), ("key", b.ptr(w.int), 64), ("value", b.ptr(w.int), 128)])
    w.variable(".maps", "first", inner, 24)
    members = [("type", w.number(12), 0), ("max_entries", w.number(4), 64), ("values", b.array(b.ptr(inner), 0), 128)]
    w.variable(".maps", "outer", b.struct("", 16, members), 48)
    programs = [("type", w.number(3), 0), ("values", b.array(b.ptr(w.proto), 0), 64)]
    w.variable(".maps", "calls", b.struct("", 8, programs), 32)
    w.program("run", "xdp")
    index = {name: number for number, (name, *_) in enumerate(w.elf.symbols)}
    w.elf.relocate(w.used[".maps"], [(24 + 16 + 8 * 3, index["first"]), (72 + 8 + 8, index["run"])])
    number = model.Scalar("s32", 4, "int")
    like = model.Map("outer.inner", "HASH", number, number, 0, "")
    first, outer, calls = built(w).maps
    assert (first.inner, first.values) == (None, ())
    assert (outer.inner, outer.values) == (like, ((3, "first"),))
    assert (calls.inner, calls.values) == (None, ((1, "run"),))


def test_maps_nest_once() -> None:
    w = ObjectWriter()
    b = w.btf
    own = len(b.types) + 3 + 2
    b.ptr(own)
    array = b.array(len(b.types), 0)
    number = w.number(12)
    assert b.struct("", 8, [("type", number, 0), ("values", array, 64)]) == own
    w.variable(".maps", "outer", own, 8)
    assert refused(w) == (
        "probe.bpf.c: map 'outer', inner map: the maps in it hold maps, too. The kernel nests maps only once."
    )


def test_struct_ops_are_maps() -> None:
    w = ObjectWriter()
    operations = w.btf.struct("ops", 8, [("run", w.btf.ptr(w.proto), 0)])
    w.variable(".struct_ops.link", "mine", operations, 8)
    initial = model.RecordRef("ops", 8, "struct ops")
    assert built(w).maps == (
        model.Map("mine", "STRUCT_OPS", model.Scalar("u32", 4, "__u32"), None, 1, "", initial=initial),
    )


def test_map_that_is_no_struct_is_refused() -> None:
    w = ObjectWriter()
    w.variable(".maps", "m", w.int, 4)
    assert refused(w) == "probe.bpf.c: map 'm': its definition is no struct. Define it as in SEC(\".maps\")."


def test_ring_buffers_get_their_records() -> None:
    w = ObjectWriter()
    first = w.btf.struct("first", 4, [("n", w.int, 0)])
    second = w.btf.struct("second", 4, [("n", w.int, 0)])
    for name in ("one", "two", "raw"):
        w.map(name, {"type": 27, "max_entries": 4096})
    w.record("two", second)
    w.record("one", first)
    assert [(m.name, m.value) for m in built(w).maps] == [
        ("one", model.RecordRef("first", 4, "struct first")),
        ("two", model.RecordRef("second", 4, "struct second")),
        ("raw", None),
    ]


def test_record_of_an_unknown_map_is_refused() -> None:
    w = ObjectWriter()
    w.record("none", w.int)
    assert refused(w) == (
        "probe.bpf.c: RINGBUF_RECORD(none, …): there is no map of this name. Name a map of this object."
    )


def test_record_that_disagrees_with_the_value_type_is_refused() -> None:
    w = ObjectWriter()
    first = w.btf.struct("first", 4, [("n", w.int, 0)])
    w.map("events", {"type": 27, "max_entries": 4096}, {"value": first})
    w.record("events", w.btf.struct("second", 4, [("n", w.int, 0)]))
    assert refused(w) == (
        "probe.bpf.c: map 'events': its records and its __type(value, …) are of different types. Keep one of them."
    )


def test_record_that_agrees_with_the_value_type_is_taken() -> None:
    w = ObjectWriter()
    first = w.btf.struct("first", 4, [("n", w.int, 0)])
    w.map("events", {"type": 27, "max_entries": 4096}, {"value": w.btf.refer("typedef", first, "first_t")})
    w.record("events", first)
    assert built(w).maps[0].value == model.RecordRef("first", 4, "struct first")


def foreign(w: ObjectWriter, **records: Sequence[str]) -> model.ObjectModel:
    return model.build(w.parse(), "probe", Documentation(), model.Options(records, foreign=True))


def test_events_of_foreign_objects() -> None:
    """The type of the value, if it is a struct; else what the user says; else one warning for all."""
    w = ObjectWriter()
    event = w.btf.struct("event", 8, [("n", w.int, 0)])
    w.map("ring", {"type": 27, "max_entries": 4096}, {"value": event})
    w.map("perf", {"type": 4}, {"key": w.int, "value": w.int})
    w.map("other", {"type": 4, "key_size": 4, "value_size": 4})
    found = foreign(w)
    reference = model.RecordRef("event", 8, "struct event")
    assert [item.value for item in found.maps] == [reference, None, None]
    assert found.warnings == (
        "probe.bpf.c: the events of perf and other have no type and come as bytes. "
        "Say --record perf=STRUCT, or RINGBUF_RECORD(perf, struct …) in the source.",
    )
    assert built(w).warnings == ()
    found = foreign(w, perf=["struct event"], other=["event"])
    assert [item.value for item in found.maps] == [reference, reference, reference]
    assert found.warnings == ()


def test_the_user_may_name_several_records_of_one_map() -> None:
    w = ObjectWriter()
    event = w.btf.struct("event", 4, [("n", w.int, 0)])
    other = w.btf.struct("other", 8, [("n", w.int, 0), ("m", w.int, 32)])
    w.btf.struct("alike", 4, [("m", w.int, 0)])
    w.map("ring", {"type": 27, "max_entries": 4096})
    w.map("bound", {"type": 27, "max_entries": 4096})
    w.record("bound", event)
    w.record("bound", other)
    arms = (
        Arm(model.RecordRef("event", 4, "struct event"), ""),
        Arm(model.RecordRef("other", 8, "struct other"), ""),
    )
    either = model.OneOf(arms, None, 4, "struct event or struct other")
    found = foreign(w, ring=["event", "struct other", "event"], bound=["other", "event"])
    assert found.maps[0].value == either
    assert found.maps[1].value == replace(either, arms=arms[::-1], c_type="struct other or struct event")
    for records, message in (
        (
            {"ring": ["event", "alike"]},
            "map 'ring': struct event and struct alike cannot be told apart by size. "
            "Begin each with the same enum member, and mark it with KIND(…).",
        ),
        ({"bound": ["event"]}, "map 'bound': RINGBUF_RECORD and --record name different types. Leave the option out."),
    ):
        with pytest.raises(UnsupportedError) as caught:
            foreign(w, **records)
        assert str(caught.value) == f"probe.bpf.c: {message}"


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"rign": "event"}, "--record rign=…: there is no map of this name. Did you mean ring?"),
        ({"xyz": "event"}, "--record xyz=…: there is no map of this name. Name a map of this object."),
        ({"ring": "evnt"}, "--record ring=evnt: the object has no struct of this name. Did you mean event?"),
        (
            {"ring": "xyz"},
            "--record ring=xyz: the object has no struct of this name. "
            "Name a struct of its BTF; bpftool btf dump file lists them.",
        ),
        (
            {"ring": "other"},
            "map 'ring': its records and its __type(value, …) are of different types. Keep one of them.",
        ),
        ({"bound": "other"}, "map 'bound': RINGBUF_RECORD and --record name different types. Leave the option out."),
        ({"counts": "event"}, "map 'counts': a map of type ARRAY carries no records. Use __type(value, …)."),
    ],
)
def test_records_that_the_user_names_wrongly(records: dict[str, str], message: str) -> None:
    w = ObjectWriter()
    event = w.btf.struct("event", 4, [("n", w.int, 0)])
    w.btf.struct("other", 8, [("n", w.int, 0)])
    w.map("ring", {"type": 27, "max_entries": 4096}, {"value": event})
    w.map("bound", {"type": 27, "max_entries": 4096})
    w.record("bound", event)
    w.value(w.int, "counts")
    with pytest.raises(UnsupportedError) as caught:
        foreign(w, **{name: [text] for name, text in records.items()})
    assert str(caught.value) == f"probe.bpf.c: {message}"


def test_padding_of_foreign_records_has_names() -> None:
    w = ObjectWriter()
    b = w.btf
    byte = b.integer("u8", 1)
    union = b.struct("", 4, [("a", byte, 0), ("b", b.integer("u16", 2), 0)], union=True)
    w.value(b.struct("s", 24, [("first", byte, 0), ("", union, 32), ("n", w.int, 96)]))
    (found,) = foreign(w).records
    assert [(m.name, m.offset, m.type.size) for m in found.members] == [
        ("first", 0, 1), ("_pad0", 1, 3), ("a", 4, 1), ("b", 4, 2), ("_pad1", 6, 6), ("n", 12, 4), ("_pad2", 16, 8),
    ]  # fmt: skip


def test_record_that_is_no_pointer_is_refused() -> None:
    w = ObjectWriter()
    w.variable(".ringbuf_record", "__ringbuf_record_events", w.int, 8)
    w.variable(".ringbuf_record", "something_else", w.int, 8)
    assert refused(w) == (
        "probe.bpf.c: .ringbuf_record, __ringbuf_record_events: it is no pointer. Use RINGBUF_RECORD(name, type)."
    )


# Variables


def test_variables_of_three_sections_by_offset() -> None:
    w = ObjectWriter()
    for section in (".bss", ".data", ".rodata"):
        w.variable(section, f"first_{section[1]}", w.int, 4)
        w.variable(section, f"second_{section[1]}", w.btf.refer("volatile", w.int), 4)
        w.variables[section].reverse()
    number = model.Scalar("s32", 4, "int")
    found = built(w, Documentation(variables={"first_b": "Counted."})).sections
    assert [(section.name, section.size) for section in found] == [(".rodata", 8), (".data", 8), (".bss", 8)]
    assert found[2].variables == (
        model.Member("first_b", 0, number, "Counted."),
        model.Member("second_b", 4, number, ""),
    )


def test_constants_that_programs_do_not_read_again_are_told() -> None:
    w = ObjectWriter()
    b = w.btf
    constant = b.refer("const", w.int)
    kinds = {
        "const int": constant,
        "const t": b.refer("typedef", constant, "t"),
        "const int[2]": b.array(constant, 2),
        "int": b.refer("const", b.refer("volatile", w.int)),
        "int[2]": b.array(b.refer("const", b.refer("volatile", w.int)), 2),
    }
    for number, kind in enumerate(kinds.values()):
        w.variable(".rodata", f"v{number}", kind, 8)
    (section,) = built(w).sections
    assert [variable.type.c_type for variable in section.variables] == list(kinds)


def test_static_hidden_and_extern_variables_are_left_out() -> None:
    w = ObjectWriter()
    w.variable(".bss", "static", w.int, 4, linkage=0)
    w.variable(".bss", "hidden", w.int, 4, visibility=2)
    w.variable(".bss", "extern", w.int, 4, linkage=2)
    w.variable(".bss", "public", w.int, 4)
    (section,) = built(w).sections
    assert [(v.name, v.offset) for v in section.variables] == [("public", 12)]


def test_variable_without_a_symbol_is_refused() -> None:
    w = ObjectWriter()
    w.variable(".bss", "counter", w.int, 4, symbol="another")
    assert refused(w, ElfError) == "read probe.bpf.c: BTF has a variable 'counter' that no symbol defines."


def test_sections_of_other_names_have_variables_too() -> None:
    w = ObjectWriter()
    for section in (".bss.x", ".rodata.string", ".data.x.y", ".data", ".addr_space.1"):
        w.variable(section, f"of_{section.strip('.').replace('.', '_')}", w.int, 4)
    assert [section.name for section in built(w).sections] == [
        ".data", ".addr_space.1", ".bss.x", ".data.x.y", ".rodata.string",
    ]  # fmt: skip


def test_sections_that_no_program_reads_are_metadata() -> None:
    w = ObjectWriter()
    w.variable("features", "level", w.int, 4)
    w.variable("features", "private", w.int, 4, linkage=0)
    w.elf.sections[w.used["features"]].data = b"\x07\0\0\0abcd"
    variables = (model.Member("level", 0, model.Scalar("s32", 4, "int"), ""),)
    assert built(w).metadata == (model.Metadata(model.SectionModel("features", 8, variables), b"\x07\0\0\0abcd"),)


def test_variables_beyond_their_section_or_in_each_other_are_refused() -> None:
    w = ObjectWriter()
    w.variable(".bss", "long", w.btf.array(w.int, 3), 4)
    assert refused(w) == f"probe.bpf.c: .bss, variable 'long': it ends at byte 12 of 4. {ATOMIC_ARRAYS}"
    w = ObjectWriter()
    w.variable(".bss", "one", w.btf.array(w.int, 2), 4)
    w.variable(".bss", "other", w.int, 4)
    assert refused(w) == f"probe.bpf.c: .bss, variable 'other': it overlaps 'one' at byte 4. {ATOMIC_ARRAYS}"


def test_the_kernels_configuration_is_laid_out_as_libbpf_does() -> None:
    w = ObjectWriter()
    b = w.btf
    char, boolean = b.integer("char", 1, signed=True), b.integer("_Bool", 1, boolean=True)
    externs = {"HZ": w.int, "NAME": b.array(char, 5), "WIDE": b.integer("u64", 8), "BPF": boolean, "AGE": w.int}
    b.datasec(".kconfig", [(b.var(name, kind, 2), 0, 0) for name, kind in externs.items()])
    for name in externs:
        w.elf.symbol(name, 0, kind="notype")
    b.datasec("other", [])
    (section,) = built(w).sections
    assert (section.name, section.size) == (".kconfig", 22)
    assert [(m.name, m.offset) for m in section.variables] == [
        ("WIDE", 0), ("AGE", 8), ("HZ", 12), ("BPF", 16), ("NAME", 17),
    ]  # fmt: skip


def test_kernel_symbols() -> None:
    w = ObjectWriter()
    w.btf.datasec(".ksyms", [(w.btf.var("init_net", w.btf.fwd("net"), 2), 0, 0), (w.btf.var("any", 0, 2), 0, 0)])
    assert built(w).kernel_symbols == (
        model.KernelSymbol("init_net", "struct net", ""),
        model.KernelSymbol("any", "void", ""),
    )


def test_kernel_functions_private_variables_and_known_sections_are_taken() -> None:
    w = ObjectWriter()
    w.btf.datasec(".ksyms", [(w.btf.func("bpf_rdonly_cast", w.proto, 2), 0, 0)])
    w.variable(".data.lock", "static", w.int, 4, linkage=0)
    w.variable(".data.lock", "hidden", w.int, 4, visibility=2)
    for section in ("license", "version", ".rodata.str1.1", ".rodata.cst32"):
        w.variable(section, f"of_{section}", w.int, 4)
    assert built(w) == built(ObjectWriter())


# Programs


def test_programs_in_order_of_their_place() -> None:
    w = ObjectWriter()
    w.program("zeta", "kprobe/z")
    w.program("alpha", "?fentry/a", "fentry")
    w.program("local", "kprobe/l", bind="local")
    w.program("helper", ".text")
    w.elf.symbol("label", 1, 8)
    found = built(w, Documentation(functions={"alpha": "First letter."}))
    assert found.programs == (
        model.Program("zeta", "kprobe/z", True, (), None, ""),
        model.Program("alpha", "fentry/a", False, ("fentry",), None, "First letter."),
    )


def test_variants_of_programs() -> None:
    w = ObjectWriter()
    w.program("one", "?fentry/f", "fast")
    w.program("both", "?raw_tp/t", "slow", "fast")
    w.program("two", "?kprobe/f", "slow")
    w.program("always", "raw_tp/u")
    w.btf.decl_tag("other:tag", 1)
    w.btf.decl_tag("variant:struct", w.btf.struct("s", 0, []))
    found = built(w)
    assert found.variants == ("fast", "slow")
    assert [program.variants for program in found.programs] == [("fast",), ("fast", "slow"), ("slow",), ()]


def test_variants_in_order_of_the_source() -> None:
    """As far as it mentions them; those that no source mentions come last, by name."""
    w = ObjectWriter()
    w.program("one", "?kprobe/f", "b", "slow", "fast")
    w.program("two", "?fentry/f", "fast", "slow", "fast", "a")
    found = built(w, Documentation(variants=("unused", "slow", "fast")))
    assert found.variants == ("slow", "fast", "a", "b")
    assert [program.variants for program in found.programs] == [("slow", "fast", "b"), ("slow", "fast", "a")]
    assert built(w).variants == ("a", "b", "fast", "slow")


def test_iterators_get_their_rows() -> None:
    w = ObjectWriter()
    row = w.btf.struct("row", 4, [("n", w.int, 0)])
    w.program("dump", "iter/task")
    pointer = w.btf.ptr(row)
    w.variable(".iter_record", "__iter_record_dump", pointer, 8)
    (program,) = built(w).programs
    assert program.row == model.RecordRef("row", 4, "struct row")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("kprobe/x", 'kprobe/x is no iterator. Use SEC("iter/…").'),
        (".text", "there is no program of this name. Name a program."),
    ],
)
def test_rows_of_anything_but_an_iterator_are_refused(section: str, message: str) -> None:
    w = ObjectWriter()
    w.program("dump", section)
    w.variable(".iter_record", "__iter_record_dump", w.btf.ptr(w.int), 8)
    assert re.sub(r"\s+", " ", refused(w)) == f"probe.bpf.c: ITER_RECORD(dump, …): {message}"
