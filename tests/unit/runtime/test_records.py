# SPDX-License-Identifier: Apache-2.0
"""Records and variables over bytes made here; no kernel, no libbpf."""

from __future__ import annotations

import pickle
import struct
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf_runtime import (
    CEnum,
    MapSpec,
    Metadata,
    Record,
    RecordError,
    VariableError,
    Variables,
    array,
    bitfield,
    boolean,
    either,
    enumeration,
    f64,
    fields,
    nested,
    padding,
    raw,
    s16,
    s32,
    s128,
    sizeof,
    text,
    u8,
    u16,
    u32,
    u64,
    u128,
)


class Colour(CEnum):
    RED = 0
    BLUE = 7


class Signed(CEnum):
    MINUS = -1
    ZERO = 0


class Point(Record, c_name="struct point", size=8):
    __slots__ = ()

    x: int = s32(0)
    y: int = s32(4)


class Sample(Record, c_name="struct sample", size=96):
    __slots__ = ()

    total: int = u64(0)
    wide: int = u128(8)
    negative: int = s128(24)
    ratio: float = f64(40)
    point: Point = nested(48, Point)
    corners: tuple[int, ...] = array(56, u16(0), 3)
    colour: Colour = enumeration(62, 2, Colour)
    sign: Signed = enumeration(64, 4, Signed)
    name: str = text(68, 8)
    flag: bool = boolean(76)
    tag: bytes = raw(77, 3)
    points: tuple[Point, ...] = array(80, nested(0, Point), 1)
    small: int = u8(88)
    pad0: bytes = padding(89, 5)
    short: int = s16(94)


def sample(**changes: Any) -> Sample:
    values: dict[str, Any] = {
        "total": 1 << 63,
        "wide": (1 << 127) + 5,
        "negative": -3,
        "ratio": 0.5,
        "point": Point(x=-1, y=2),
        "corners": (1, 2, 65535),
        "colour": Colour.BLUE,
        "sign": Signed.MINUS,
        "name": "abc",
        "flag": True,
        "tag": b"\x01\x02\x03",
        "points": (Point(x=3, y=4),),
        "small": 255,
        "short": -2,
    }
    return Sample(**(values | changes))


def test_bytes_are_where_the_offsets_say() -> None:
    data = bytes(sample())
    assert len(data) == sizeof(Sample) == 96
    assert struct.unpack_from("<Q", data, 0)[0] == 1 << 63
    assert int.from_bytes(data[8:24], "little") == (1 << 127) + 5
    assert int.from_bytes(data[24:40], "little", signed=True) == -3
    assert struct.unpack_from("<d", data, 40)[0] == 0.5
    assert struct.unpack_from("<ii", data, 48) == (-1, 2)
    assert struct.unpack_from("<HHH", data, 56) == (1, 2, 65535)
    assert struct.unpack_from("<Hi", data, 62) == (7, -1)
    assert data[68:76] == b"abc\0\0\0\0\0"
    assert data[76:80] == b"\x01\x01\x02\x03"
    assert struct.unpack_from("<ii", data, 80) == (3, 4)
    assert data[88] == 255
    assert data[89:94] == bytes(5)
    assert struct.unpack_from("<h", data, 94)[0] == -2


def test_a_record_is_a_value() -> None:
    one, same, other = sample(), sample(), sample(total=1)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != Point(x=0, y=0)
    assert {one: 1}[same] == 1
    assert one.replace(total=1) == other
    assert Sample.from_bytes(bytes(one)) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert Point.zeroed(y=3) == Point(x=0, y=3)
    assert repr(Point(x=1, y=-2)) == "Point(x=1, y=-2)"
    with pytest.raises(AttributeError, match=r"Point\.x cannot be set: records are immutable; use replace\(\)"):
        Point(x=1, y=2).x = 3  # type: ignore[misc]


def test_a_record_matches_by_keyword() -> None:
    match Point(x=1, y=2):
        case Point(x=1, y=second):
            assert second == 2
        case _:
            pytest.fail("no match")


def test_views_share_their_block_and_copies_do_not() -> None:
    block = b"".join(bytes(Point(x=i, y=-i)) for i in range(3))
    field = nested(0, Point)
    assert [field.unpack(block, base).x for base in (0, 8, 16)] == [0, 1, 2]
    changing = bytearray(block)
    point = field.unpack(changing, 8)
    changing[8] = 99
    assert point.x == 1


def test_text_stops_at_nul_and_keeps_raw_bytes() -> None:
    record = sample(name=b"ab\0cd\xff")
    assert record.name == "ab"
    assert record.raw("name") == b"ab\0cd\xff\0\0"
    assert sample(name=b"a\xffb").name == "a\\xffb"
    assert sample(name="12345678").name == "12345678"
    with pytest.raises(RecordError, match="read Sample: there is no field 'nosuch'"):
        record.raw("nosuch")


def test_enums_keep_unknown_values() -> None:
    record = Sample.from_bytes(bytes(sample())[:62] + b"\x05\x00" + bytes(sample())[64:])
    assert record.colour == 5
    assert record.colour.name == "UNKNOWN_5"
    assert isinstance(record.colour, Colour)


def test_asdict_leaves_padding_out() -> None:
    values = sample().asdict()
    assert list(values) == [field.name for field in fields(Sample) if field.name != "pad0"]
    assert values["point"] == {"x": -1, "y": 2}
    assert values["points"] == ({"x": 3, "y": 4},)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total": -1}, "set field 'total': -1 does not fit u64."),
        ({"total": 1 << 64}, f"set field 'total': {1 << 64} does not fit u64."),
        ({"total": "1"}, "set field 'total': '1' does not fit u64."),
        ({"wide": -1}, "set field 'wide': -1 does not fit u128."),
        ({"negative": 1 << 127}, f"set field 'negative': {1 << 127} does not fit s128."),
        ({"wide": 1.0}, "set field 'wide': 1.0 does not fit u128."),
        ({"name": "123456789"}, "set field 'name': '123456789' does not fit text of 8 bytes."),
        ({"name": 5}, "set field 'name': 5 does not fit text of 8 bytes."),
        ({"tag": b"1234"}, "set field 'tag': b'1234' does not fit raw of 3 bytes."),
        ({"corners": (1, 2)}, "set field 'corners': (1, 2) does not fit u16[3] with its 3 elements."),
        ({"corners": (1, 2, 65536)}, "set field 'u16': 65536 does not fit u16."),
        ({"point": 3}, "set field 'point': 3 does not fit Point."),
        ({"colour": 70000}, "set field 'colour': 70000 does not fit Colour."),
    ],
)
def test_values_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        sample(**changes)
    assert str(caught.value) == message


def test_missing_unknown_and_padding_fields_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Point\(\) lacks y; see zeroed\(\)"):
        Point(x=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point has no field 'z'; it has x, y"):
        Point(x=1, y=2, z=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Sample has no field 'pad0'"):
        Sample.zeroed(pad0=b"12345")
    with pytest.raises(RecordError, match=r"read Point: 7 bytes are not the 8 of struct point\."):
        Point.from_bytes(bytes(7))


@pytest.mark.parametrize("method", ["__init__", "__new__"])
def test_a_record_with_a_constructor_of_its_own_is_refused(method: str) -> None:
    constructed = type("Constructed", (), {method: lambda _self: None})
    with pytest.raises(RecordError) as caught:
        type("Event", (constructed, Record), {"number": u32(0)}, size=4)
    reason = f"a record cannot have {method} of its own. Make it a class method that calls Event(...)."
    assert str(caught.value) == f"define Event: {reason}"


def test_fields_are_given_by_keyword() -> None:
    class Event(Record, size=4):
        number: int = u32(0)

    with pytest.raises(TypeError, match=r"^Event\(\) takes its fields by keyword$"):
        Event(1)  # type: ignore[call-arg]


def test_a_class_may_make_its_records_while_it_is_defined() -> None:
    class Base(Record):
        ZERO: ClassVar[Any]

        def __init_subclass__(cls, size: int = 0) -> None:
            super().__init_subclass__(size=size)
            cls.ZERO = cls.zeroed()

    class Event(Base, size=4):
        number: int = u32(0)

    assert Event(number=0) == Event.ZERO


def test_a_layout_that_overlaps_is_refused_at_import() -> None:
    with pytest.raises(RecordError, match="define Wrong: field 'b' at bytes 2 to 6 overlaps its neighbour"):

        class Wrong(Record, c_name="struct wrong", size=8):
            a: int = u32(0)
            b: int = u32(2)

    with pytest.raises(
        RecordError, match="define Long: field 'a' at bytes 4 to 8 overlaps its neighbour or the end at 6"
    ):

        class Long(Record, c_name="struct long", size=6):
            a: int = u32(4)


class Flags(Record, c_name="struct flags", size=9):
    __slots__ = ()

    low: int = bitfield(0, 3)
    straddles: int = bitfield(3, 30)
    negative: int = bitfield(33, 5, signed=True)
    yes: bool = bitfield(38, 1, kind=bool)
    colour: Colour = bitfield(39, 4, kind=Colour)
    sign: Signed = bitfield(43, 2, signed=True, kind=Signed)
    plain: int = u8(6)
    wide: int = bitfield(56, 16)


class BigFlags(Record, c_name="struct flags", size=9, byte_order="big"):
    __slots__ = ()

    low: int = bitfield(0, 3)
    straddles: int = bitfield(3, 30)
    negative: int = bitfield(33, 5, signed=True)
    yes: bool = bitfield(38, 1, kind=bool)
    colour: Colour = bitfield(39, 4, kind=Colour)
    sign: Signed = bitfield(43, 2, signed=True, kind=Signed)
    plain: int = u8(6)
    wide: int = bitfield(56, 16)


VALUES: dict[str, Any] = {
    "low": 5, "straddles": 0x2ABCDEF1, "negative": -3, "yes": True, "colour": Colour.BLUE, "sign": Signed.MINUS,
    "plain": 200, "wide": 0xBEEF,
}  # fmt: skip


def test_bitfields_are_where_their_bits_are() -> None:
    """Of a little-endian record bits count from the least significant one on, of a big-endian one from the most."""
    widths = [(f.bit_offset, f.bits or 8 * f.size, VALUES[f.name] & (1 << (f.bits or 8)) - 1) for f in fields(Flags)]
    little = sum(value << bit for bit, _, value in widths).to_bytes(9, "little")
    big = sum(value << 72 - bit - width for bit, width, value in widths).to_bytes(9, "big")
    for cls, data in ((Flags, little), (BigFlags, big)):
        record = cls(**VALUES)
        assert bytes(record) == data
        assert record.asdict() == VALUES
        assert cls.from_bytes(data) == record
        assert [type(value) for value in record.asdict().values()] == [type(value) for value in VALUES.values()]
    assert fields(Flags)[1].size == 5
    assert repr(fields(Flags)[1]) == "Field('straddles', u30, offset=0, size=5)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 8}, "set field 'low': 8 does not fit u3 of 3 bits."),
        ({"low": -1}, "set field 'low': -1 does not fit u3 of 3 bits."),
        ({"low": 1.0}, "set field 'low': 1.0 does not fit u3 of 3 bits."),
        ({"negative": 16}, "set field 'negative': 16 does not fit s5 of 5 bits."),
        ({"negative": -17}, "set field 'negative': -17 does not fit s5 of 5 bits."),
        ({"yes": 2}, "set field 'yes': 2 does not fit boolean of 1 bits."),
        ({"colour": 16}, "set field 'colour': 16 does not fit Colour of 4 bits."),
    ],
)
def test_values_too_large_for_their_bits_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        Flags(**(VALUES | changes))
    assert str(caught.value) == message


@given(st.binary(min_size=9, max_size=9))
def test_any_bits_can_be_read_and_written_back(data: bytes) -> None:
    for cls in (Flags, BigFlags):
        record = cls.from_bytes(data)
        again = cls(**record.asdict())
        assert again.asdict() == record.asdict()
        assert record.replace(**record.asdict()) == record


class Halves(Record, c_name="struct halves", size=4):
    __slots__ = ()

    low: int = u16(0)
    high: int = u16(2)


class Either(Record, c_name="union either", size=8):
    __slots__ = ()

    number: int = either(u64(0), default=None)
    halves: Halves = either(nested(0, Halves), default=None)
    nibble: int = either(bitfield(0, 4), default=None)
    text_: str = either(text(0, 8), default=None)


class Mixed(Record, c_name="struct mixed", size=16):
    __slots__ = ()

    kind: int = u32(0)
    whole: int = either(u32(4), default=None)
    low: int = either(u16(4), default=None)
    high: int = either(u16(6), default=None)
    end: int = u64(8)


def test_a_union_is_all_of_its_members() -> None:
    union = Either(number=0x0002_0041)
    assert (union.number, union.halves, union.nibble, union.text_) == (0x20041, Halves(low=0x41, high=2), 1, "A")
    assert Either(halves=Halves(low=1, high=2)) == Either(number=0x20001)
    assert Either() == Either(number=0)
    assert union.replace(nibble=2).number == 0x20042
    assert union.asdict()["halves"] == {"low": 0x41, "high": 2}
    match union:
        case Either(halves=Halves(low=low)):
            assert low == 0x41
        case _:
            pytest.fail("no match")


def test_of_fields_that_share_bytes_one_is_given() -> None:
    assert bytes(Mixed(kind=1, whole=2, end=3)) == struct.pack("<IIQ", 1, 2, 3)
    assert bytes(Mixed(kind=1, low=2, high=4, end=3)) == struct.pack("<IHHQ", 1, 2, 4, 3)
    assert Mixed(kind=1, end=3).whole == 0
    with pytest.raises(TypeError) as caught:
        Mixed(kind=1, whole=2, high=4, end=3)
    assert str(caught.value) == "Mixed: 'whole' and 'high' have the same bytes; give one of them"
    with pytest.raises(TypeError, match=r"^Mixed\(\) lacks end; see zeroed\(\)$"):
        Mixed(kind=1, whole=2)  # type: ignore[call-arg]


def test_records_match_by_position() -> None:
    names: dict[str, Any] = {cls.__name__: vars(cls)["__match_args__"] for cls in (Halves, Sample)}
    assert names["Halves"] == ("low", "high")
    assert names["Sample"][-2:] == ("small", "short")  # padding is left out


class BigSample(Record, c_name="struct sample", size=72, byte_order="big"):
    __slots__ = ()

    total: int = u64(0)
    negative: int = s128(8)
    ratio: float = f64(24)
    corners: tuple[tuple[int, ...], ...] = array(32, array(0, u16(0), 3), 2)
    colour: Colour = enumeration(44, 2, Colour)
    sign: Signed = enumeration(48, 4, Signed, signed=True)
    flags: BigFlags = nested(52, BigFlags)
    name: str = text(61, 4)


def test_big_endian_records() -> None:
    flags = BigFlags(**VALUES)
    corners = ((1, 2, 3), (4, 5, 6))
    record = BigSample(
        total=1, negative=-2, ratio=0.5, corners=corners, colour=Colour.BLUE, sign=Signed.MINUS, flags=flags, name="abc"
    )
    data = bytes(record)
    assert data[:8] == bytes(7) + b"\x01"
    assert int.from_bytes(data[8:24], "big", signed=True) == -2
    assert struct.unpack_from(">d6HH2xi", data, 24) == (0.5, 1, 2, 3, 4, 5, 6, 7, -1)
    assert data[52:61] == bytes(flags)
    assert data[61:65] == b"abc\0"
    again = BigSample.from_bytes(data)
    assert (again.total, again.corners, again.colour, again.sign, again.flags) == (1, corners, 7, -1, flags)


def test_keys_and_values_of_a_big_endian_object() -> None:
    item = MapSpec("m", "HASH", key=u32(0), value=array(0, u16(0), 2), inner=MapSpec("i", "HASH", key=u16(0)))
    item.to_big_endian()
    block = bytearray(4)
    assert item.key is not None
    item.key.pack(block, 0, 1)
    assert block == b"\0\0\0\x01"
    assert item.value is not None
    assert item.value.unpack(b"\0\x01\0\x02", 0) == (1, 2)


def test_metadata_is_read_only() -> None:
    class About(Metadata, section="about", size=8, data=b"\x03"):
        version: int = u32(0)
        rest: int = u32(4)

    about = About()
    assert (about.version, about.rest, About.attribute) == (3, 0, "about")
    with pytest.raises(VariableError) as caught:
        about.version = 4
    assert str(caught.value) == (
        "set variable 'version': about is what the object says of itself, and cannot be changed."
    )


def test_numpy_sees_unions_and_bitfields() -> None:
    numpy = pytest.importorskip("numpy")
    from ebpf_runtime import dtype

    row = numpy.frombuffer(bytes(Either(number=0x20041)), dtype(Either))[0]
    assert (row["number"], row["halves"]["low"], row["text_"]) == (0x20041, 0x41, b"A\0\x02")
    for cls in (Flags, BigFlags):
        kind = dtype(cls)
        row = numpy.frombuffer(bytes(cls(**VALUES)), kind)[0]
        for field in fields(cls):
            if not field.bits:
                continue
            assert kind.fields is not None
            form, start = kind.fields[field.name][:2]
            assert form.kind == "u"
            end = 8 * form.itemsize - (field.bit_offset - 8 * start) - field.bits
            shift = field.bit_offset - 8 * start if cls is Flags else end
            assert int(row[field.name]) >> shift & (1 << field.bits) - 1 == VALUES[field.name] & (1 << field.bits) - 1
    assert numpy.frombuffer(bytes(9), dtype(BigSample).fields["total"][0], 1)[0] == 0  # type: ignore[index]
    assert dtype(BigSample)["total"].str == ">u8"


@pytest.mark.parametrize("cls", [Either, Flags, BigFlags, Sample, BigSample])
@pytest.mark.parametrize("step", [0, 8])
def test_arrays_that_are_joined_keep_every_byte_and_the_layout(cls: type[Record], step: int) -> None:
    numpy = pytest.importorskip("numpy")
    from ebpf_runtime import dtype
    from ebpf_runtime.arrays import joined, strided

    field = nested(0, cls)
    size = field.size
    blocks = [bytes(number % 251 for number in range(start, start + 3 * (size + step))) for start in (1, 7)]
    starts = range(step, 3 * (size + step), size + step)
    whole = joined([strided(block, field, starts) for block in blocks])
    assert whole.dtype == dtype(cls)
    assert whole.flags.writeable
    assert whole.view(f"V{size}").tobytes() == b"".join(
        block[start : start + size] for block in blocks for start in starts
    )
    assert joined([memoryview(b"ab"), memoryview(b"c")]).tolist() == [97, 98, 99]
    assert joined([numpy.arange(2), numpy.arange(1)]).tolist() == [0, 1, 0]


class Section(Variables, section=".data", size=16):
    level: int = u32(0)
    point: Point = nested(8, Point)


def test_variables_read_and_write_their_memory() -> None:
    memory = bytearray(16)
    variables = Section(memory)
    variables.level = 7
    variables.point = Point(x=1, y=2)
    assert memory == struct.pack("<I4xii", 7, 1, 2)
    memory[0] = 9
    assert variables.level == 9
    assert repr(variables) == "<Section level=9, point=Point(x=1, y=2)>"
    with pytest.raises(RecordError, match="set field 'level': -1 does not fit u32"):
        variables.level = -1


def test_locked_and_closed_variables_refuse() -> None:
    locked = Section(bytearray(16), "it is too late.")
    with pytest.raises(VariableError, match=r"set variable 'level': it is too late\."):
        locked.level = 1
    assert locked.level == 0
    locked._close()
    with pytest.raises(VariableError, match=r"use the \.data variables: the probe is closed\."):
        _ = locked.level


@given(st.binary(min_size=96, max_size=96))
def test_any_bytes_can_be_read_and_kept(data: bytes) -> None:
    record = Sample.from_bytes(data)
    assert bytes(record) == data
    values = {field.name: getattr(record, field.name) for field in fields(Sample)}
    assert repr(record).startswith("Sample(total=")
    again = record.replace(total=values["total"], corners=values["corners"], points=values["points"])
    assert again == record


@given(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 31), (1 << 31) - 1))
def test_numbers_survive_the_round_trip(x: int, y: int) -> None:
    point = Point(x=x, y=y)
    assert (point.x, point.y) == struct.unpack("<ii", bytes(point)) == (x, y)


def test_numpy_sees_the_same_layout() -> None:
    numpy = pytest.importorskip("numpy")
    from ebpf_runtime import dtype

    kind = dtype(Sample)
    assert kind.itemsize == 96
    assert kind.fields is not None
    assert {name: entry[1] for name, entry in kind.fields.items()} == {f.name: f.offset for f in fields(Sample)}
    row = numpy.frombuffer(bytes(sample()), kind)[0]
    assert row["total"] == 1 << 63
    assert row["sign"] == -1
    assert row["colour"] == 7
    assert row["point"]["y"] == 2
    assert row["corners"].tolist() == [1, 2, 65535]
    assert row["name"] == b"abc"
    assert row["points"]["x"].tolist() == [3]


class Sparse(Record, c_name="struct sparse", size=56):
    """Arrays of several dimensions, and of texts that have no bytes."""

    __slots__ = ()

    rows: tuple[tuple[tuple[int, ...], ...], ...] = array(0, array(0, array(0, u16(0), 4), 3), 2)
    none: tuple[str, ...] = array(48, text(0, 0), 2)
    last: int = u64(48)


def test_dimensions_are_in_the_order_of_c() -> None:
    assert [field.kind for field in fields(Sparse)] == ["u16[2][3][4]", "text[2]", "u64"]


def test_numpy_sees_arrays_of_nothing() -> None:
    numpy = pytest.importorskip("numpy")
    from ebpf_runtime import dtype

    kind = dtype(Sparse)
    assert (kind.itemsize, kind["none"].shape, kind["none"].itemsize) == (56, (2,), 0)
    record = Sparse(
        rows=tuple(tuple(tuple(range(i, i + 4)) for i in (4 * j, 0, 1)) for j in range(2)), none=("", ""), last=9
    )
    row = numpy.frombuffer(bytes(record), kind)[0]
    assert row["rows"].tolist() == [[list(part) for part in parts] for parts in record.rows]
    assert int(row["last"]) == 9
