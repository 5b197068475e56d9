# SPDX-License-Identifier: Apache-2.0
"""Iterators over a part of what there is: one task, the tasks of a process, cgroups in an order, sockets of a map."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime import AttachError, CoReError, IteratorProgram, ProbeConfig
from tests.support.programs import skip_if_missing
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

NO_FALLBACK = ProbeConfig(allow_runtime_compiled_fallback=False)

TASKS = """
struct task_row {
	__u32 tid;
	__u32 pid;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

SEC("iter/task")
int walk(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_row row = {};

	if (!task)
		return 0;
	row.tid = task->pid;
	row.pid = task->tgid;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
"""

CGROUPS = """
struct bpf_iter__cgroup {
	struct bpf_iter_meta *meta;
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));

struct cgroup_row {
	__u64 id;
};

SEC("iter/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgroup = ctx->cgroup;
	struct cgroup_row row = {};

	if (!cgroup)
		return 0;
	row.id = cgroup->kn->id;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
"""

SOCKETS = """
struct {
	__uint(type, 15); /* BPF_MAP_TYPE_SOCKMAP */
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct bpf_iter__sockmap {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	struct sock *sk;
} __attribute__((preserve_access_index));

struct end_row {
	__u32 index;
	__u32 is_there;
};

SEC("iter/sockmap")
int walk_ends(struct bpf_iter__sockmap *ctx)
{
	struct end_row row = {};
	__u32 *index = ctx->key;

	if (!index)
		return 0;
	row.index = *index;
	row.is_there = ctx->sk != 0;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Any]:
    """Give a function that makes a probe of C text and opens it."""

    def make(code: str) -> Any:
        return make_module(tmp_path, write_source(tmp_path, "walked", code)).Walked.open(NO_FALLBACK)

    return make


@contextmanager
def waiting_thread() -> Iterator[int]:
    """Give the number of a thread that waits during the block."""
    done, number = threading.Event(), []
    started = threading.Event()

    def run() -> None:
        number.append(threading.get_native_id())
        started.set()
        done.wait()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield number[0]
    finally:
        done.set()
        thread.join()


def test_one_task_and_the_tasks_of_a_process(made: Callable[[str], Any]) -> None:
    mine = os.getpid()
    with made(TASKS).load() as probe, waiting_thread() as other:
        program = probe.programs.walk
        assert type(program) is IteratorProgram
        program.attach()
        rows = [(row.tid, row.pid) for row in program.rows()]
        assert {(mine, mine), (other, mine)} <= set(rows)
        assert len({pid for _, pid in rows}) > 1
        try:
            program.attach(tid=other)
        except AttachError as error:
            skip_if_missing(error)
        assert [(row.tid, row.pid) for row in program.rows()] == [(other, mine)]
        program.attach(pid=mine)
        assert {(mine, mine), (other, mine)} <= {(row.tid, row.pid) for row in program.rows()}
        assert {row.pid for row in program.rows()} == {mine}
        for arguments, words in (
            ({"tid": 1, "pid": 1}, "EINVAL, invalid argument."),
            ({"cgroup": "/sys/fs/cgroup"}, "it takes no cgroup=. It takes tid= or pid=."),
            ({"map": object()}, "it takes no map=. It takes tid= or pid=."),
        ):
            with pytest.raises(AttachError) as caught:
                program.attach(**arguments)
            assert str(caught.value) == f"attach program 'walk' to iter/task: {words}"


def test_it_walks_what_was_attached_last_and_is_not_detached(made: Callable[[str], Any]) -> None:
    mine = os.getpid()
    with made(TASKS).load() as probe, waiting_thread() as other:
        program = probe.programs.walk

        def refuse() -> None:
            for read in (program.read, program.read_array, lambda: list(program.rows())):
                with pytest.raises(AttachError) as caught:
                    read()
                assert str(caught.value) == "read iterator 'walk': it is not attached. Call attach() first."

        refuse()
        first, second = program.attach(), program.attach()
        for link in (second, first):
            assert {(mine, mine), (other, mine)} <= {(row.tid, row.pid) for row in program.rows()}
            link.detach()
        refuse()
        everything = program.attach()
        try:
            process = program.attach(pid=mine)
        except AttachError as error:
            skip_if_missing(error)
        thread = program.attach(tid=other)
        process.detach()
        assert [(row.tid, row.pid) for row in program.rows()] == [(other, mine)]
        thread.detach()
        assert len({row.pid for row in program.rows()}) > 1
        everything.detach()
        refuse()


def test_arrays_of_rows_are_owned_and_can_be_written(made: Callable[[str], Any]) -> None:
    pytest.importorskip("numpy")
    with made(TASKS).load() as probe:
        program = probe.programs.walk
        program.attach()
        array, again = program.read_array(), program.read_array()
        assert array.flags.writeable
        array["pid"] = 0
        assert os.getpid() in again["pid"].tolist()
    assert os.getpid() in array["tid"].tolist()
    assert set(array["pid"].tolist()) == {0}


@pytest.mark.parametrize("argument", ["tid", "pid"])
@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_the_number_of_a_task_has_31_bits(made: Callable[[str], Any], argument: str, number: int) -> None:
    with made(TASKS).load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.programs.walk.attach(**{argument: number})
        assert str(caught.value) == (
            f"attach program 'walk' to iter/task: {argument} {number} is not from 0 to {(1 << 31) - 1}."
        )


def test_cgroups_in_every_order(made: Callable[[str], Any], cgroup: Path) -> None:
    below = [cgroup / "a", cgroup / "a" / "b", cgroup / "c"]
    for path in below:
        path.mkdir()
    try:
        ids = {path.stat().st_ino: path.name for path in (cgroup, *below)}
        if b"\0bpf_iter__cgroup\0" not in Path("/sys/kernel/btf/vmlinux").read_bytes():
            opened = made(CGROUPS)
            with pytest.raises(CoReError) as refused:
                opened.load()
            assert "; this kernel has no iterators of kind 'cgroup', Linux 6.1 has." in str(refused.value)
            pytest.skip("the kernel has no iterators over cgroups (before 6.1)")
        probe = made(CGROUPS).load()
        with probe:
            program = probe.programs.walk

            def walk(order: str, start: Path = cgroup) -> list[str]:
                program.attach(cgroup=start, order=order)
                return [ids.get(row.id, "above") for row in program.rows()]

            assert walk("self") == [cgroup.name]
            first = walk("descendants")
            assert first[0] == cgroup.name
            assert sorted(first[1:]) == ["a", "b", "c"]
            assert first.index("a") < first.index("b")
            last = walk("descendants_post")
            assert last[-1] == cgroup.name
            assert last.index("b") < last.index("a")
            assert walk("ancestors", cgroup / "a" / "b")[:3] == ["b", "a", cgroup.name]
            with pytest.raises(AttachError) as caught:
                program.attach(cgroup=cgroup, order="children")
            assert str(caught.value) == (
                "attach program 'walk' to iter/cgroup: there is no order 'children'; "
                "there are self, descendants, descendants_post, ancestors."
            )
            with pytest.raises(AttachError) as caught:
                program.attach(order="ancestors")
            assert str(caught.value) == (
                "attach program 'walk' to iter/cgroup: order='ancestors' is one of cgroups. "
                "Say where it begins: attach(cgroup=...)."
            )
            with pytest.raises(AttachError) as caught:
                program.attach(cgroup="/sys/no/such/cgroup")
            assert str(caught.value) == "attach program 'walk' to iter/cgroup: ENOENT, no such file or directory."
            with pytest.raises(AttachError) as caught:
                program.attach(cgroup=f"{cgroup}\0")
            assert str(caught.value) == f"attach program 'walk': the cgroup '{cgroup}\\x00' has a NUL."
            with pytest.raises(AttachError) as caught:
                program.attach(cgroup=cgroup, pid=1)
            assert str(caught.value) == "attach program 'walk' to iter/cgroup: it takes no pid=. It takes cgroup=."
    finally:
        for path in sorted(below, reverse=True):
            path.rmdir()


def test_the_sockets_of_a_map(made: Callable[[str], Any]) -> None:
    import socket

    with made(SOCKETS).load() as probe, socket.create_server(("127.0.0.1", 0)) as server:
        program = probe.programs.walk_ends
        probe.maps.ends[2] = server
        program.attach(map=probe.maps.ends)
        assert [row.index for row in program.rows() if row.is_there] == [2]
        with pytest.raises(AttachError, match=r"^attach program 'walk_ends' to iter/sockmap: EINVAL, "):
            program.attach(map=probe.maps.numbers)


def test_what_no_kernel_walks_is_refused(made: Callable[[str], Any]) -> None:
    opened = made('SEC("iter/teapots")\nint walk(void *ctx) { return 0; }\n')
    with pytest.raises(CoReError, match=r"no such process; this kernel has no iterators of kind 'teapots'\."):
        opened.load()
