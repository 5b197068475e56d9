# SPDX-License-Identifier: Apache-2.0
"""Walks over the records of a run: in Python, and by the compiled helper, which must agree."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpf_runtime.libbpf import Library
from ebpf_runtime.streams.runs import Layout, even
from ebpf_runtime.streams.walks import Room, compiled_ring_walk, perf_walk, ring_walk
from tests.support.streams import compiled_walker

BUSY, DISCARDED = 1 << 31, 1 << 30
Helper = Callable[[], Library | None]


def ring_run(records: list[tuple[int, int, int]]) -> bytes:
    """Return the bytes of (size, flags, how many in a row)."""
    one = [pack("=II", size | flags, 7) + bytes(-(-size // 8) * 8) for size, flags, _ in records]
    return b"".join(data * count for data, (_, _, count) in zip(one, records, strict=True))


def expected_ring(records: list[tuple[int, int, int]], length: int = 1 << 32) -> tuple[list[int], list[int], int, int]:
    """Return starts and sizes of the records that begin in that many bytes, the end, and how many are discarded."""
    starts: list[int] = []
    sizes: list[int] = []
    position = discarded = 0
    for size, flags, count in records:
        for _ in range(count):
            if flags & BUSY or position >= length:
                return starts, sizes, position, discarded
            if flags & DISCARDED:
                discarded += 1
            else:
                starts.append(position + 8)
                sizes.append(size)
            position += 8 + -(-size // 8) * 8
    return starts, sizes, position, discarded


def seen(layout: Layout, block: bytes) -> tuple[list[int], list[int], int, int]:
    sizes = layout.sizes_in(block)
    each = [sizes] * len(layout.starts) if isinstance(sizes, int) else list(sizes)
    if not isinstance(sizes, int) and each:
        assert {min(each), max(each)} <= set(sizes.different)
        assert min(sizes.different) == min(each)
    return list(layout.starts), each, layout.end, layout.discarded


def seen_ends(block: bytes) -> list[int]:
    """Return where each record of a perf buffer's run ends."""
    ends = [0]
    while ends[-1] < len(block):
        ends.append(ends[-1] + int.from_bytes(block[ends[-1] + 6 : ends[-1] + 8], "little"))
    return ends


@pytest.fixture(params=["pure Python", "compiled helper"])
def helper(request: pytest.FixtureRequest) -> Helper:
    return compiled_walker if request.param == "compiled helper" else lambda: None


RECORDS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 8, 16, 17, 64, 300)),
        st.sampled_from((0, 0, 0, DISCARDED, BUSY)),
        st.sampled_from((1, 1, 2, 15, 16, 17, 65, 300)),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(records=RECORDS, part=st.floats(0, 1))
def test_a_walk_finds_every_committed_record_and_no_other(records: list[tuple[int, int, int]], part: float) -> None:
    block = ring_run(records)
    for length in (len(block), int(part * len(block)) // 8 * 8):  # the last record of a piece may be longer than it
        wanted = expected_ring(records, length)
        for helper in (lambda: None, compiled_walker):
            assert seen(ring_walk(memoryview(block)[:length], helper), block) == wanted
        assert seen(compiled_ring_walk(compiled_walker(), memoryview(block)[:length]), block) == wanted


def test_records_of_one_size_are_a_range(helper: Helper) -> None:
    layout = ring_walk(memoryview(ring_run([(64, 0, 1000), (64, BUSY, 1)])), helper)
    assert layout.starts == range(8, 72001, 72)
    assert compiled_ring_walk(compiled_walker(), memoryview(ring_run([(64, 0, 1000)]))).starts == range(8, 72001, 72)


def test_a_layout_that_was_made_its_own_outlives_the_next_walk() -> None:
    room = Room()
    block, other = ring_run([(64, 0, 3), (8, 0, 2)]), ring_run([(8, 0, 2), (17, DISCARDED, 1), (64, 0, 400)])
    wanted = expected_ring([(64, 0, 3), (8, 0, 2)])
    layout = ring_walk(memoryview(block), compiled_walker, room)
    layout.own()
    assert seen(ring_walk(memoryview(other), compiled_walker, room), other)[0][:3] == [8, 24, 72]
    assert seen(layout, block) == wanted


def test_samples_and_losses_of_a_perf_buffer(helper: Helper) -> None:
    sample = pack("=IHHI", 9, 1, 24, 12) + b"twelve bytes"
    other = pack("=IHHI", 9, 2, 24, 12) + b"bytes twelve"
    longer = pack("=IHHI", 9, 1, 40, 28) + bytes(28)
    lost = pack("=IHHQQ", 2, 0, 24, 3, 41)
    layout = perf_walk(memoryview(sample * 40), helper)
    assert layout.starts == range(12, 961, 24)
    block = sample * 3 + lost + other * 20 + longer + lost + sample
    layout = perf_walk(memoryview(block), helper)
    starts, sizes, end, _ = seen(layout, block)
    assert starts == [12, 36, 60, *range(108, 108 + 24 * 20, 24), 588, 652]
    assert sizes == [12] * 23 + [28, 12]
    assert (end, layout.lost) == (len(block), 82)
    assert [block[start : start + 12] for start in starts[2:5]] == [b"twelve bytes", b"bytes twelve", b"bytes twelve"]
    for most in range(0, len(block), 8):
        layout = perf_walk(memoryview(block), helper, None, most)
        assert (list(layout.starts), layout.lost) == ([start for start in starts if start - 12 < most],
                                                      41 * ((most > 72) + (most > 616)))  # fmt: skip
        assert layout.end == min(position for position in (0, *seen_ends(block)) if position >= most)
    layout = perf_walk(memoryview(lost), helper)
    assert (list(layout.starts), layout.lost) == ([], 41)
    assert list(perf_walk(memoryview(b""), helper).starts) == []


@pytest.mark.parametrize("first", [1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000])
def test_even_counts_what_is_equal(first: int) -> None:
    for total in {first, first + 1, first + 500}:
        values = [7] * first + list(range(100, 100 + total - first))
        assert even(memoryview(pack(f"={total}I", *values)).cast("I")) == first
