# SPDX-License-Identifier: Apache-2.0
"""Names of what this process has loaded; the ids come from the kernel, here from the test."""

from __future__ import annotations

import pytest

from ebpf_runtime import EbpfError, kernel_objects
from ebpf_runtime.handles import forget, note
from ebpf_runtime.kernel_objects import LoadedObject, loaded_objects


@pytest.fixture(autouse=True)
def ids(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The kernel's ids by file descriptor."""
    numbers = {3: 103, 4: 104, 5: 105}

    def object_id(fd: int) -> int:
        if fd not in numbers:
            raise EbpfError("ask about file descriptor", name="object", errno=9)
        return numbers[fd]

    monkeypatch.setattr(kernel_objects, "object_id", object_id)
    assert loaded_objects() == []
    return numbers


def told() -> list[tuple[str, int, str, str]]:
    return [(item.kind, item.id, item.name, item.module) for item in loaded_objects()]


def test_objects_are_told_until_their_owner_discards_them() -> None:
    first, second = object(), object()
    note(first, "oom_kill", [("map", "oom_events_in_full_length", 3), ("program", "oom_kill_raw_tp", 4)])
    note(second, "tcp_queue_length", [("map", ".rodata", 5)])
    assert told() == [
        ("map", 103, "oom_events_in_full_length", "oom_kill"),
        ("program", 104, "oom_kill_raw_tp", "oom_kill"),
        ("map", 105, ".rodata", "tcp_queue_length"),
    ]
    forget(first)
    assert told() == [("map", 105, ".rodata", "tcp_queue_length")]
    forget(second)
    assert told() == []


def test_discarding_twice_is_harmless() -> None:
    owner = object()
    note(owner, "oom_kill", [])
    forget(owner)
    forget(owner)
    assert told() == []


def test_ids_are_asked_for_each_time(ids: dict[int, int]) -> None:
    owner = object()
    note(owner, "oom_kill", [("map", "oom_events", 3)])
    ids[3] = 203
    assert told() == [("map", 203, "oom_events", "oom_kill")]
    del ids[3]
    with pytest.raises(EbpfError, match="ask about file descriptor"):
        loaded_objects()
    forget(owner)


def test_an_object_shows_what_it_is() -> None:
    assert repr(LoadedObject("map", 7, "oom_events", "oom_kill")) == "LoadedObject('map', 7, 'oom_events', 'oom_kill')"
