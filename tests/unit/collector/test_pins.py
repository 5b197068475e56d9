# SPDX-License-Identifier: Apache-2.0
"""The walk through bpffs, over folders of this test; what files hold comes from the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ebpf_collector.inventory import UnreadPins
from ebpf_collector.inventory.pins import find_pins
from ebpf_runtime import EbpfError, PermissionDeniedError, PinnedObject


def mountinfo(*points: Path, kind: str = "bpf") -> str:
    return "".join(f"{n} 1 0:{n} / {point} rw - {kind} none rw\n" for n, point in enumerate(points))


def holding(**objects: PinnedObject | EbpfError | None) -> Callable[[str], PinnedObject | None]:
    """Return what tells the object of a file by its name."""

    def look(path: str) -> PinnedObject | None:
        held = objects[Path(path).name]
        if isinstance(held, EbpfError):
            raise held
        return held

    return look


@pytest.fixture
def bpffs(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("flows", "deep/flows2", "deep/er/prog", "deep/er/link", "other"):
        (tmp_path / name).touch()
    (tmp_path / "symbolic").symlink_to("flows")
    (tmp_path / "circle").symlink_to(tmp_path)
    return tmp_path


def test_everything_is_found_once_and_symbolic_links_are_not_followed(bpffs: Path) -> None:
    look = holding(
        flows=PinnedObject("map", 3, 0),
        flows2=PinnedObject("map", 3, 0),
        prog=PinnedObject("program", 9, 9),
        link=PinnedObject("link", 4, 9),
        other=None,
    )
    found = find_pins(mountinfo(bpffs), look)
    assert dict(found.paths) == {
        ("map", 3): [str(bpffs / "flows"), str(bpffs / "deep/flows2")],
        ("program", 9): [str(bpffs / "deep/er/link"), str(bpffs / "deep/er/prog")],
    }
    assert found.unread == []


def test_a_file_system_that_is_mounted_twice_is_walked_once(bpffs: Path) -> None:
    twice = f"1 1 0:40 / {bpffs} rw - bpf none rw\n2 1 0:40 / {bpffs / 'deep'} rw - bpf none rw\n"
    found = find_pins(twice, lambda path: PinnedObject("map", 3, 0))
    assert len(found.paths["map", 3]) == 3  # those of the mount that came last


def test_other_file_systems_are_left_alone(bpffs: Path) -> None:
    found = find_pins(mountinfo(bpffs, kind="tmpfs"), holding())
    assert (dict(found.paths), found.unread) == ({}, [])


def test_what_cannot_be_read_is_named(bpffs: Path) -> None:
    look = holding(
        flows=PermissionDeniedError("no", name="object", errno=13),
        flows2=EbpfError("gone", name="object", errno=2),
        prog=EbpfError("odd", name="object", errno=22),
        link=None,
        other=None,
    )
    found = find_pins(mountinfo(bpffs, bpffs / "missing"), look)
    assert dict(found.paths) == {}
    assert found.unread == [
        UnreadPins(str(bpffs / "flows"), "EACCES"),
        UnreadPins(str(bpffs / "deep/er/prog"), "EINVAL"),
    ]


def test_a_directory_that_is_a_file_is_named(bpffs: Path) -> None:
    found = find_pins(mountinfo(bpffs / "flows"), lambda path: None)
    assert found.unread == [UnreadPins(str(bpffs / "flows"), "ENOTDIR")]


def test_the_walk_has_an_end(bpffs: Path) -> None:
    found = find_pins(mountinfo(bpffs), lambda path: None, most=3)
    assert [item.reason for item in found.unread] == ["too_many"]
