# SPDX-License-Identifier: Apache-2.0
"""Attaching a whole probe: all or none, again after a link was detached, and what is attached by hand stays."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import AttachError, EbpfError, OpenError
from tests.support.kernel import open_files
from tests.support.programs import COUNTERS, GETPPID, load_mine
from tests.support.sources import add_loader_programs, make_module, write_source

pytestmark = [pytest.mark.kernel, pytest.mark.any_kernel]

SOURCE = (
    COUNTERS
    + """
SEC("raw_tp/sys_enter")
int on_enter(__u64 *ctx) { return ctx[1] == CALL ? count_mine(0) : 0; }

SEC("raw_tp/sys_exit")
int on_exit(void *ctx) { return 0; }
""".replace("CALL", str(GETPPID))
)
ABSENT = """
SEC("raw_tp/no_such_event")
int absent(void *ctx) { return 0; }
"""
SIZES = """
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} one SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} other SEC(".maps");

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	__u32 key = 0;

	bpf_map_lookup_elem(&one, &key);
	bpf_map_lookup_elem(&other, &key);
	return bpf_ringbuf_query(&ring, 0) == 1 ? bpf_perf_event_output(ctx, &perf, 0, &key, 4) : 0;
}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("whole")
    return make_module(directory, write_source(directory, "whole", SOURCE))


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("partly")
    return make_module(directory, write_source(directory, "partly", SOURCE + ABSENT))


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("sizes")
    return make_module(directory, write_source(directory, "sizes", SIZES))


def runs(probe: Any) -> int:
    """Return how often the program runs for one call."""
    before = probe.maps.runs[0]
    os.getppid()
    return int(probe.maps.runs[0] - before)


def test_what_was_detached_is_attached_again(whole: ModuleType) -> None:
    with load_mine(whole.Whole.open()) as probe:
        probe.attach()
        first = probe.links.on_enter
        assert (runs(probe), first.attached) == (1, True)
        first.detach()
        assert (probe.links.on_enter, first.attached, runs(probe)) == (None, False, 0)
        assert [name for name, link in probe.links if link is None] == ["on_enter"]
        exit_link = probe.links.on_exit
        probe.attach()
        assert runs(probe) == 1
        assert probe.links.on_enter is not first
        assert probe.links.on_exit is exit_link
        probe.attach()
        assert runs(probe) == 1
        probe.detach()
        assert (probe.links.on_enter, probe.links.on_exit, runs(probe)) == (None, None, 0)


def test_what_is_attached_by_hand_stays_where_the_whole_is_refused(partly: ModuleType) -> None:
    with load_mine(partly.Partly.open()) as probe:
        mine = probe.programs.on_enter.attach()
        files = open_files()
        with pytest.raises(AttachError, match=r"^attach program 'absent' to raw_tp/no_such_event: ENOENT"):
            probe.attach()
        assert [link for _, link in probe.links] == [None, None, None]
        assert (mine.attached, runs(probe), open_files()) == (True, 1, files)
        mine.detach()
        assert runs(probe) == 0


def test_links_that_are_gone_are_not_kept(whole: ModuleType) -> None:
    with load_mine(whole.Whole.open()) as probe:
        for _ in range(5):
            probe.programs.on_enter.attach().detach()
        assert len(probe.programs.on_enter._attached) == 1


@pytest.mark.parametrize("path", ["light", "libbpf"])
def test_sizes_of_buffers(sizes: ModuleType, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "libbpf":
        monkeypatch.setenv("EBPF_LIBBPF", "libbpf.so.1")
    else:
        add_loader_programs(sizes)
    opened = sizes.Sizes.open()
    with pytest.raises(OpenError) as caught:
        opened.resize("ring", (1 << 31) + 1)
    assert str(caught.value) == "resize map 'ring': 2147483649 is not from 1 to 2147483648."
    opened.resize("ring", 5000)
    opened.resize("perf", 1000)
    with opened.load() as probe:
        assert (probe.maps.ring.max_entries, probe.maps.perf.max_entries) == (8192, 1000)


def test_two_maps_are_not_pinned_at_one_path(sizes: ModuleType) -> None:
    opened = sizes.Sizes.open()
    opened.pin_map("one", "/sys/fs/bpf/same")
    opened.pin_map("one", "/sys/fs/bpf/same")
    with pytest.raises(OpenError) as caught:
        opened.pin_map("other", "/sys/fs/bpf/same")
    assert str(caught.value) == "pin map 'other' at /sys/fs/bpf/same: map 'one' is to be pinned there."


def test_a_pin_that_fails_leaves_no_folders(whole: ModuleType, tmp_path: Path) -> None:
    with load_mine(whole.Whole.open()) as probe:
        for where, hint in (
            (tmp_path / "new" / "folder" / "map", ""),
            (Path("/sys/fs/bpf/whole-folder/a.map"), ", whose names have no dots"),
        ):
            with pytest.raises(EbpfError) as caught:
                probe.maps.runs.pin(where)
            assert str(caught.value) == (
                f"pin map 'runs' at {where}: EPERM, operation not permitted. Choose a path in a BPF file system{hint}, "
                "such as /sys/fs/bpf (mount -t bpf bpf /sys/fs/bpf)."
            )
            assert not where.parent.exists()
        assert list(tmp_path.iterdir()) == []
