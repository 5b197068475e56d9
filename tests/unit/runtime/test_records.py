# SPDX-License-Identifier: Apache-2.0
"""Records and variables over bytes made here; no kernel, no libbpf."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf_runtime import (
    CEnum,
    Record,
    RecordError,
    VariableError,
    Variables,
    array,
    boolean,
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
