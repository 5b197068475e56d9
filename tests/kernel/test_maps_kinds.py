# SPDX-License-Identifier: Apache-2.0
"""Every other kind of map on the running kernel."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import (
    ArenaMap,
    ArrayOfMaps,
    HashOfMaps,
    MapError,
    MapFullError,
    MapSpec,
    PermissionDeniedError,
    RecordError,
    Redirection,
    StructOpsMap,
    possible_cpus,
    system_calls,
    u32,
    u64,
)
from tests.support.kernel import open_files
from tests.support.maps import GETPPID, MISSING, SOURCE
from tests.support.sources import make_module, write_source

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.kernel

CPUS = possible_cpus()
_libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def create_options(btf_fd: int = 0, btf_vmlinux_value_type_id: int = 0, map_flags: int = 0) -> bytes:
    """Return struct bpf_map_create_opts."""
    return struct.pack("=QIIIIIIQII", 48, btf_fd, 0, 0, btf_vmlinux_value_type_id, 0, map_flags, 0, 0, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("kinds")
    return make_module(directory, write_source(directory, "kinds", SOURCE))


@pytest.fixture
def probe(made: ModuleType) -> Iterator[Any]:
    opened = made.Kinds.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as loaded:
        yield loaded


def present(name: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where the kernel has no maps of the type that *name* is of."""
    return pytest.mark.skipif(name in MISSING, reason=MISSING.get(name, ""))


@pytest.fixture
def maps(probe: Any) -> Any:
    return probe.maps


def test_arrays_are_read_in_batches(maps: Any) -> None:
    maps.numbers.update((index, index * 2) for index in range(5000))
    assert list(maps.numbers) == [index * 2 for index in range(5000)]
    assert list(maps.numbers.items())[4999] == (4999, 9998)
    assert maps.numbers.to_numpy().tolist() == list(maps.numbers)
    indices, values = maps.numbers.columns()
    assert (indices.tolist(), values.tolist()) == (list(range(5000)), list(maps.numbers))
    assert len(maps.numbers) == 5000
    assert (maps.numbers.get(4999), maps.numbers.get(5000), maps.numbers.get(-1, "none")) == (9998, None, "none")
    with pytest.raises(IndexError, match="map 'numbers' has entries 0 to 4999, not 5000"):
        maps.numbers[5000]
    text = r"borrow map 'numbers': it is not mapped\. Give it the flag BPF_F_MMAPABLE\."
    with pytest.raises(MapError, match=text), maps.numbers.borrow():
        pass


@pytest.mark.parametrize("name", ["numbers", "mapped", "cells"])
def test_an_index_is_any_integer(made: ModuleType, maps: Any, name: str) -> None:
    array = getattr(maps, name)
    value = {"numbers": 7, "mapped": made.WideValue.zeroed(count=7), "cells": (7,) * CPUS}[name]
    for integer in (3, numpy.int64(3), numpy.uint8(3)):
        array[integer] = value
        assert array[integer] == array.get(integer) == array.lookup(integer) == value
    array.update({numpy.int16(1): value})
    assert array[True] == array[1] == value  # as for hashes
    assert array.get(numpy.int64(5000), "none") == array.get(-1, "none") == "none"
    for wrong in ("x", 3.0, numpy.float64(3), None, numpy.int64(5000)):
        with pytest.raises(IndexError) as caught:
            array[wrong]
        assert str(caught.value) == f"map {name!r} has entries 0 to {len(array) - 1}, not {wrong!r}"
    for wrong in ("x", 3.0, numpy.float64(3), None):
        with pytest.raises(IndexError) as caught:
            array.get(wrong, "none")
        assert str(caught.value) == f"map {name!r} has entries 0 to {len(array) - 1}, not {wrong!r}"


def test_an_index_is_any_integer_also_of_maps_that_are_no_plain_arrays(probe: Any, outer: Any) -> None:
    maps, one = probe.maps, numpy.int64(1)
    probe.programs.on_call.attach()
    os.getppid()
    number = probe.data.last_stack
    assert maps.stacks[numpy.int64(number)] == maps.stacks[number]
    assert numpy.int64(number) in maps.stacks
    assert maps.stacks.delete(numpy.int64(number)) is True
    maps.programs[one] = probe.programs.on_tail_call
    assert (maps.programs[one], one in maps.programs, list(maps.programs)) == (maps.programs[1], True, [1])
    maps.devices[one] = "lo"
    assert maps.devices.pop(one) == Redirection(1)
    with outer.by_index[one] as inner:
        outer.by_index[numpy.int64(0)] = inner
    assert sorted(outer.by_index) == [0, 1]
    for entries, count in ((maps.programs, 4), (outer.by_index, 3)):
        with pytest.raises(IndexError) as caught:
            entries[1.0]
        assert str(caught.value) == f"map {entries.name!r} has entries 0 to {count - 1}, not 1.0"


def test_mapped_arrays_are_memory(made: ModuleType, probe: Any) -> None:
    mapped = probe.maps.mapped
    mapped[3] = made.WideValue(count=1 << 40, balance=-3, ranks=(4, 5))
    assert mapped[3].ranks == (4, 5)
    # The kernel sees it: libbpf's lookup goes through the system call.
    value = ctypes.create_string_buffer(24)
    assert _libbpf.bpf_map_lookup_elem(mapped.fd, (3).to_bytes(4, "little"), value) == 0
    assert value.raw[:20] == bytes(mapped[3])
    kept = mapped[0]
    probe.attach()
    for _ in range(7):
        os.getppid()
    assert mapped[0].count == 7
    assert kept.count == 0  # what was read is of that moment
    with mapped.borrow() as array:
        before = int(array["count"][0])
        os.getppid()
        assert int(array["count"][0]) == before + 1
        array["balance"][1] = -77
    assert mapped[1].balance == -77
    copy = mapped.to_numpy()
    assert (copy["ranks"][3].tolist(), len(copy)) == ([4, 5], 1000)
    assert [value.balance for value in mapped][:4] == [0, -77, 0, -3]
    with pytest.raises(IndexError, match="map 'mapped' has entries 0 to 999, not -1"):
        mapped[-1]
    with pytest.raises(RecordError, match="does not fit WideValue"):
        mapped[0] = 5


def test_a_mapped_array_that_closes_meanwhile_is_read_to_the_end(made: ModuleType) -> None:
    with made.Kinds.open_and_load() as probe:
        mapped = probe.maps.mapped
        mapped[3] = made.WideValue(count=5, balance=-3, ranks=(4, 5))
        unpack = mapped._unpack_value

        def slowly(memory: Any, offset: int) -> Any:
            probe.close()  # as another thread would, between the check and the reading
            return unpack(memory, offset)

        mapped._unpack_value = slowly
        assert mapped[3].count == 5
        with pytest.raises(MapError) as caught:
            mapped[3]
        assert str(caught.value) == "look up in map 'mapped': the probe is closed."


FLAGGED = """
#define MAPPED(name, flags) \\
	struct { \\
		__uint(type, BPF_MAP_TYPE_ARRAY); \\
		__uint(max_entries, 1000); \\
		__uint(map_flags, 1 << 10 /* BPF_F_MMAPABLE */ | flags); \\
		__type(key, __u32); \\
		__type(value, __u32); \\
	} name SEC(".maps")

MAPPED(plain, 0);
MAPPED(program_reads, 1 << 7 /* BPF_F_RDONLY_PROG */);
MAPPED(program_writes, 1 << 8 /* BPF_F_WRONLY_PROG */);
MAPPED(user_reads, 1 << 3 /* BPF_F_RDONLY */);
MAPPED(user_writes, 1 << 4 /* BPF_F_WRONLY */);
"""


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("flagged")
    return make_module(directory, write_source(directory, "flagged", FLAGGED))


def test_arrays_that_may_not_be_mapped_for_writing_are_mapped_for_reading(flagged: ModuleType) -> None:
    with flagged.Flagged.open_and_load() as probe:
        entries = probe.maps.program_reads
        entries[3] = 33
        entries.update({4: 44, 5: 55})
        assert (entries[3], list(entries)[:6]) == (33, [0, 0, 0, 33, 44, 55])
        with entries.borrow() as array:
            assert (array[5], array.flags.writeable) == (55, False)
            entries[5] = 56
            assert array[5] == 56
        assert entries.to_numpy().sum() == 33 + 44 + 56
        assert entries.columns()[1][4] == 44
        probe.maps.program_writes[1] = 11
        with probe.maps.program_writes.borrow() as array:
            array[2] = 22
        assert list(probe.maps.program_writes)[:3] == [0, 11, 22]


def test_arrays_say_what_their_flags_forbid_to_user_space(flagged: ModuleType) -> None:
    with flagged.Flagged.open_and_load() as probe:
        user_reads, user_writes = probe.maps.user_reads, probe.maps.user_writes
        assert user_reads[999] == 0
        user_writes[1] = 5
        uses: list[tuple[str, Callable[[], Any]]] = [
            ("update map 'user_reads': EPERM, it is frozen,", lambda: user_reads.update_elem(1, 1)),
            ("look up in map 'user_writes': EPERM, it is frozen,", lambda: user_writes[1]),
            ("iterate over map 'user_writes': EPERM, it is frozen,", lambda: list(user_writes)),
        ]
        for text, use in uses:
            with pytest.raises(MapError) as caught:
                use()
            assert str(caught.value) == f"{text} or its flags forbid it to user space."
        for entries in (user_reads, user_writes):
            with pytest.raises(MapError) as caught, entries.borrow():
                pass
            assert str(caught.value) == f"borrow map '{entries.name}': it is not mapped, as its flags forbid it."


def test_a_frozen_array_is_mapped_for_reading(flagged: ModuleType, pins: Path) -> None:
    with flagged.Flagged.open_and_load() as probe:
        probe.maps.plain[7] = 77
        probe.maps.plain.pin(pins / "plain")
        with pytest.raises(MapError) as caught:
            probe.maps.plain.freeze()
        assert str(caught.value) == (
            "freeze map 'plain': EBUSY, device or resource busy. Its memory is mapped for writing."
        )
    opened = flagged.Flagged.open()
    opened.pin_map("plain", pins / "plain")
    with opened.load() as other:
        fd = system_calls.object_get(os.fsencode(pins / "plain"))
        assert system_calls.map_freeze(fd) == 0
        os.close(fd)
        assert other.maps.plain[7] == 77
        with pytest.raises(MapError) as caught:
            other.maps.plain[7] = 78
        assert str(caught.value) == ("update map 'plain': EPERM, it is frozen, or its flags forbid it to user space.")
        assert list(other.maps.plain)[7] == 77


def test_per_cpu_arrays(probe: Any) -> None:
    cells = probe.maps.cells
    cells[1] = tuple(range(10, 10 + CPUS))
    probe.attach()
    for _ in range(11):
        os.getppid()
    assert cells.sum(0) == 11
    assert cells.max(1) == 9 + CPUS
    assert list(cells.reduced("min")) == [min(values) for values in cells]
    assert cells.to_numpy().shape == (5, CPUS)
    assert cells.to_numpy(reduce="sum").tolist() == [11, sum(range(10, 10 + CPUS)), 0, 0, 0]


def test_longest_prefixes(made: ModuleType, maps: Any) -> None:
    routes = maps.routes
    networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32", "0.0.0.0/0"]
    for number, network in enumerate(networks):
        routes[routes.prefix(network)] = number
    assert routes[routes.prefix("10.1.2.3")] == 2
    assert routes[routes.prefix(ipaddress.ip_address("10.1.9.9"))] == 1
    assert routes[routes.prefix(ipaddress.ip_network("10.200.0.0/16"))] == 0
    assert routes[routes.prefix("2001:db8::1")] == 3
    assert len(routes) == 5
    assert {key.length: value for key, value in routes.items()} == {8: 0, 16: 1, 24: 2, 32: 3, 0: 4}
    assert routes.network(routes.prefix("2001:db8::/32")) == ipaddress.ip_network("2001:db8::/32")
    del routes[routes.prefix("10.1.2.0/24")]
    assert routes[routes.prefix("10.1.2.3")] == 1
    with pytest.raises(KeyError):
        del routes[routes.prefix("10.1.2.0/24")]
    with pytest.raises(RecordError, match=r"make a key of map 'routes': 10\.0\.0\.1/8 has host bits set"):
        routes.prefix("10.0.0.1/8")
    # The kernel cannot take entries of this type out in one step, so it is done in two.
    assert routes.pop(routes.prefix("10.1.0.0/16")) == 1
    assert sorted(value for _, value in routes.drain()) == [0, 3, 4]
    assert len(routes) == 0


def test_a_walk_over_prefixes_survives_deletion(maps: Any) -> None:
    routes = maps.routes
    for number in range(100):
        routes[routes.prefix(f"10.{number}.0.0/16")] = number
    found = []
    for key, value in routes.items():
        found.append(value)
        routes.delete(key)
    assert sorted(found) == list(range(100))
    assert len(routes) == 0


def test_queues_and_stacks(made: ModuleType, maps: Any) -> None:
    for number in (1, 2, 3):
        maps.queue.push(number)
    with pytest.raises(MapFullError, match="push into map 'queue': E2BIG, it is full; it holds at most 3 entries"):
        maps.queue.push(4)
    maps.queue.push(4, replace=True)
    assert maps.queue.peek() == 2
    assert [maps.queue.pop(), maps.queue.pop(), maps.queue.pop(), maps.queue.pop()] == [2, 3, 4, None]
    assert maps.queue.peek() is None
    values = [made.WideValue(count=number, balance=-number, ranks=(number, 0)) for number in range(3)]
    for value in values:
        maps.stack.push(value)
    assert maps.stack.peek() == values[2]
    assert list(maps.stack.drain()) == values[::-1]
    with pytest.raises(RecordError, match="does not fit u32"):
        maps.queue.push(-1)


@present("bloom")
def test_bloom_filters(maps: Any) -> None:
    for number in range(0, 100, 2):
        maps.bloom.push(number)
    assert all(number in maps.bloom for number in range(0, 100, 2))
    assert sum(number in maps.bloom for number in range(1001, 3001, 2)) < 500


@present("bloom")
def test_what_cannot_be_a_value_is_in_no_bloom_filter(maps: Any) -> None:
    for wrong in ("x", -1, 1 << 64, None, 1.5):
        assert wrong not in maps.bloom
        with pytest.raises(RecordError, match=r"^set field 'u64': .* does not fit u64\.$"):
            maps.bloom.push(wrong)


def test_what_cannot_be_a_key_is_in_no_map(maps: Any, outer: Any) -> None:
    arrays = (maps.programs, maps.sockets, maps.listeners, maps.cpus, maps.devices, outer.by_index)
    hashes = (maps.sockets_hash, maps.sock_hash_short, outer.by_name, maps.small)
    for entries in arrays:
        for index in (99, 1 << 31, numpy.int64(99)):
            assert index not in entries
            assert (entries.get(index), entries.get(index, "none"), entries.pop(index, "none")) == (
                None,
                "none",
                "none",
            )
            with pytest.raises(KeyError):
                entries.pop(index)
    for entries in (*arrays, *hashes, maps.stacks, maps.sockets_short):
        for wrong in ("x", None, 1.0, -1, 1 << 64):
            assert wrong not in entries
    for entries in (maps.programs, maps.sockets, outer.by_index):  # as of plain arrays
        for use in (entries.get, entries.pop, entries.lookup):
            with pytest.raises(IndexError, match=r"has entries 0 to \d, not 'x'"):
                use("x")


def test_what_is_no_object_of_the_kernel_is_put_into_no_map(maps: Any, outer: Any) -> None:
    wrong: Any
    for wrong in ("x", Path("/nosuch"), None, [], 1.5, 1 << 31, -1):
        for entries, key in ((outer.by_index, 0), (outer.by_name, 5)):
            with pytest.raises(MapError) as caught:
                entries[key] = wrong
            assert str(caught.value) == f"update map {entries.name!r}: {wrong!r} is no open map."
    for wrong, reason in (("/nosuch", "ENOENT, no such file or directory"), (None, "EBADF, bad file descriptor")):
        for entries in (maps.programs, maps.sockets, maps.listeners, maps.xsks, maps.cgroups):
            with pytest.raises(MapError) as caught:
                entries[0] = wrong
            assert str(caught.value) == f"open {wrong!r} for map {entries.name!r}: {reason}."
    for wrong in ([], 1.5, 1 << 31):
        with pytest.raises(MapError, match=r"^open .* for map 'programs': EBADF, bad file descriptor\.$"):
            maps.programs[0] = wrong
    with pytest.raises(MapError, match=r"^update map 'programs': EBADF, bad file descriptor\.$"):
        maps.programs[0] = -(1 << 40)
    with pytest.raises(MapError) as caught:
        maps.by_socket[None] = 1
    assert str(caught.value) == "open None to update map 'by_socket': EBADF, bad file descriptor."


def test_program_arrays(probe: Any) -> None:
    programs = probe.maps.programs
    probe.programs.on_call.attach()
    os.getppid()
    assert probe.bss.calls == 1
    programs[1] = probe.programs.on_tail_call
    os.getppid()
    assert probe.bss.calls == 1002
    assert programs[1] > 0
    assert programs.lookup(0) is None
    with pytest.raises(KeyError):
        programs[0]
    assert (1 in programs, 0 in programs) == (True, False)
    assert dict(programs.items()) == {1: programs.get(1)}
    assert (programs.get(0), programs.get(0, "none")) == (None, "none")
    assert programs.pop(1) > 0
    os.getppid()
    assert probe.bss.calls == 1003
    programs.update({0: probe.programs.on_call, 3: probe.programs.on_call})
    assert list(programs) == list(programs.keys()) == [0, 3]
    programs.clear()
    assert list(programs) == []
    with pytest.raises(KeyError):
        del programs[1]
    with pytest.raises(IndexError, match="map 'programs' has entries 0 to 3, not 4"):
        programs[4] = probe.programs.on_tail_call
    with pytest.raises(MapError, match="update map 'programs': EBADF"):
        programs[0] = 987654


@pytest.fixture(scope="module")
def cgroup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cgroup of version 2."""
    root = tmp_path_factory.mktemp("cgroup")
    subprocess.run(["mount", "-t", "cgroup2", "none", str(root)], check=True)
    path = root / "ebpf-runtime-maps"
    path.mkdir()
    try:
        yield str(path)
    finally:
        path.rmdir()
        subprocess.run(["umount", str(root)], check=True)


def test_cgroup_arrays(maps: Any, cgroup: str) -> None:
    maps.cgroups[2] = cgroup
    assert maps.cgroups.delete(2) is True
    assert maps.cgroups.delete(2) is False
    maps.cgroups.update({1: cgroup, 3: cgroup})
    maps.cgroups.clear()
    assert [maps.cgroups.delete(index) for index in range(4)] == [False] * 4
    with pytest.raises(MapError, match="open '/nosuch' for map 'cgroups': ENOENT, no such file or directory"):
        maps.cgroups[1] = "/nosuch"


def test_stacks(probe: Any) -> None:
    probe.programs.on_call.attach()
    os.getppid()
    number = probe.data.last_stack
    assert number >= 0
    stacks = probe.maps.stacks
    frames = stacks[number]
    assert frames
    assert all(frame > 1 << 63 for frame in frames)
    assert list(stacks) == [number]
    assert dict(stacks.items()) == {number: frames}
    assert any("sys" in name or "trace" in name for name in stacks.symbols(number))
    assert (stacks.get(number), stacks.get(number + 1)) == (frames, None)
    assert number in stacks
    assert stacks.pop(number) == frames
    assert stacks.pop(number) is None
    os.getppid()
    assert list(stacks.keys()) == [probe.data.last_stack]
    stacks.clear()
    assert list(stacks) == []
    assert stacks.lookup(number) is None
    assert stacks.lookup(-14) is None  # an error that a program noted
    with pytest.raises(KeyError):
        stacks[number]


@pytest.mark.parametrize("number", [4096, 1 << 32, -14])
def test_there_are_no_stacks_beyond_the_end(probe: Any, number: int) -> None:
    probe.programs.on_call.attach()
    os.getppid()
    stacks = probe.maps.stacks
    for change in (stacks.delete, stacks.__delitem__):
        with pytest.raises(IndexError) as caught:
            change(number)
        assert str(caught.value) == f"map 'stacks' has entries 0 to 4095, not {number}"
    assert (stacks.get(number), stacks.pop(number, "none"), number in stacks) == (None, "none", False)
    assert stacks.lookup(probe.data.last_stack + (1 << 32)) is None
    with pytest.raises(KeyError):
        stacks[number]
    stacks.clear()
    assert stacks.delete(4095) is False  # the kernel has rounded 3000 up


def test_a_walk_over_stacks_survives_deletion(probe: Any) -> None:
    probe.programs.on_call.attach()
    for _ in range(4):
        os.getppid()
    stacks = probe.maps.stacks
    numbers = list(stacks)
    assert len(numbers) > 2
    walked = []
    for number in stacks:
        walked.append(number)
        assert len(walked) <= len(numbers)
        if number != numbers[0]:
            assert stacks.delete(number)
    assert walked == numbers
    assert list(stacks) == numbers[:1]


@present("by_task")
def test_storage_of_tasks(maps: Any) -> None:
    by_task = maps.by_task
    assert_stores(by_task, os.getpid(), os.getpid())
    assert by_task.lookup(os.getpid()) is None
    by_task[os.getpid()] = 42
    assert by_task[os.getpid()] == 42
    pidfd = os.pidfd_open(os.getpid())
    with os.fdopen(pidfd, "rb") as process:
        assert by_task[process] == 42
        assert process in by_task
    with pytest.raises(MapError, match="update map 'by_task': EEXIST"):
        by_task.update_elem(os.getpid(), 1, exist=False)
    del by_task[os.getpid()]
    with pytest.raises(KeyError):
        by_task[os.getpid()]
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(MapError, match=rf"open {child.pid} to look up in map 'by_task': ESRCH, no such process\."):
        by_task.lookup(child.pid)


def assert_stores(entries: Any, owner: Any, other: Any) -> None:
    """Store something with an owner that is also named in another way."""
    assert owner not in entries
    assert (entries.get(owner), entries.get(owner, 0)) == (None, 0)
    with pytest.raises(KeyError):
        entries.pop(owner)
    entries.update({owner: 6})
    assert entries.get(other) == 6
    assert entries.pop(owner) == 6
    assert entries.pop(other, None) is None
    entries[owner] = 7
    assert entries[other] == 7
    assert entries.delete(owner) is True
    assert entries.delete(other) is False


def test_storage_of_sockets(maps: Any) -> None:
    with socket.socket() as plug:
        assert_stores(maps.by_socket, plug, plug.fileno())


@present("by_inode")
def test_storage_of_inodes(maps: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    try:
        maps.by_inode[path] = 1
    except MapError as error:
        if error.errno != errno.EBADF:
            raise
        pytest.skip("the kernel keeps no room beside inodes where no security module wants it (before 5.13: Landlock)")
    del maps.by_inode[path]
    assert_stores(maps.by_inode, path, str(path))
    with pytest.raises(MapError, match="open '/nosuch' to look up in map 'by_inode': ENOENT"):
        maps.by_inode.lookup("/nosuch")


@present("by_cgroup")
def test_storage_of_cgroups(maps: Any, cgroup: str) -> None:
    assert_stores(maps.by_cgroup, cgroup, Path(cgroup))


def test_device_maps(maps: Any) -> None:
    index = socket.if_nametoindex("lo")
    maps.devices[1] = "lo"
    maps.devices[3] = index
    assert maps.devices[1] == Redirection(index)
    assert dict(maps.devices.items()) == {1: Redirection(index), 3: Redirection(index)}
    del maps.devices[1]
    assert list(maps.devices.items()) == [(3, Redirection(index))]
    with pytest.raises(MapError, match=r"find device 'nosuch0' for map 'devices': ENODEV, no such device\."):
        maps.devices[0] = "nosuch0"
    with pytest.raises(RecordError, match="its values have no place for a program"):
        maps.devices[0] = Redirection(index, 5)
    maps.devices_hash[77] = "lo"
    assert dict(maps.devices_hash) == {77: Redirection(index)}
    assert maps.devices_hash.pop(77) == Redirection(index)
    assert len(maps.devices_hash) == 0


def test_a_device_whose_name_cannot_be_one_is_refused(maps: Any) -> None:
    for name in ("lo\0", "\ud800"):
        with pytest.raises(RecordError) as caught:
            maps.devices[0] = name
        assert str(caught.value) == (
            f"find device {name!r} for map 'devices': no device has such a name. Take one of `ip link`."
        )
    assert 0 not in maps.devices


@pytest.mark.parametrize("name", ["devices", "cpus"])
@pytest.mark.parametrize("index", [4, 99, -1])
def test_device_and_cpu_arrays_have_no_entries_beyond_their_end(maps: Any, name: str, index: int) -> None:
    entries = getattr(maps, name)
    for change, arguments in (
        (entries.__setitem__, (index, 1)),
        (entries.update_elem, (index, Redirection(1))),
        (entries.delete, (index,)),
        (entries.__delitem__, (index,)),
    ):
        with pytest.raises(IndexError) as caught:
            change(*arguments)
        assert str(caught.value) == f"map {name!r} has entries 0 to 3, not {index}"
    if index >= 0:
        assert (entries.pop(index, None), entries.get(index), index in entries) == (None, None, False)
        with pytest.raises(IndexError):
            entries.update({index: 1})
    entries.update({0: 1})
    assert list(entries) == [0]


def test_numbers_of_device_hashes_are_any(maps: Any) -> None:
    maps.devices_hash[99] = "lo"
    assert (maps.devices_hash.pop(99, None), maps.devices_hash.delete(99)) == (Redirection(1), False)
    for number in range(4):
        maps.devices_hash[number << 8] = "lo"
    with pytest.raises(MapFullError) as caught:
        maps.devices_hash[99] = "lo"
    assert str(caught.value) == (
        "update map 'devices_hash': E2BIG, it is full; it holds at most 4 entries. "
        "Delete some, or make it larger before load."
    )


def test_cpu_maps(maps: Any) -> None:
    maps.cpus[0] = 192
    assert maps.cpus[0] == Redirection(192)
    assert 1 not in maps.cpus
    assert dict(maps.cpus) == {0: Redirection(192)}
    with pytest.raises(MapError, match="update map 'cpus': E"):
        maps.cpus[1] = 1 << 20


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cpus", (1 << 32) + 192, f"{(1 << 32) + 192} does not fit u32."),
        ("cpus", -1, "-1 does not fit u32."),
        ("cpus", Redirection(1 << 32), f"{1 << 32} does not fit u32."),
        ("cpus", Redirection(1, (1 << 32) + 5), f"{(1 << 32) + 5} is no program's file descriptor."),
        ("cpus", Redirection(1, -1), "-1 is no program's file descriptor."),
        ("cpus", (1, 2, 3), "(1, 2, 3) is no number."),
        ("devices", (1 << 32) + 1, f"{(1 << 32) + 1} does not fit u32."),
        ("devices_hash", (1 << 32) + 1, f"{(1 << 32) + 1} does not fit u32."),
    ],
)
def test_no_target_or_program_is_cut(maps: Any, name: str, value: Any, reason: str) -> None:
    entries = getattr(maps, name)
    stores: tuple[Callable[[], Any], ...] = (
        lambda: entries.__setitem__(0, value),
        lambda: entries.update({0: value}),
    )
    for store in stores:
        with pytest.raises(RecordError) as caught:
            store()
        assert str(caught.value) == f"update map {name!r}: {reason}"
    assert list(entries) == []


def test_xsk_maps(maps: Any) -> None:
    address_family_xdp = 44
    with socket.socket(address_family_xdp, socket.SOCK_RAW) as plug:
        plug.setsockopt(283, 2, 64)  # SOL_XDP, XDP_RX_RING: Linux 7.2 wants a ring to receive into
        maps.xsks[0] = plug
        del maps.xsks[0]
        maps.xsks.update({1: plug})
        maps.xsks.clear()
        maps.xsks[1] = plug
    with (
        socket.socket() as plug,
        pytest.raises(MapError, match=r"update map 'xsks': E(OP)?NOTSUPP?, operation not supported"),
    ):
        maps.xsks[0] = plug  # of another family


def cookie(plug: socket.socket) -> int:
    return int.from_bytes(plug.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder)


def test_socket_maps(maps: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        maps.sockets[2] = client
        maps.sockets_hash[1 << 40] = client.fileno()
        assert maps.sockets[2] == cookie(client)
        assert maps.sockets_hash[1 << 40] == cookie(client)
        for entries, key in ((maps.sockets, 2), (maps.sockets_hash, 1 << 40)):
            assert dict(entries.items()) == {key: cookie(client)}
            assert key in entries
            assert (entries.get(key), entries.get(1)) == (cookie(client), None)
            assert entries.pop(key) == cookie(client)
            assert entries.pop(key, None) is None
            assert list(entries.keys()) == []
            entries.update({key: client})
            entries.clear()
            entries.update([(key, client)])
        assert (len(maps.sockets), len(maps.sockets_hash)) == (4, 1)
        assert maps.sockets.delete(2) is True
        del maps.sockets_hash[1 << 40]
        assert maps.sockets.lookup(2) is None
        with pytest.raises(KeyError):
            maps.sockets_hash[1 << 40]
        with pytest.raises(MapError, match="update map 'sockets': E"):
            maps.sockets[1] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


COOKIES_NEED_8_BYTES = "its values have 4 bytes, a socket's cookie needs 8. Declare the value as __u64 to read it."


def assert_not_shown(entries: Any, key: int) -> None:
    """Assert that what would read a value says why it cannot, and takes nothing out."""
    for read in (
        entries.lookup,
        entries.get,
        entries.pop,
        entries.__getitem__,
        lambda _: list(entries.items()),
        lambda _: list(entries.values()),
    ):
        with pytest.raises(MapError) as caught:
            read(key)
        assert type(caught.value) is MapError
        assert str(caught.value) == f"look up in map {entries.name!r}: {COOKIES_NEED_8_BYTES}"
        assert caught.value.errno == errno.ENOSPC
    assert entries.delete(key) is True
    assert entries.delete(key) is False
    with pytest.raises(KeyError):
        del entries[key]


def test_socket_hashes_with_short_values_are_walked_and_emptied(maps: Any) -> None:
    entries = maps.sock_hash_short
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        entries.update({1 << 31: client, 7: client})
        assert sorted(entries) == sorted(entries.keys()) == [7, 1 << 31]
        assert (len(entries), 7 in entries, 8 in entries) == (2, True, False)
        assert_not_shown(entries, 7)
        assert (list(entries), 7 in entries) == ([1 << 31], False)
        entries.update({7: client, 8: client})
        for key in entries:
            del entries[key]
        assert len(entries) == 0
        entries.update({7: client, 8: client})
        entries.clear()
        assert list(entries) == []


def test_socket_arrays_with_short_values_are_emptied(maps: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        entries = maps.sockets_short
        entries[2] = client
        # The kernel gives the same answer for every index, with a socket or without.
        for ask in (lambda: 2 in entries, lambda: list(entries), lambda: list(entries.keys())):
            with pytest.raises(MapError) as caught:
                ask()
            assert str(caught.value) == f"look up in map 'sockets_short': {COOKIES_NEED_8_BYTES}"
        assert_not_shown(entries, 2)
        entries.update({0: client, 3: client})
        entries.clear()
        assert [entries.delete(index) for index in range(4)] == [False] * 4
        assert len(entries) == 4


def test_reuseport_arrays_with_short_values_are_emptied(maps: Any) -> None:
    entries = maps.listeners_short
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        entries[1] = server
        assert_not_shown(entries, 1)
        entries[1] = server
        entries.clear()
        assert [entries.delete(index) for index in range(4)] == [False] * 4


def test_an_empty_entry_of_a_socket_map_may_be_deleted(maps: Any) -> None:
    assert maps.sockets.delete(1) is False
    with pytest.raises(KeyError):
        del maps.sockets[1]
    assert maps.sockets_hash.delete(1) is False


def test_reuseport_arrays(maps: Any) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        maps.listeners[0] = server
        assert maps.listeners[0] == cookie(server)
        del maps.listeners[0]
        with pytest.raises(KeyError):
            maps.listeners[0]


OUTER = """
struct inner_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, struct inner_map);
} by_index SEC(".maps") = { .values = { [1] = &first } };

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, __u64);
	__array(values, struct inner_map);
} by_name SEC(".maps");
"""
INNER = MapSpec("inner", "HASH", key=u32(0), value=u64(0), max_entries=10)


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[Any]:
    with make_module(tmp_path, write_source(tmp_path, "outer", OUTER)).Outer.open_and_load() as probe:
        probe.maps.by_index.inner = probe.maps.by_name.inner = INNER
        yield probe.maps


def test_maps_of_maps(outer: Any) -> None:
    by_index: ArrayOfMaps[Any] = outer.by_index
    by_name: HashOfMaps[int, Any] = outer.by_name
    outer.first[5] = 55
    files = len(open_files())
    with by_index[1] as inner:
        assert inner[5] == 55
        inner[6] = 66
    assert outer.first[6] == 66
    assert by_index.lookup(0) is None
    with pytest.raises(KeyError):
        by_index[2]
    with pytest.raises(IndexError, match="map 'by_index' has entries 0 to 2, not 3"):
        by_index[3]
    with by_name.create() as inner:
        inner[1] = 11
        by_name[1 << 40] = inner
        by_index[0] = inner
    by_name[7] = outer.first
    assert {key: dict(inner) for key, inner in by_name.items()} == {1 << 40: {1: 11}, 7: {5: 55, 6: 66}}
    assert sorted(by_index.ids()) == [0, 1]
    assert by_name.ids()[7] == outer.first.id
    assert len(by_name) == 2
    assert 7 in by_name
    del by_name[7]
    assert 7 not in by_name
    with pytest.raises(KeyError):
        del by_name[7]
    with pytest.raises(MapError, match="update map 'by_name': EINVAL"):
        by_name[8] = outer.by_index
    with pytest.raises(ResourceWarning, match=r"map 'by_index\.\d+' was never closed"):
        with pytest.warns(ResourceWarning) as caught:
            by_index.lookup(1)
        raise caught[0].message  # type: ignore[misc]
    assert len(open_files()) == files


def test_maps_of_maps_have_the_methods_of_mappings(outer: Any) -> None:
    by_name, by_index = outer.by_name, outer.by_index
    outer.first[5] = 55
    files = len(open_files())
    by_name.update({7: outer.first})
    by_name.update([(8, outer.first), (9, outer.first)])
    assert sorted(by_name.keys()) == sorted(by_name) == [7, 8, 9]
    assert [inner[5] for inner in by_name.values()] == [55, 55, 55]
    with by_name.get(7) as inner:
        assert inner[5] == 55
    assert by_name.get(1) is None
    assert by_name.get(1, "none") == "none"
    with by_name.pop(7) as inner:
        assert inner[5] == 55
    assert 7 not in by_name
    assert by_name.pop(7, None) is None
    with pytest.raises(KeyError):
        by_name.pop(7)
    by_name.clear()
    assert (len(by_name), list(by_name)) == (0, [])
    by_index.update({0: outer.first})
    assert list(by_index.keys()) == [0, 1]
    with by_index.pop(0), by_index.get(1) as inner:
        assert inner[5] == 55
    assert by_index.get(0) is None
    by_index.clear()
    assert list(by_index) == []
    assert len(open_files()) == files


def test_a_forgotten_inner_map_is_closed_where_warnings_are_errors(outer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outer.first[5] = 55
    before = open_files()
    raised: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: raised.append(str(what.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert outer.by_index[1][5] == 55
    assert raised == [f"map 'by_index.{outer.first.id}' was never closed"]
    assert open_files() == before


def test_a_closed_inner_map_says_that_it_is_closed_and_not_the_probe(outer: Any) -> None:
    outer.first[5] = 55
    with outer.by_index[1] as inner:
        pass
    name = f"map 'by_index.{outer.first.id}'"
    uses: list[tuple[str, Callable[[], Any]]] = [
        (f"look up in {name}: it is closed.", lambda: inner[5]),
        (f"ask about {name}: it is closed.", lambda: inner.id),
        (f"freeze {name}: it is closed.", inner.freeze),
        (f"pin {name} at /sys/fs/bpf/inner: it is closed.", lambda: inner.pin("/sys/fs/bpf/inner")),
        (
            f"update map 'by_name': <HashMap 'by_index.{outer.first.id}' HASH fd=-1> is no open map.",
            lambda: outer.by_name.__setitem__(1, inner),
        ),
    ]
    for text, use in uses:
        with pytest.raises(MapError) as caught:
            use()
        assert str(caught.value) == text
    assert outer.first[5] == 55


def test_an_inner_map_that_is_too_large_is_not_told_as_a_full_one(outer: Any) -> None:
    with pytest.raises(MapError) as caught:
        outer.by_name.create(max_entries=(1 << 32) - 1)
    assert type(caught.value) is MapError
    assert str(caught.value) == "make 'inner' for map 'by_name': E2BIG, too large."


def test_no_number_or_name_of_an_inner_map_is_cut(outer: Any) -> None:
    number = "is no number of entries. Give 1 to 4294967295, or 0 for as many as declared."
    wrong: Any
    for wrong in ((1 << 32) + 3, -1, 1.0, "3"):
        with pytest.raises(MapError) as caught:
            outer.by_name.create(wrong)
        assert str(caught.value) == f"make 'inner' for map 'by_name': {wrong!r} {number}"
    name = "it cannot be called so. Give at most 15 letters of ASCII, digits, '_' and '.'."
    for wrong in ("x" * 16, "a\0b", "a-b", "é", "a\n", None):
        with pytest.raises(MapError) as caught:
            outer.by_name.create(name=wrong)
        assert str(caught.value) == f"make {wrong!r} for map 'by_name': {name}"
    with outer.by_name.create(7, name="a_B.123456789cd") as inner:
        assert (inner.max_entries, inner.name) == (7, "a_B.123456789cd")


def test_no_map_is_made_for_a_closed_probe(outer: Any) -> None:
    by_name = outer.by_name
    by_name._close()
    files = len(open_files())
    with pytest.raises(MapError) as caught:
        by_name.create()
    assert str(caught.value) == "make 'inner' for map 'by_name': the probe is closed."
    assert len(open_files()) == files


def test_a_process_without_privilege_is_told_what_it_lacks(outer: Any) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # its maps stay open in it, but it may not open others by their ids
        said = "nothing was raised"
        try:
            os.setuid(65534)
            outer.by_index.lookup(1)
        except PermissionDeniedError as error:
            said = str(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    # Some kernels let nobody else make a system call of BPF at all (sysctl kernel.unprivileged_bpf_disabled).
    by_id = (
        f"open map {outer.first.id} in map 'by_index': EPERM, this process lacks CAP_SYS_ADMIN. "
        "Run as root, or grant the capability."
    )
    at_all = (
        "look up in map 'by_index': EPERM, this process lacks CAP_BPF and CAP_PERFMON. "
        "Run as root, or grant the capabilities (setcap, AmbientCapabilities=)."
    )
    with os.fdopen(reader) as pipe:
        assert pipe.read() in (by_id, at_all)


def test_an_arena_is_shared_memory() -> None:
    kind, pages = 33, 4
    options = create_options(map_flags=1 << 10)  # BPF_F_MMAPABLE
    fd = _libbpf.bpf_map_create(kind, b"arena", 0, 0, pages, options)
    if fd == -errno.EINVAL:
        pytest.skip("the kernel has no arenas (before Linux 6.9)")
    assert fd >= 0, os.strerror(-fd)
    try:
        arena = ArenaMap("arena", "ARENA", fd, (0, 0, pages), None, None)
        arena.memory[5000:5005] = b"hello"
        assert arena.at(arena.address + 5000) == 5000
        assert arena.memory[5000:5005] == b"hello"
        with pytest.raises(MapError, match=r"follow 0x10 in arena 'arena': it is outside\."):
            arena.at(0x10)
        other = ArenaMap("arena", "ARENA", fd, (0, 0, pages), None, None)
        with pytest.raises(MapError, match=r"map arena 'arena': E.*\. An arena has one address, and is"):
            other.memory  # noqa: B018
        arena._close()
        with pytest.raises(MapError, match="map map 'arena': the probe is closed"):
            arena.memory  # noqa: B018
    finally:
        os.close(fd)


def test_a_struct_ops_map_says_its_state() -> None:
    _libbpf.btf__load_vmlinux_btf.restype = ctypes.c_void_p
    kernel = ctypes.c_void_p(_libbpf.btf__load_vmlinux_btf())
    try:
        number = _libbpf.btf__find_by_name_kind(kernel, b"bpf_struct_ops_tcp_congestion_ops", 4)
        size = _libbpf.btf__resolve_size(kernel, number)
    finally:
        _libbpf.btf__free(kernel)
    # The kernel wants the object's own types, too: an int will do.
    types, strings = struct.pack("<4I", 1, 1 << 24, 4, 1 << 24 | 32), b"\0int\0"
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    btf = _libbpf.bpf_btf_load(header + types + strings, 24 + len(types) + len(strings), None)
    assert btf >= 0, os.strerror(-btf)
    fd = _libbpf.bpf_map_create(26, b"congestion", 4, size, 1, create_options(btf, number))
    os.close(btf)
    assert fd >= 0, os.strerror(-fd)
    try:
        structure = StructOpsMap("congestion", "STRUCT_OPS", fd, (4, size, 1), None, None)
        assert structure.state == "init"
        assert structure.references == 0
    finally:
        os.close(fd)
