# SPDX-License-Identifier: Apache-2.0
"""Records of several types over bytes that a test makes."""

from __future__ import annotations

import pytest

from ebpf_runtime import CEnum, Record, RecordError, enumeration, nested, one_of, s32, tagged, u32, u64


class Kind(CEnum):
    FIRST = 1
    SECOND = 2


class Short(Record, c_name="struct short_one", size=8):
    __slots__ = ()

    kind: Kind = enumeration(0, 4, Kind)
    code: int = s32(4)


class Long(Record, c_name="struct long_one", size=16):
    __slots__ = ()

    kind: Kind = enumeration(0, 4, Kind)
    pid: int = u32(4)
    time: int = u64(8)


SHORT = Short(kind=Kind.FIRST, code=-3)
LONG = Long(kind=Kind.SECOND, pid=5, time=7)
BY_SIZE = one_of(nested(0, Short), nested(0, Long))
BY_KIND = tagged(enumeration(0, 4, Kind), (Kind.FIRST, nested(0, Short)), (Kind.SECOND, nested(0, Long)))


@pytest.mark.parametrize("field", [BY_SIZE, BY_KIND])
@pytest.mark.parametrize("record", [SHORT, LONG])
def test_each_record_is_of_its_type(field: object, record: Short | Long) -> None:
    block = b"before!!" + bytes(record) + b"behind"
    assert field.unpack_sized(block, 8, len(bytes(record))) == record  # type: ignore[attr-defined]
    assert (field.size, field.kind) == (8, "Short | Long")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("record", "padding"), [(SHORT, 4), (LONG, 4)])
def test_what_fills_a_sample_up_is_no_part_of_it(record: Short | Long, padding: int) -> None:
    size = len(bytes(record)) + padding
    assert BY_SIZE.unpack_sized(bytes(record) + bytes(padding), 0, size) == record
    assert BY_KIND.unpack_sized(bytes(record) + bytes(padding), 0, size) == record


@pytest.mark.parametrize(
    ("field", "block", "text"),
    [
        (BY_SIZE, bytes(9), "a record of 9 bytes is none of Short (8), Long (16). Rebuild the probe."),
        (BY_KIND, bytes(3), "a record of 3 bytes has no tag. Rebuild the probe."),
        (
            BY_KIND,
            b"\3" + bytes(15),
            "a record tagged <Kind.UNKNOWN_3: 3> is none of Short | Long. Mark its type with KIND(…).",
        ),
        (BY_KIND, b"\2" + bytes(7), "a record of 8 bytes is no Long of 16. Rebuild the probe."),
    ],
)
def test_what_is_of_no_type_is_told(field: object, block: bytes, text: str) -> None:
    with pytest.raises(RecordError) as caught:
        field.unpack_sized(block, 0, len(block))  # type: ignore[attr-defined]
    assert str(caught.value) == text


def test_a_whole_block_is_one_record() -> None:
    assert BY_SIZE.unpack(bytes(LONG), 0) == LONG
    block = bytearray(16)
    BY_KIND.pack(block, 0, LONG)
    assert bytes(block) == bytes(LONG)
    with pytest.raises(RecordError) as caught:
        BY_KIND.pack(block, 0, 5)
    assert str(caught.value) == "set field 'Short | Long': 5 does not fit Short | Long."
