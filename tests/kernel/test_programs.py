# SPDX-License-Identifier: Apache-2.0
"""Attach kinds, links, pins and test runs on the running kernel; each hook counts what this process does."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import (
    AttachError,
    CgroupProgram,
    DetachedProgram,
    EbpfError,
    IteratorProgram,
    MapError,
    NamespaceProgram,
    NetfilterProgram,
    PerfEventProgram,
    Program,
    ReuseportProgram,
    SocketProgram,
    TcxProgram,
    UprobeProgram,
    XdpProgram,
    run_statistics,
)
from ebpf_runtime.elf_symbols import resolve
from tests.support.kernel import assert_nothing_new, identifiers, open_files, release
from tests.support.programs import COUNTERS, GETPPID, in_namespace, load_mine, missing, send, skip_if_missing
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

BPF_FS = Path("/sys/fs/bpf")
NAMES = (
    "on_tracepoint", "on_tp_btf", "on_xdp", "on_xdp_too", "on_ingress", "on_egress", "on_lookup", "on_local_in",
    "on_connect", "on_tick", "on_uprobe", "on_packet", "on_reuse",
)  # fmt: skip

HOOKS = (
    COUNTERS
    + """
SEC("tp/syscalls/sys_enter_getppid")
int on_tracepoint(void *ctx) { return count_mine(0); }

SEC("tp_btf/sys_enter")
int on_tp_btf(__u64 *ctx) { return ctx[1] == CALL ? count_mine(1) : 0; }

SEC("xdp")
int on_xdp(void *ctx) { count(2); return 2; }

SEC("xdp")
int on_xdp_too(void *ctx) { count(3); return 2; }

SEC("tcx/ingress")
int on_ingress(void *ctx) { count(4); return -1; }

SEC("tc")
int on_egress(void *ctx) { count(5); return -1; }

SEC("sk_lookup")
int on_lookup(void *ctx) { count(6); return 1; }

SEC("cgroup/connect4")
int on_connect(void *ctx) { count_mine(8); return 1; }

SEC("perf_event")
int on_tick(void *ctx) { return count(9); }

SEC("uprobe")
int on_uprobe(void *ctx) { return count_mine(10); }

SEC("socket")
int on_packet(void *ctx) { count(11); return 4; }

SEC("sk_reuseport")
int on_reuse(void *ctx) { count(12); return 1; }
"""
)

FILTER = (
    COUNTERS
    + """
SEC("netfilter")
int on_local_in(void *ctx) { count(7); return 1; }
"""
)

SUMS = """
/* What a run is told and what it answers. */
struct sum_args {
	__u64 left;
	__u64 right;
	__u64 sum;
};

struct sum_args last_args = {};

SEC("syscall")
int add(struct sum_args *args)
{
	args->sum = args->left + args->right;
	last_args = *args;
	return 7;
}
"""

OTHERS = """
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} kept SEC(".maps");

SEC("xdp")
int drop_short(const __u32 *ctx) { return ctx[1] - ctx[0] < 64 ? 1 : 2; /* data_end, data */ }

SEC("raw_tp/no_such_event_sched_switc")
int absent(void *ctx) { return 0; }
"""


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("hooks")
    return make_module(directory, write_source(directory, "hooks", HOOKS.replace("CALL", str(GETPPID))))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("others")
    return make_module(directory, write_source(directory, "others", OTHERS))


@pytest.fixture(scope="module")
def probe(hooks: ModuleType) -> Iterator[Any]:
    with load_mine(hooks.Hooks.open()) as loaded:
        yield loaded


@contextmanager
def counted(probe: Any, name: str) -> Iterator[Callable[[], int]]:
    """Give a function that returns how often a program ran since the block began."""
    index = NAMES.index(name)
    before = probe.maps.runs[index]
    yield lambda: probe.maps.runs[index] - before


@pytest.mark.any_kernel
def test_classes_are_those_of_the_hooks(probe: Any) -> None:
    assert {name: type(program) for name, program in probe.programs} == {
        "on_tracepoint": Program,
        "on_tp_btf": Program,
        "on_xdp": XdpProgram,
        "on_xdp_too": XdpProgram,
        "on_ingress": TcxProgram,
        "on_egress": TcxProgram,
        "on_lookup": NamespaceProgram,
        "on_connect": CgroupProgram,
        "on_tick": PerfEventProgram,
        "on_uprobe": UprobeProgram,
        "on_packet": SocketProgram,
        "on_reuse": ReuseportProgram,
    }


def test_attach_leaves_out_what_needs_an_argument_and_says_so(probe: Any) -> None:
    def work() -> dict[str, bool]:
        try:
            probe.attach()
            return {name: link is not None for name, link in probe.links}
        finally:
            probe.detach()

    attached = in_namespace(work)
    assert [name for name, there in attached.items() if there] == ["on_tracepoint", "on_tp_btf", "on_lookup"]
    assert probe.unattached == {
        "on_xdp": "ifindex",
        "on_xdp_too": "ifindex",
        "on_ingress": "ifindex",
        "on_egress": "ifindex",
        "on_connect": "cgroup",
        "on_tick": "perf_event, or frequency or period",
        "on_uprobe": "path",
        "on_packet": "socket",
        "on_reuse": "socket",
    }


@pytest.mark.parametrize("name", ["on_tracepoint", "on_tp_btf"])
def test_events_of_the_kernel(probe: Any, name: str) -> None:
    with counted(probe, name) as count:
        link = getattr(probe.programs, name).attach()
        for _ in range(7):
            os.getppid()
        link.detach()
        os.getppid()
        assert count() == 7


def test_xdp_and_putting_another_program_into_its_link(probe: Any) -> None:
    def work() -> tuple[int, int]:
        with counted(probe, "on_xdp") as first, counted(probe, "on_xdp_too") as second:
            link = probe.programs.on_xdp.attach(ifindex="lo", mode="generic")
            try:
                with pytest.raises(AttachError) as caught:
                    probe.programs.on_xdp_too.attach(ifindex="lo")
                assert str(caught.value) == (
                    "attach program 'on_xdp_too' to device 'lo': EBUSY, device or resource busy. "
                    "Another program is attached there already."
                )
                send(5)
                link.update(probe.programs.on_xdp_too)
                assert link.name == "on_xdp_too"
                send(3)
                with pytest.raises(AttachError, match=r"^update the link of program 'on_xdp_too' to 'on_tick': EINVAL"):
                    link.update(probe.programs.on_tick)
            finally:
                link.detach()
            send(2)
            return first(), second()

    assert in_namespace(work) == (5, 3)


@pytest.mark.parametrize(("name", "direction"), [("on_ingress", ""), ("on_egress", "egress")])
def test_tcx(probe: Any, name: str, direction: str) -> None:
    def work() -> int:
        with counted(probe, name) as count:
            lo = socket.if_nametoindex("lo")
            link = getattr(probe.programs, name).attach(ifindex=lo, direction=direction)
            send(6)
            link.detach()
            send(1)
            return count()

    try:
        assert in_namespace(work) == 6
    except AttachError as error:
        skip_if_missing(error)


@pytest.mark.any_kernel
def test_arguments_that_do_not_fit_are_refused_by_name(probe: Any) -> None:
    with pytest.raises(AttachError) as caught:
        probe.programs.on_egress.attach(ifindex="lo")
    assert str(caught.value) == (
        "attach program 'on_egress' to device 'lo': the section tc names no direction. "
        "Say which: attach(ifindex=..., direction='ingress')."
    )
    with pytest.raises(AttachError) as caught:
        probe.programs.on_xdp.attach(ifindex="lo", mode="fast")
    assert str(caught.value) == (
        "attach program 'on_xdp': 'fast' is no mode; there are '', 'generic', 'native', 'offload'."
    )
    with pytest.raises(AttachError, match=r"^attach program 'on_xdp' to device 'no0': there is none; there are lo"):
        probe.programs.on_xdp.attach(ifindex="no0")
    with pytest.raises(AttachError) as caught:
        probe.programs.on_tick.attach()
    assert str(caught.value) == (
        "attach program 'on_tick' to perf_event: "
        "say one of perf_event= (an open event), frequency= (runs a second) and period= (counts a run)."
    )
    with pytest.raises(AttachError) as caught:
        probe.programs.on_uprobe.attach()
    assert str(caught.value) == (
        "attach program 'on_uprobe' to uprobe: the section names no function. Say which: attach(path=..., symbol=...)."
    )
    with pytest.raises(AttachError) as caught:
        probe.programs.on_connect.attach(cgroup="/sys/no/such/cgroup")
    assert str(caught.value) == (
        "attach program 'on_connect' to cgroup /sys/no/such/cgroup: ENOENT, no such file or directory."
    )


def test_a_lookup_of_sockets_in_a_namespace(probe: Any) -> None:
    def work() -> int:
        with counted(probe, "on_lookup") as count:
            link = probe.programs.on_lookup.attach()
            send(4)
            link.detach()
            send(1)
            return count()

    assert in_namespace(work) == 4


@missing("netfilter", "6.4")
def test_netfilter(tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "filters", FILTER))
    with module.Filters.open_and_load() as probe:
        assert type(probe.programs.on_local_in) is NetfilterProgram
        assert probe.unattached == {"on_local_in": "hook"}

        def work() -> int:
            with counted(probe, "on_local_in") as count:
                link = probe.programs.on_local_in.attach(hook="local_in", priority=-100)
                send(4)
                link.detach()
                send(1)
                return count()

        assert in_namespace(work) == 4


def test_a_cgroup(probe: Any) -> None:
    root = next(
        path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if (path / "cgroup.procs").exists()
    )
    with counted(probe, "on_connect") as count:
        link = probe.programs.on_connect.attach(cgroup=root)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for port in range(9, 14):
                sender.connect(("127.0.0.1", port))
        link.detach()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", 9))
        assert count() == 5


def test_a_perf_event(probe: Any) -> None:
    with counted(probe, "on_tick") as count:
        link = probe.programs.on_tick.attach(frequency=1000, pid=os.getpid())
        while not count():
            sum(range(10_000))
        link.detach()
        ran = count()
        sum(range(3_000_000))
        assert count() == ran


def test_a_uprobe(probe: Any) -> None:
    libc = ctypes.CDLL(None)
    with counted(probe, "on_uprobe") as count:
        try:
            link = probe.programs.on_uprobe.attach(path="libc.so.6", symbol="labs", pid=os.getpid())
        except AttachError as error:
            skip_if_missing(error)
        for _ in range(11):
            libc.labs(1)
        link.detach()
        libc.labs(1)
        assert count() == 11


def test_a_uprobe_says_what_its_file_lacks(probe: Any, tmp_path: Path) -> None:
    libc, empty = resolve("libc.so.6"), tmp_path / "empty"
    empty.touch()
    for arguments, said in (
        ({"path": "libc.so.6", "symbol": "getpppid"}, f":getpppid: ENOENT, {libc} has no function 'getpppid'. Near"),
        (
            {"path": "libc.so.6", "symbol": "no_such_function"},
            f":no_such_function: ENOENT, {libc} has no function 'no_such_function'. See nm -D {libc}.",
        ),
        ({"path": "/no/such", "symbol": "main"}, ":main: ENOENT, no such file or directory. There is no such file."),
        ({"path": "libno.so", "symbol": "main"}, ":main: ENOENT, no such file or directory. There is no such file."),
        ({"path": "/etc/passwd", "symbol": "main"}, ":main: /etc/passwd is no 64-bit little-endian ELF file."),
        ({"path": str(empty), "symbol": "main"}, f":main: {empty} is empty."),
        ({"path": str(tmp_path), "symbol": "main"}, ":main: EISDIR, is a directory."),
        ({"path": "libc.so.6"}, ": say symbol= (a function) or offset= (bytes in the file)."),
    ):
        with pytest.raises(AttachError) as caught:
            probe.programs.on_uprobe.attach(**arguments)
        text = f"attach program 'on_uprobe' to {arguments['path']}{said}"
        assert str(caught.value) == text or (text.endswith("Near") and str(caught.value).startswith(text))
        assert ("getppid" in str(caught.value)) == text.endswith("Near")


def test_a_socket_filter(probe: Any) -> None:
    with (
        counted(probe, "on_packet") as count,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        link = probe.programs.on_packet.attach(socket=receiver)
        sender.sendto(b"packet", receiver.getsockname())
        sender.sendto(b"packet", receiver.getsockname())
        # The header of UDP has 8 bytes: of what the filter lets through nothing is left of the packet.
        assert [receiver.recv(64), receiver.recv(64)] == [b"", b""]
        with pytest.raises(EbpfError) as caught:
            link.pin(BPF_FS / "link")
        assert str(caught.value) == ("pin the link of program 'on_packet': the kernel gives no link for this hook.")
        link.detach()
        sender.sendto(b"packet", receiver.getsockname())
        assert receiver.recv(64) == b"packet"
        assert count() == 2


def test_a_choice_among_sockets(probe: Any) -> None:
    with (
        counted(probe, "on_reuse") as count,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        link = probe.programs.on_reuse.attach(socket=receiver)
        for _ in range(3):
            sender.sendto(b"packet", receiver.getsockname())
            assert receiver.recv(64) == b"packet"
        link.detach()
        assert count() == 3


def test_links_pinned_stay_and_are_removed(probe: Any, pins: Path) -> None:
    with counted(probe, "on_tp_btf") as count:
        link = probe.programs.on_tp_btf.attach()
        link.pin(pins / "link")
        assert link.path == str(pins / "link")
        link.detach()
        os.getppid()
        assert count() == 1
        with pytest.raises(EbpfError, match=r"EEXIST, file exists. Something is pinned there"):
            probe.programs.on_tp_btf.pin(pins / "link")
        link.unpin()
        assert not (pins / "link").exists()
        deadline = time.monotonic() + 10
        while True:  # the kernel lets go of the link after a grace period
            before = count()
            os.getppid()
            if count() == before:
                break
            assert time.monotonic() < deadline, "the link is still attached"
            time.sleep(0.01)
    with pytest.raises(EbpfError) as caught:
        link.unpin()
    assert str(caught.value) == "unpin link 'on_tp_btf': it is not pinned."


def test_a_link_is_pinned_at_one_path(probe: Any, pins: Path) -> None:
    link = probe.programs.on_tp_btf.attach()
    link.pin(pins / "first")
    with pytest.raises(EbpfError) as caught:
        link.pin(pins / "second")
    assert str(caught.value) == (
        f"pin link 'on_tp_btf' at {pins}/second: it is pinned at {pins}/first. Unpin it first."
    )
    assert (link.path, list(pins.iterdir())) == (f"{pins}/first", [pins / "first"])
    link.unpin()
    link.pin(pins / "second")
    (pins / "second").unlink()  # by another tool
    link.pin(pins / "third")
    link.unpin()
    link.detach()
    assert list(pins.iterdir()) == []


def test_a_path_with_a_nul_is_refused(probe: Any, pins: Path) -> None:
    for thing, kind, name in (
        (probe.programs.on_tp_btf, "program", "on_tp_btf"),
        (probe.maps.runs, "map", "runs"),
    ):
        with pytest.raises(EbpfError) as caught:
            thing.pin(f"{pins}\0")
        assert str(caught.value) == f"pin {kind} {name!r} at '{pins}\\x00': the path has a NUL."
    assert not pins.exists()


def test_a_path_outside_the_bpf_file_system_is_refused(probe: Any, tmp_path: Path) -> None:
    with pytest.raises(EbpfError) as caught:
        probe.programs.on_tp_btf.pin(tmp_path / "program")
    assert str(caught.value) == (
        f"pin program 'on_tp_btf' at {tmp_path}/program: EPERM, operation not permitted. "
        "Choose a path in a BPF file system, such as /sys/fs/bpf (mount -t bpf bpf /sys/fs/bpf)."
    )


@missing("syscall", "5.14")
def test_a_syscall_program_answers_in_its_typed_context(tmp_path: Path) -> None:
    sums = make_module(tmp_path, write_source(tmp_path, "sums", SUMS))
    with sums.Sums.open_and_load() as probe:
        ran = probe.programs.add.test_run(context=sums.SumArgs(left=1 << 40, right=3, sum=0))
        assert ran.context == sums.SumArgs(left=1 << 40, right=3, sum=(1 << 40) + 3)
        assert ran.return_value == 7
        assert probe.programs.add.test_run(context=bytes(24)).context == bytes(24)
        assert probe.bss.last_args == sums.SumArgs.zeroed()
        with pytest.raises(AttachError) as caught:
            probe.programs.add.attach()
        assert str(caught.value) == (
            "attach program 'add' to syscall: programs of this kind have no hook of their own. "
            "Run it: test_run(context=...)."
        )
        assert type(probe.programs.add) is DetachedProgram
    with pytest.raises(EbpfError, match=r"^run program 'add': the probe is closed.$"):
        probe.programs.add.test_run()


def test_a_packet_goes_through_a_program(others: ModuleType) -> None:
    with others.Others.open_and_load() as probe:
        long = probe.programs.drop_short.test_run(data=bytes(range(64)), repeat=100)
        assert (long.return_value, long.data) == (2, bytes(range(64)))
        assert long.context is None
        assert probe.programs.drop_short.test_run(data=bytes(32)).return_value == 1
        with pytest.raises(EbpfError, match=r"^run program 'drop_short' .xdp.: E(MSGSIZE|NOMEM|INVAL), "):
            probe.programs.drop_short.test_run(data=bytes(1 << 20))


CLASSIFIER = """
/* The beginning of struct __sk_buff. */
struct seen {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
};

struct seen last = {};

SEC("tc")
int mark(struct seen *ctx)
{
	ctx->mark = 7;
	return 0;
}
"""


def test_a_context_may_be_the_beginning_of_the_kernels(tmp_path: Path) -> None:
    marks = make_module(tmp_path, write_source(tmp_path, "marks", CLASSIFIER))
    with marks.Marks.open_and_load() as probe:
        run = probe.programs.mark.test_run
        assert run(data=bytes(64), context=marks.Seen(len=0, pkt_type=0, mark=3)).context == marks.Seen(
            len=0, pkt_type=0, mark=7
        )
        for like in (bytes, bytearray, memoryview):
            ran = run(data=like(bytes(64)), context=like(bytes(12)))
            assert ran.context == bytes(8) + (7).to_bytes(4, "little")
        for what, value in (("data", 20), ("context", "x"), ("context", 5)):
            with pytest.raises(EbpfError) as caught:
                run(**{"data": bytes(64), what: value})
            assert str(caught.value) == f"run program 'mark': {what} {value!r} is no bytes."


def test_statistics_of_one_program(others: ModuleType) -> None:
    with others.Others.open_and_load() as probe:
        with run_statistics():
            probe.programs.drop_short.test_run(data=bytes(64), repeat=500)
        statistics = probe.programs.drop_short.statistics()
        assert statistics.run_count >= 500
        assert statistics.run_time_ns > 0
        assert repr(statistics) == (
            f"ProgramCounters(recursion_misses=0, run_count={statistics.run_count}, "
            f"run_time_ns={statistics.run_time_ns})"
        )


def test_a_stream_of_a_silent_program_is_empty(others: ModuleType) -> None:
    with others.Others.open_and_load() as probe:
        try:
            assert probe.programs.drop_short.read_stream("stderr") == ""
        except EbpfError as error:
            if error.minimum_kernel != "6.17":
                raise
            assert release() < (6, 17)
        with pytest.raises(EbpfError) as caught:
            probe.programs.drop_short.read_stream("log")
        assert str(caught.value) == "read stream 'log' of program 'drop_short': there are stdout, stderr."


def test_a_closed_program_says_so(others: ModuleType, probe: Any) -> None:
    with others.Others.open_and_load() as closed:
        program, kept = closed.programs.drop_short, closed.maps.kept
    for call, said in (
        (program.statistics, "read the statistics of program 'drop_short': the probe is closed."),
        (program.read_stream, "read stream 'stdout' of program 'drop_short': the probe is closed."),
        (program.test_run, "run program 'drop_short': the probe is closed."),
    ):
        with pytest.raises(EbpfError) as caught:
            call()
        assert str(caught.value) == said
    assert kept.fd == -1
    link = probe.programs.on_xdp.attach(ifindex="lo")
    with pytest.raises(AttachError) as caught:
        link.update(program)
    assert str(caught.value) == ("update the link of program 'on_xdp' to 'drop_short': that program's probe is closed.")
    assert link.name == "on_xdp"
    link.detach()


def test_a_missing_tracepoint_has_near_names(others: ModuleType) -> None:
    with others.Others.open_and_load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.attach()
        assert caught.value.errno == 2
        assert str(caught.value).startswith(
            "attach program 'absent' to raw_tp/no_such_event_sched_switc: ENOENT, no such file or directory. "
        )
        assert dict(probe.links) == {"drop_short": None, "absent": None}


def test_a_frozen_map_is_read_only_here(others: ModuleType, pins: Path) -> None:
    with others.Others.open_and_load() as probe:
        probe.maps.kept[1] = 10
        probe.maps.kept.pin(pins / "frozen")
        probe.maps.kept.freeze()
        with pytest.raises(MapError, match=r"^update map 'kept': EPERM"):
            probe.maps.kept[1] = 11
        assert probe.maps.kept[1] == 10
        probe.maps.kept.unpin(pins / "frozen")
        assert not (pins / "frozen").exists()


def test_nothing_is_left(hooks: ModuleType) -> None:
    before, files = identifiers(), open_files()
    with hooks.Hooks.open_and_load() as probe:
        probe.attach()
        probe.programs.on_tick.attach(frequency=10)
        in_namespace(lambda: probe.programs.on_xdp.attach(ifindex="lo"))
    assert_nothing_new(before)
    assert open_files() == files


def test_an_iterator_walks_one_map(tmp_path: Path) -> None:
    code = """
struct element {
	__u32 key;
	__u32 pad0;
	__u64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} walked SEC(".maps");

SEC("iter/bpf_map_elem")
int walk_map(struct bpf_iter__bpf_map_elem *ctx)
{
	struct element row = {};
	__u64 *value = ctx->value;
	__u32 *key = ctx->key;

	if (!key || !value)
		return 0;
	row.key = *key;
	row.value = *value;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
ITER_RECORD(walk_map, struct element);
"""
    types = (Path(__file__).resolve().parents[2] / "bpf/include/vmlinux.h").read_text()
    if "bpf_iter__bpf_map_elem" not in types:
        code = (
            "struct bpf_iter__bpf_map_elem {\n\tstruct bpf_iter_meta *meta;\n\tstruct bpf_map *map;\n"
            "\tvoid *key;\n\tvoid *value;\n} __attribute__((preserve_access_index));\n" + code
        )
    module = make_module(tmp_path, write_source(tmp_path, "walks", code))
    with module.Walks.open_and_load() as probe:
        program = probe.programs.walk_map
        assert type(program) is IteratorProgram
        probe.maps.walked.update({1: 11, 2: 22})
        with pytest.raises(AttachError) as caught:
            program.attach()
        assert str(caught.value) == (
            "attach program 'walk_map' to iter/bpf_map_elem: it walks one map. Say which: attach(map=...)."
        )
        program.attach(map=probe.maps.walked)
        assert sorted((row.key, row.value) for row in program.rows()) == [(1, 11), (2, 22)]
        with module.Walks.open_and_load() as other:
            closed = other.maps.walked
        with pytest.raises(AttachError) as caught:
            program.attach(map=closed)
        assert str(caught.value) == "attach program 'walk_map' to map 'walked': the map is closed."


def test_a_child_leaves_the_parents_probe_alone(probe: Any) -> None:
    with counted(probe, "on_tp_btf") as count:
        link = probe.programs.on_tp_btf.attach()
        sys.stdout.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                link.detach()
                probe.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.getppid()
        assert count() == 1
        link.detach()


CONGESTION = """
struct tcp_congestion_ops {
	__u32 (*ssthresh)(void *sk);
	void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(void *sk);
	char name[16];
} __attribute__((preserve_access_index));

SEC("struct_ops/slow_ssthresh")
__u32 slow_ssthresh(void *ctx) { return 2; }

SEC("struct_ops/slow_avoid")
void slow_avoid(void *ctx) { }

SEC("struct_ops/slow_undo")
__u32 slow_undo(void *ctx) { return 2; }

SEC(".struct_ops")
struct tcp_congestion_ops slow = {
	.ssthresh = (void *)slow_ssthresh,
	.cong_avoid = (void *)slow_avoid,
	.undo_cwnd = (void *)slow_undo,
	.name = "slow_of_test",
};
"""


def available() -> list[str]:
    """Return the congestion controls that the kernel has."""
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def test_a_structure_of_functions_is_registered(tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "congestion", CONGESTION))
    with module.Congestion.open_and_load() as probe:
        assert "slow_of_test" not in available()
        link = probe.attach_struct_ops("slow")
        assert "slow_of_test" in available()
        with pytest.raises(AttachError) as caught:
            probe.attach_struct_ops("fast")
        assert str(caught.value) == "attach map 'fast': it is no map of type STRUCT_OPS of this probe."
        link.detach()
        assert "slow_of_test" not in available()
    with module.Congestion.open_and_load() as probe:
        probe.attach_struct_ops("slow")
    assert "slow_of_test" not in available()


STREAMS = """
extern int bpf_stream_vprintk_impl(int stream, const char *format, const void *arguments, __u32 size, void *aux) __ksym;

#define PRINT(stream, text, value)                                                            \\
	({                                                                                    \\
		static const char format[] = text;                                            \\
		__u64 arguments[] = {value};                                                  \\
		bpf_stream_vprintk_impl(stream, format, arguments, sizeof(arguments), (void *)0); \\
	})

SEC("syscall")
int speak(void *ctx)
{
	int result = PRINT(1, "seen %d\\n", 42);

	return result < 0 ? result : PRINT(2, "wrong %d\\n", 7);
}
"""


def test_what_a_program_prints_is_read_once(tmp_path: Path) -> None:
    types = Path("/sys/kernel/btf/vmlinux").read_bytes()
    if b"\0bpf_prog_stream_read\0" not in types:
        pytest.skip("the kernel has no program streams (before 6.17)")
    code = STREAMS
    if b"\0bpf_stream_vprintk\0" in types:  # later kernels hand over the last argument by themselves
        code = code.replace("vprintk_impl", "vprintk").replace(", void *aux", "").replace(", (void *)0", "")
    module = make_module(tmp_path, write_source(tmp_path, "speaker", code))
    with module.Speaker.open_and_load() as probe:
        program = probe.programs.speak
        answers = [ctypes.c_int32(program.test_run().return_value).value for _ in range(2)]
        if answers == [-errno.ENOMEM] * 2:  # the kernel has no memory to give without a lock
            assert (program.read_stream(), program.read_stream("stderr")) == ("", "")
            return
        assert (program.read_stream(), program.read_stream("stderr")) == ("seen 42\n" * 2, "wrong 7\n" * 2)
        assert (program.read_stream(), program.read_stream("stderr")) == ("", "")
        for _ in range(3000):
            program.test_run()
        said = program.read_stream()  # more than one reading takes
        assert said.startswith("seen 42\nseen 42\n")
        assert set(said.splitlines()) == {"seen 42"}


def test_links_of_devices_and_namespaces_take_another_program(tmp_path: Path) -> None:
    code = (
        COUNTERS
        + """
SEC("sk_lookup")
int first(void *ctx) { count(0); return 1; }

SEC("sk_lookup")
int second(void *ctx) { count(1); return 1; }

SEC("tcx/ingress")
int third(void *ctx) { count(2); return -1; }

SEC("tcx/ingress")
int fourth(void *ctx) { count(3); return -1; }
"""
    )
    module = make_module(tmp_path, write_source(tmp_path, "updated", code))
    with module.Updated.open_and_load() as probe:
        programs = probe.programs

        def work() -> list[int]:
            links = [programs.first.attach(), programs.third.attach(ifindex="lo")]
            send(3)
            for link, other in zip(links, (programs.second, programs.fourth), strict=True):
                link.update(other)
            send(5)
            for link in links:
                link.detach()
                with pytest.raises(AttachError, match=r": it is detached\.$"):
                    link.update(programs.first)
            send(1)
            return [probe.maps.runs[index] for index in range(4)]

        try:
            assert in_namespace(work) == [3, 5, 3, 5]
        except AttachError as error:
            skip_if_missing(error)
