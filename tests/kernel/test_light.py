# SPDX-License-Identifier: Apache-2.0
"""The light path: loader programs give the same probe as libbpf, and give way to it where they do not serve."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import CloseError, DigestError, OpenError, ProbeConfig, VerifierError, system_calls
from ebpf_runtime.maps import assembled
from ebpf_runtime.specs import architecture
from tests.support.kernel import identifiers, open_files, relocation_refusal
from tests.support.programs import GETPPID
from tests.support.sources import add_loader_programs, make_module, write_source

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(relocation_refusal()), reason=relocation_refusal()),
]

IN_OPEN, IN_CLOSE = 0x20, 0x10  # inotify(7)

SOURCE = """
struct call {
	__u64 number;
	__u32 pid;
	__u32 factor;
};

const volatile __u32 wanted_pid = 0;
const volatile __u32 factor = 3;
__u64 calls = 100;
__u32 last = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");
RINGBUF_RECORD(events, struct call);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct call);
} latest SEC(".maps");

static __always_inline int note(__u32 pid)
{
	struct call call = {};

	if (pid != wanted_pid)
		return 0;
	call.number = ++calls;
	call.pid = pid;
	call.factor = factor;
	last = pid;
	bpf_map_update_elem(&latest, &pid, &call, 0);
	bpf_ringbuf_output(&events, &call, sizeof(call), 0);
	return 0;
}

SEC("tp_btf/sys_enter")
int on_call_tp_btf(__u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return ctx[1] == CALL ? note(BPF_CORE_READ(task, tgid)) : 0;
}
""".replace("CALL", str(GETPPID))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("light")
    module = make_module(directory, write_source(directory, "light_calls", SOURCE))
    add_loader_programs(module)
    return module


def readings(module: ModuleType, path: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Load by one of both ways, cause events, and return all that can be seen of the probe."""
    if path == "libbpf":
        monkeypatch.setenv("EBPF_LIBBPF", "libbpf.so.1")
    opened = module.LightCalls.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.bss.last = 5
    opened.resize("events", 1 << 13)
    opened.resize("latest", 4)
    with opened.load() as probe:
        assert probe.path == path
        before = probe.bss.last
        probe.attach()
        for _ in range(13):
            os.getppid()
        events = [event.asdict() for event in probe.maps.events.poll(1)]
        probe.data.calls = 1000
        os.getppid()
        events += [event.asdict() for event in probe.maps.events.poll(1)]
        return {
            "events": events,
            "latest": dict(probe.maps.latest),
            "sizes": {name: (m.type, m.key_size, m.value_size, m.max_entries) for name, m in probe.maps},
            "sections": {name: program.section for name, program in probe.programs},
            "links": {name: link is not None for name, link in probe.links},
            "variables": (before, probe.bss.last, probe.data.calls, probe.rodata.factor, probe.rodata.wanted_pid),
            "variant": (probe.variant, probe.refused, probe.origin, probe.unattached),
        }


def test_both_ways_give_the_same_probe(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBPF_LIBBPF", raising=False)
    light = readings(made, "light", monkeypatch)
    assert [event["number"] for event in light["events"]] == [*range(101, 114), 1001]
    assert light["sizes"]["events"][3] == 1 << 13
    assert light["variables"] == (5, os.getpid(), 1001, 3, os.getpid())
    assert readings(made, "libbpf", monkeypatch) == light


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (ProbeConfig(bpf_debug=True), "bpf_debug is set, and loader programs keep no log"),
        (
            ProbeConfig(btf_path="/sys/kernel/btf/vmlinux"),
            "loader programs relocate against the kernel's own BTF, and another is used",
        ),
    ],
)
def test_libbpf_is_taken_for_what_it_alone_can_do(made: ModuleType, config: ProbeConfig, reason: str) -> None:
    with made.LightCalls.open_and_load(config) as probe:
        assert (probe.path, probe.light_refusal) == ("libbpf", reason)


@pytest.mark.any_kernel
def test_libbpf_is_not_even_loaded_for_a_light_probe(made: ModuleType) -> None:
    directory = Path(str(made.__file__)).parent
    code = (
        "import sys, os\n"
        f"from {directory.name}.light_calls import LightCalls\n"
        "with LightCalls.open_and_load() as probe:\n"
        "    probe.attach()\n"
        "    assert probe.path == 'light', probe.light_refusal\n"
        "    print('libbpf' in open('/proc/self/maps').read())\n"
    )
    search = os.pathsep.join([str(directory.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": search}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


@contextmanager
def opens_of(path: str) -> Iterator[list[int]]:
    """Give a list that has how often a file was opened in the block, by whomever, when the block is over."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    opened: list[int] = []
    try:
        assert libc.inotify_add_watch(watch, path.encode(), IN_OPEN | IN_CLOSE) >= 0, os.strerror(ctypes.get_errno())
        yield opened
        with suppress(BlockingIOError):
            while data := os.read(watch, 1 << 16):
                # Events in a row that are alike are told once; between two that open there is one that closes.
                opened += (mask for _, mask, _, _ in struct.iter_unpack("=iIII", data) if mask == IN_OPEN)
    finally:
        os.close(watch)


@pytest.mark.any_kernel
@pytest.mark.parametrize(("path", "each"), [("light", 0), ("libbpf", 1)])
def test_how_often_the_types_of_the_kernel_are_read(
    made: ModuleType, path: str, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libbpf reads them for every object that it loads, and takes none that were read before."""
    if path == "libbpf":
        monkeypatch.setenv("EBPF_LIBBPF", "libbpf.so.1")
    with opens_of("/sys/kernel/btf/vmlinux") as opened:
        for _ in range(3):
            with made.LightCalls.open_and_load() as probe:
                assert probe.path == path
    assert opened == 3 * each * [IN_OPEN]


@pytest.mark.any_kernel
def test_the_number_of_a_function_of_the_kernel_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembled, "_function_ids", {})
    with opens_of("/sys/kernel/btf/vmlinux") as opened:
        calls = {assembled.call_kernel("vfs_read") for _ in range(3)}
    assert len(calls) == 1
    assert opened == [IN_OPEN]


@pytest.mark.any_kernel
@pytest.mark.parametrize(
    ("settings", "own"),
    [({}, {"light"}), ({"EBPF_LIBBPF": "libbpf.so.1"}, {"libbpf", "libbpf_object"})],
    ids=["light", "libbpf"],
)
def test_what_load_and_attach_import(made: ModuleType, settings: dict[str, str], own: set[str]) -> None:
    """The imports are a third of the start-up: whoever adds one sees it here."""
    directory = Path(str(made.__file__)).parent
    code = (
        "import sys\n"
        f"import {directory.name}.light_calls as module\n"
        "before = set(sys.modules)\n"
        "with module.LightCalls.open_and_load() as probe:\n"
        "    probe.attach()\n"
        "    print(*sorted(set(sys.modules) - before))\n"
    )
    search = os.pathsep.join([str(directory.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {search.split(os.pathsep)!r}\n{code}"],
        env={**os.environ, **settings}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = set(done.stdout.split())
    common = {
        "digests", "hooks", "links", "loader", "programs", "system_calls",
    }  # fmt: skip
    ours = {name for name in found if name.startswith("ebpf_")}
    assert ours == {f"ebpf_runtime.{name}" for name in common | own}
    assert found - ours <= {"_ctypes", "_sha2", "_sha256", "mmap"}


def test_all_is_closed_even_after_a_failure_and_every_failure_told(
    made: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    before, files = identifiers(), open_files()
    probe = made.LightCalls.open_and_load()
    probe.attach()
    os.close(probe.links.on_call_tp_btf.fd)
    os.close(probe.programs.on_call_tp_btf.fd)
    with pytest.raises(CloseError) as caught:
        probe.close()
    assert str(caught.value) == (
        "close probe 'light_calls': detach program 'on_call_tp_btf': EBADF, bad file descriptor; "
        "free what it holds: EBADF, bad file descriptor."
    )
    assert [type(failure) for failure in caught.value.failures] == [CloseError, OSError]
    assert capfd.readouterr() == ("", "")
    probe.close()
    assert open_files() == files
    assert_nothing_of_ours(before)


def test_links_close_before_programs_and_maps(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    close = os.close

    def noted(fd: int) -> None:
        closed.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        close(fd)

    probe = made.LightCalls.open_and_load().attach()
    monkeypatch.setattr(os, "close", noted)
    probe.close()
    monkeypatch.undo()
    kinds = [name.removeprefix("anon_inode:").strip("[]").replace("_", "-") for name in closed]
    assert kinds[0] == "bpf-link"
    assert set(kinds[1:]) == {"bpf-map", "bpf-prog"}


def test_a_probe_left_open_ends_with_the_process(made: ModuleType) -> None:
    """The kernel frees it; nothing is said, whatever order the interpreter takes its modules down in."""
    before = identifiers()
    directory = Path(str(made.__file__)).parent
    code = f"from {directory.name}.light_calls import LightCalls\nprobe = LightCalls.open_and_load().attach()\n"
    search = os.pathsep.join([str(directory.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-P", "-X", "dev", "-c", code],
        env={"PYTHONPATH": search}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_nothing_of_ours(before)


@pytest.mark.any_kernel
def test_threads_load_and_close_at_the_same_time(made: ModuleType) -> None:
    before, files = identifiers(), open_files()
    failures: list[BaseException] = []

    def rounds() -> None:
        try:
            for _ in range(20):
                with made.LightCalls.open_and_load() as probe:
                    probe.attach()
                    assert probe.maps.latest.get(1) is None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=rounds) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert open_files() == files
    assert_nothing_of_ours(before)


@pytest.mark.any_kernel
def test_a_changed_loader_program_is_refused(tmp_path: Path) -> None:
    code = 'SEC("raw_tp/sys_enter")\nint idle(void *ctx) { return 0; }\n'
    module = make_module(tmp_path, write_source(tmp_path, "changed", code))
    with module.Changed.open_and_load() as probe:
        assert (probe.path, probe.light_refusal) == (
            "libbpf", "the package holds no loader programs for this object",
        )  # fmt: skip
    add_loader_programs(module)
    path = next(Path(str(module.__file__)).parent.glob(f"changed.{'arm64' if GETPPID == 173 else 'x86_64'}.light"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DigestError, match=rf"^open {path.name}: its SHA-256 is "):
        module.Changed.open()
    path.write_bytes(good)
    # One that was made from another object is as good as none.
    listing = path.parent / "changed.sha256"
    listing.write_text(listing.read_text().replace(good.split()[3].decode(), "0" * 64))
    with pytest.raises(OpenError):
        module.Changed.open(ProbeConfig(allow_runtime_compiled_fallback=False))


@pytest.mark.any_kernel
def test_a_missing_loader_program_is_none(tmp_path: Path) -> None:
    code = 'SEC("raw_tp/sys_enter")\nint idle(void *ctx) { return 0; }\n'
    module = make_module(tmp_path, write_source(tmp_path, "gone", code))
    add_loader_programs(module)
    with module.Gone.open_and_load() as probe:
        assert probe.path == "light"
    next(Path(str(module.__file__)).parent.glob(f"gone.{architecture()}.light")).unlink()
    with module.Gone.open_and_load() as probe:
        assert (probe.path, probe.light_refusal, probe.origin, probe.report.co_re_result) == (
            "libbpf", "the package holds no loader programs for this object", "co_re", "default",
        )  # fmt: skip


def test_a_refused_program_is_told_as_libbpf_tells_it_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
SEC("raw_tp/sys_enter")
int bad_access(struct bpf_raw_tracepoint_args *ctx)
{
	return *(volatile int *)ctx->args[1];
}
"""
    module = make_module(tmp_path, write_source(tmp_path, "bad", code))
    add_loader_programs(module)
    opened = module.Bad.open(ProbeConfig(allow_runtime_compiled_fallback=False))
    capfd.readouterr()  # of the build
    with pytest.raises(Exception, match="bad_access") as caught:
        opened.load()
    assert capfd.readouterr() == ("", "")
    error = caught.value.__cause__
    assert isinstance(error, VerifierError)
    assert error.source_line > 0
    assert opened._opened.light_refusal.startswith("load by the loader program of 'bad': EACCES")


@pytest.mark.any_kernel
@pytest.mark.parametrize("path", ["light", "libbpf"])
def test_nothing_leaks_in_a_thousand_rounds(made: ModuleType, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """File descriptors, maps, programs, links and memory, over rounds of loading, attaching and closing."""
    if path == "libbpf":
        monkeypatch.setenv("EBPF_LIBBPF", "libbpf.so.1")
    gc.collect()  # what tests before have left open
    opened_files = open_files()
    before = identifiers()

    def rounds(count: int) -> None:
        for _ in range(count):
            with made.LightCalls.open_and_load() as probe:
                assert probe.path == path
                probe.attach()
                assert probe.bss.last == 0

    rounds(100)  # what is kept for good is kept by now
    gc.collect()
    resident = resident_bytes()
    rounds(1000)
    gc.collect()
    assert open_files() == opened_files
    assert resident_bytes() - resident < 2 << 20
    assert_nothing_of_ours(before)


def assert_nothing_of_ours(before: dict[str, set[int]]) -> None:
    """Fail if the kernel keeps anything of this module's probe, whatever others make meanwhile."""
    deadline = time.monotonic() + 10
    while left := ours(before):
        assert time.monotonic() < deadline, f"left in the kernel: {left}"
        time.sleep(0.05)


def ours(before: dict[str, set[int]]) -> list[str]:
    """Return the names of maps and programs that came since and are named as those of this module's probe."""
    found = []
    for kind, start in (("map", 24), ("program", 64)):
        for number in identifiers()[f"{kind}s"] - before[f"{kind}s"]:
            fd = system_calls.object_open(kind, number)
            if fd >= 0:  # else it is gone meanwhile
                found.append(system_calls.object_info(fd)[1][start : start + 16].rstrip(b"\0").decode())
                os.close(fd)
    return [name for name in found if name.startswith(("light_ca", "on_call_tp_btf", "__loader"))]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
