# SPDX-License-Identifier: Apache-2.0
"""Memory that the entries of large maps are read to, made ready in another thread."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime.maps import walk

MIB = 1 << 20


@pytest.fixture
def populates() -> None:
    try:
        mmap.mmap(-1, mmap.PAGESIZE).madvise(walk._MADV_POPULATE_WRITE)
    except OSError as error:
        pytest.skip(f"the kernel cannot make memory ready: madvise: {error}")


def missing_pages(memory: mmap.mmap) -> int:
    """Return how many pages of a mapping are not there, as the kernel says."""
    first, count = walk.address(memory) // mmap.PAGESIZE, -(-len(memory) // mmap.PAGESIZE)
    with Path("/proc/self/pagemap").open("rb") as pages:
        pages.seek(8 * first)
        return sum(not page >> 63 for page in memoryview(pages.read(8 * count)).cast("Q"))


@pytest.mark.usefixtures("populates")
def test_all_of_it_is_touched_and_nothing_is_changed() -> None:
    keys, values = parts = [mmap.mmap(-1, 5 * MIB + 123), mmap.mmap(-1, 17 * MIB + 4567)]
    values[:5] = b"entry"
    assert missing_pages(keys) > MIB // mmap.PAGESIZE
    with walk.made_ready(parts) as thread:
        assert thread is not None
        thread.join()
    assert [missing_pages(part) for part in parts] == [1, 1]  # the last one, which is not whole
    assert values[:] == b"entry" + bytes(len(values) - 5)
    assert keys[:] == bytes(len(keys))


def test_little_memory_is_left_alone() -> None:
    for parts in ([mmap.mmap(-1, 15 * MIB)], []):
        with walk.made_ready(parts) as thread:
            assert thread is None


@pytest.mark.usefixtures("populates")
def test_keys_too_few_to_be_mapped_are_passed_over() -> None:
    values = mmap.mmap(-1, 20 * MIB)
    with walk.made_ready([bytearray(MIB // 2), values]) as thread:
        assert thread is not None
        thread.join()
    assert not missing_pages(values)


def test_it_stops_at_the_end_of_the_block() -> None:
    values = mmap.mmap(-1, 1024 * MIB)
    with pytest.raises(KeyboardInterrupt), walk.made_ready([values]) as thread:
        raise KeyboardInterrupt
    assert thread is not None
    thread.join()
    assert missing_pages(values) > 512 * MIB // mmap.PAGESIZE


def test_without_a_thread_memory_is_touched_as_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with walk.made_ready([mmap.mmap(-1, 20 * MIB)]) as thread:
        assert thread is None
