# SPDX-License-Identifier: Apache-2.0
"""Every kind of type is read as it was written; damage of any sort is one BtfError."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf_codegen import btf
from ebpf_codegen.errors import BtfError

from .writers import BtfWriter

ORDERS = ("<", ">")
NAMES = {"<": "little", ">": "big"}


def one(writer: BtfWriter, header_size: int = 24) -> btf.BtfType:
    """Return the last type after writing and reading."""
    return btf.read(writer.build(header_size), "x.o").types[-1]


def everything(order: str = "<") -> BtfWriter:
    """Return a writer with a type of every kind."""
    w = BtfWriter(order)
    integer = w.integer("int", 4, signed=True)
    char = w.integer("char", 1, signed=True)
    pointer = w.ptr(w.refer("const", w.refer("volatile", w.refer("restrict", char))))
    w.refer("type_tag", pointer, "user")
    array = w.array(char, 16)
    record = w.struct("record", 24, [("text", array, 0), ("number", integer, 128), ("flags", integer, 160)])
    w.struct("either", 4, [("a", integer, 0), ("b", integer, 0)], union=True)
    w.struct("bits", 4, [("low", integer, 3 << 24), ("high", integer, 29 << 24 | 3)], flag=True)
    w.enum("mood", 4, [("BAD", -1), ("GOOD", 1)], signed=True)
    w.enum64("wide", [("TOP", 1 << 63), ("LOW", 1)])
    w.refer("typedef", record, "record_t")
    w.fwd("elsewhere")
    w.floating("double", 8)
    function = w.func("run", w.func_proto(integer, [("ctx", pointer), ("", 0)]))
    w.decl_tag("variant:a", function)
    w.datasec(".bss", [(w.var("counter", integer), 0, 4)])
    return w


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("header_size", [24, 32])
def test_both_headers_and_byte_orders_give_the_same_types(order: str, header_size: int) -> None:
    read = btf.read(everything(order).build(header_size), "x.o")
    assert read.types == btf.read(everything().build()).types
    assert (read.byte_order, read.source) == (NAMES[order], "x.o")
    assert read[0] == btf.Void()


def test_types_may_stand_behind_the_strings() -> None:
    w = BtfWriter()
    w.integer("int", 4)
    types, strings = w.types[0], bytes(w.strings)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, len(strings), len(types), 0, len(strings))
    assert btf.read(header + strings + types).types[1] == btf.Int("int", 4, False, False, 0, 32)


def test_integers() -> None:
    w = BtfWriter()
    w.integer("unsigned int", 4)
    w.integer("long long", 8, signed=True)
    w.integer("_Bool", 1, boolean=True)
    w.integer("__int128", 16, signed=True)
    w.integer("int", 4, signed=True, bits=5, offset=3)
    assert btf.read(w.build()).types[1:] == (
        btf.Int("unsigned int", 4, False, False, 0, 32),
        btf.Int("long long", 8, True, False, 0, 64),
        btf.Int("_Bool", 1, False, True, 0, 8),
        btf.Int("__int128", 16, True, False, 0, 128),
        btf.Int("int", 4, True, False, 3, 5),
    )


def test_structs_and_unions_with_plain_offsets() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    w.struct("pair", 8, [("a", kind, 0), ("", kind, 32)])
    assert one(w) == btf.Struct("pair", 8, (btf.Member("a", kind, 0, 0), btf.Member("", kind, 32, 0)), False)
    w.struct("", 4, [("a", kind, 0)], union=True)
    assert one(w) == btf.Struct("", 4, (btf.Member("a", kind, 0, 0),), True)
    w.struct("empty", 0, [])
    assert one(w) == btf.Struct("empty", 0, (), False)


def test_kind_flag_splits_an_offset_into_width_and_position() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    w.struct("bits", 8, [("whole", kind, 0), ("low", kind, 3 << 24 | 32), ("high", kind, 29 << 24 | 35)], flag=True)
    assert one(w) == btf.Struct(
        "bits",
        8,
        (btf.Member("whole", kind, 0, 0), btf.Member("low", kind, 32, 3), btf.Member("high", kind, 35, 29)),
        False,
    )


def test_signs_of_enums() -> None:
    w = BtfWriter()
    w.enum("signed", 4, [("A", -1), ("B", 1)], signed=True)
    assert one(w) == btf.Enum("signed", 4, True, (("A", -1), ("B", 1)))
    w.enum("unsigned", 4, [("A", 0xFFFFFFFF)])
    assert one(w) == btf.Enum("unsigned", 4, False, (("A", 0xFFFFFFFF),))
    w.enum("small", 1, [("A", 200)])
    assert one(w) == btf.Enum("small", 1, False, (("A", 200),))
    w.enum64("wide", [("A", -(1 << 63)), ("B", (1 << 63) - 1)], signed=True)
    assert one(w) == btf.Enum("wide", 8, True, (("A", -(1 << 63)), ("B", (1 << 63) - 1)))
    w.enum64("tall", [("A", (1 << 64) - 1), ("B", 1 << 32)])
    assert one(w) == btf.Enum("tall", 8, False, (("A", (1 << 64) - 1), ("B", 1 << 32)))


def test_references_and_declarations() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    for name in ("const", "volatile", "restrict"):
        w.refer(name, kind)
        assert one(w) == btf.Modifier(name, kind)
    w.refer("type_tag", kind, "user")
    assert one(w) == btf.Modifier("type_tag", kind, "user")
    w.refer("typedef", kind, "u32")
    assert one(w) == btf.Typedef("u32", kind)
    w.ptr(0)
    assert one(w) == btf.Ptr(0)
    w.array(kind, 7)
    assert one(w) == btf.Array(kind, kind, 7)
    w.fwd("s")
    assert one(w) == btf.Fwd("s", False)
    w.fwd("u", union=True)
    assert one(w) == btf.Fwd("u", True)
    w.floating("float", 4)
    assert one(w) == btf.Float("float", 4)


def test_functions_variables_and_sections() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    proto = w.func_proto(kind, [("a", kind), ("", 0)])
    assert one(w) == btf.FuncProto(kind, (("a", kind), ("", 0)))
    for linkage in range(3):
        w.func("f", proto, linkage)
        assert one(w) == btf.Func("f", proto, linkage)
        w.var("v", kind, linkage)
        assert one(w) == btf.Var("v", kind, linkage)
    variable = len(w.types)
    w.datasec(".data", [(variable, 0, 4), (variable, 8, 4)], size=12)
    variables = (btf.SectionVariable(variable, 0, 4), btf.SectionVariable(variable, 8, 4))
    assert one(w) == btf.Datasec(".data", 12, variables)


def test_declaration_tags_of_types_and_of_their_members() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    record = w.struct("s", 4, [("a", kind, 0)])
    w.decl_tag("whole", record)
    assert one(w) == btf.DeclTag("whole", record, -1)
    w.decl_tag("part", record, 0)
    assert one(w) == btf.DeclTag("part", record, 0)


def test_names_that_are_no_utf8_show_as_escapes() -> None:
    w = BtfWriter()
    w.integer("abc", 4)
    data = w.build().replace(b"abc", b"a\xffc")
    assert btf.read(data).types[1] == btf.Int("a\\xffc", 4, False, False, 0, 32)


# Looking through types


def test_resolve_and_strip() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    name = w.refer("typedef", w.refer("volatile", kind), "a_t")
    outer = w.refer("const", name)
    read = btf.read(w.build())
    assert read.strip(outer) == name
    assert read.resolve(outer) == kind
    assert read.resolve(0) == 0


def test_sizes() -> None:
    w = BtfWriter()
    kind = w.integer("int", 4)
    expected = {
        0: 0,
        kind: 4,
        w.ptr(0): 8,
        w.array(w.array(kind, 3), 5): 60,
        w.array(w.ptr(kind), 2): 16,
        w.array(kind, 0): 0,
        w.struct("s", 12, []): 12,
        w.enum("e", 2, []): 2,
        w.floating("double", 8): 8,
        w.refer("typedef", w.refer("const", kind), "t"): 4,
        w.fwd("f"): 0,
        w.func_proto(0): 0,
        w.datasec(".bss", [], size=20): 20,
    }
    read = btf.read(w.build())
    assert {type_id: read.size(type_id) for type_id in expected} == expected


def test_find_takes_kind_and_name() -> None:
    w = BtfWriter()
    kind = w.integer("x", 4)
    first = w.struct("x", 4, [("a", kind, 0)])
    w.struct("x", 8, [])
    read = btf.read(w.build())
    assert read.find(btf.Struct, "x") == first
    assert read.find(btf.Int, "x") == kind
    assert read.find(btf.Typedef, "x") is None
    assert read.find(btf.Ptr, "x") is None


def test_cycles_of_typedefs_and_modifiers_are_refused() -> None:
    w = BtfWriter()
    w.refer("typedef", 2, "a")
    w.refer("const", 1)
    w.refer("volatile", 3)
    w.array(4, 2)
    read = btf.read(w.build(), "x.o")
    text = "^x.o: type {}: its typedefs and modifiers form a cycle.$"
    with pytest.raises(BtfError, match=text.format(1)):
        read.resolve(1)
    with pytest.raises(BtfError, match=text.format(2)):
        read.size(2)
    with pytest.raises(BtfError, match=text.format(3)):
        read.strip(3)
    with pytest.raises(BtfError, match=r"^x.o: type 4: arrays nest deeper than 64 levels\.$"):
        read.size(4)
    assert read.strip(1) == 1


# Damage


def refused(data: bytes) -> str:
    with pytest.raises(BtfError) as caught:
        btf.read(data, "x.o")
    return str(caught.value)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("header_size", [24, 32])
def test_cut_off_anywhere_is_refused(order: str, header_size: int) -> None:
    data = everything(order).build(header_size)
    for size in range(len(data)):
        message = refused(data[:size])
        assert message.startswith("x.o: .BTF, byte "), size
        assert message.endswith("."), size


def test_bytes_changed_at_random_are_read_or_refused() -> None:
    chance = random.Random(20240229)
    originals = [everything(order).build(size) for order in ORDERS for size in (24, 32)]
    read = 0
    for _ in range(8000):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        try:
            types = btf.read(bytes(data)).types
            read += 1
        except BtfError:
            continue
        assert len(types) < len(data)
    assert 100 < read < 7900  # both outcomes were tried


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_good_header_are_read_or_refused(payload: bytes) -> None:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(payload), len(payload), 3)
    try:
        btf.read(header + payload + b"\0a\0")
    except BtfError as error:
        assert str(error).startswith("BTF: .BTF, ")  # noqa: PT017 - both outcomes are right


def patched(offset: int, code: str, value: int) -> bytes:
    w = BtfWriter()
    w.integer("int", 4)
    data = bytearray(w.build())
    struct.pack_into("<" + code, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "byte 0: 0 bytes are too few for a header of 24"),
        (patched(0, "H", 0x1234), "byte 0: magic number 3412 is not eb9f"),
        (patched(2, "B", 2), "byte 2: version 2 is not 1"),
        (patched(4, "I", 23), "byte 4: header size 23 does not fit the section of 45 bytes"),
        (patched(4, "I", 46), "byte 4: header size 46 does not fit the section of 45 bytes"),
        (patched(12, "I", 100), "byte 8: types end at 124, after the section (45)"),
        (patched(8, "I", 0xFFFFFFFF), "byte 8: types end at 4294967335, after the section (45)"),
        (patched(20, "I", 6), "byte 16: strings end at 46, after the section (45)"),
        (patched(20, "I", 0), "byte 40: the string section does not begin and end with a NUL byte"),
        (patched(20, "I", 4), "byte 40: the string section does not begin and end with a NUL byte"),
        (patched(40, "B", 65), "byte 40: the string section does not begin and end with a NUL byte"),
        (patched(24, "I", 5), "byte 24: string offset 5 is outside the 5 bytes of strings"),
        (patched(12, "I", 15), "byte 24: type 1 needs 4 more bytes, 3 are left"),
        (patched(12, "I", 11), "byte 24: type 1 is cut off"),
        (patched(28, "I", 0), "byte 24: type 1 has the unknown kind 0"),
        (patched(28, "I", 20 << 24), "byte 24: type 1 has the unknown kind 20"),
        (patched(28, "I", 0x7F << 24), "byte 24: type 1 has the unknown kind 127"),
        (patched(28, "I", 4 << 24 | 0xFFFFFF), "byte 24: type 1 has 16777215 parts, the kernel takes 65535 at most"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    assert refused(data) == f"x.o: .BTF, {message}."


def test_names_of_members_outside_the_strings_are_refused() -> None:
    for writer_of in ("struct", "enum", "enum64", "func_proto"):
        w = BtfWriter()
        kind = {"struct": 4, "enum": 6, "enum64": 19, "func_proto": 13}[writer_of]
        w.add(kind, "", 4, [99, 0, 0], vlen=1)
        expected = "x.o: .BTF, byte 24: string offset 99 is outside the 1 bytes of strings."
        assert refused(w.build()) == expected


@pytest.mark.parametrize(
    ("kind", "words", "vlen"),
    [
        (2, (), 0), (3, (5, 0, 1), 0), (3, (0, 5, 1), 0), (4, (0, 5, 0), 1), (5, (0, 5, 0), 1), (8, (), 0), (9, (), 0),
        (10, (), 0), (11, (), 0), (12, (), 0), (13, (), 0), (13, (0, 5), 1), (14, (1,), 0), (15, (5, 0, 4), 1),
        (17, (0xFFFFFFFF,), 0), (18, (), 0),
    ],
)  # fmt: skip
def test_references_beyond_the_last_type_are_refused(kind: int, words: tuple[int, ...], vlen: int) -> None:
    w = BtfWriter()
    w.add(kind, "", 0 if 5 in words else 5, words, vlen=vlen)
    assert refused(w.build()) == "x.o: .BTF, type 1: it refers to type 5, but the last is 1."


# Whatever is written is read


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
WORD = st.integers(0, (1 << 32) - 1)


@given(
    st.sampled_from(ORDERS),
    st.sampled_from((24, 32)),
    st.lists(
        st.one_of(
            st.tuples(st.just("int"), NAME, st.sampled_from((1, 2, 4, 8, 16)), st.booleans()),
            st.tuples(st.just("enum"), NAME, st.lists(st.tuples(NAME, st.integers(-(1 << 31), (1 << 31) - 1)))),
            st.tuples(st.just("enum64"), NAME, st.lists(st.tuples(NAME, st.integers(0, (1 << 64) - 1)))),
            st.tuples(st.just("struct"), NAME, WORD, st.lists(st.tuples(NAME, WORD))),
            st.tuples(st.just("typedef"), NAME),
        ),
        max_size=8,
    ),
)
def test_round_trip(order: str, header_size: int, items: list[tuple[object, ...]]) -> None:
    w = BtfWriter(order)
    expected: list[btf.BtfType] = [btf.Void()]
    for item in items:
        last = len(w.types)
        match item:
            case ("int", str(name), int(size), bool(signed)):
                w.integer(name, size, signed=signed)
                expected.append(btf.Int(name, size, signed, False, 0, 8 * size))
            case ("enum", str(name), list(values)):
                w.enum(name, 4, values, signed=True)
                expected.append(btf.Enum(name, 4, True, tuple(values)))
            case ("enum64", str(name), list(values)):
                w.enum64(name, values)
                expected.append(btf.Enum(name, 8, False, tuple(values)))
            case ("struct", str(name), int(size), list(members)):
                w.struct(name, size, [(text, last, offset) for text, offset in members])
                parts = tuple(btf.Member(text, last, offset, 0) for text, offset in members)
                expected.append(btf.Struct(name, size, parts, False))
            case ("typedef", str(name)):
                w.refer("typedef", last, name)
                expected.append(btf.Typedef(name, last))
    read = btf.read(w.build(header_size))
    assert list(read.types) == expected
    assert read.byte_order == NAMES[order]
