# SPDX-License-Identifier: Apache-2.0
"""Hits and misses of kprobes as the check `ebpf` reads them, on kernels that have kprobes."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from ebpf_collector.checks.ebpf import new_check
from ebpf_collector.inventory import KprobeCounters
from ebpf_collector.probes.ebpf import Probe, new_probe
from ebpf_runtime import ProbeConfig, Program, loaded_objects
from tests.support.kernel import kprobe_refusal, release
from tests.support.planted import tracefs_kprobe
from tests.support.sources import make_module, write_source
from tests.unit.collector.recording import RecordingSender

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(kprobe_refusal()), reason=kprobe_refusal())]

PREFIX = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_"}[platform.machine()]
# A system call that nobody makes by chance, one that lasts, and a helper that only the first program calls.
CALLED = f"{PREFIX}sched_rr_get_interval"
LASTING = f"{PREFIX}rt_sigsuspend"
_NR_SIGSUSPEND = {"x86_64": 130, "aarch64": 133}[platform.machine()]
CODE = f"""
__u64 runs = 0;

SEC("kprobe/{CALLED}")
int called(void *ctx)
{{
	char comm[16];

	bpf_get_current_comm(comm, sizeof(comm));
	__sync_fetch_and_add(&runs, 1);
	return 0;
}}

SEC("kretprobe/{LASTING}")
int lasting(void *ctx)
{{
	return 0;
}}

/* Where a kprobe is being handled already: each of its calls is left out. */
SEC("kprobe/bpf_get_current_comm")
int nested(void *ctx)
{{
	return 0;
}}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("kprobes")
    return make_module(folder, write_source(folder, "kprobes", CODE))


@pytest.fixture
def probe() -> Iterator[Probe]:
    with new_probe(ProbeConfig()) as made:
        yield made


def counters(probe: Probe, program: Program) -> KprobeCounters | None:
    ids = {known.name: known.id for known in loaded_objects() if known.kind == "program" and known.module == "kprobes"}
    return next(item for item in probe.read(0).programs if item.id == ids[program.name]).kprobes


def knows_hits() -> bool:
    """Whether the kernel finds a CPU's part of a counter, by a helper of 5.19."""
    return b"\0BPF_FUNC_map_lookup_percpu_elem\0" in Path("/sys/kernel/btf/vmlinux").read_bytes()


def call(times: int) -> None:
    for _ in range(times):
        os.sched_rr_get_interval(0)


@contextmanager
def pausing(count: int) -> Iterator[None]:
    """Let *count* children wait in sigsuspend(2)."""
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).syscall(_NR_SIGSUSPEND, ctypes.byref(ctypes.c_uint64(0)), ctypes.c_size_t(8))
            os._exit(0)
        children.append(pid)
    try:
        deadline = time.monotonic() + 60
        while not all(Path(f"/proc/{pid}/syscall").read_text().startswith(f"{_NR_SIGSUSPEND} ") for pid in children):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def missed_by_the_kernel(fd: int) -> int:
    """Return the misses that the kernel itself tells of a link to a kprobe, as from 6.7 on."""
    info = ctypes.create_string_buffer(128)
    size = ctypes.c_uint32(128)
    assert ctypes.CDLL("libbpf.so.1").bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)) == 0
    return int.from_bytes(info.raw[48:56], "little")


def test_hits_are_exact(module: ModuleType, probe: Probe) -> None:
    with module.Kprobes.open_and_load() as loaded:
        loaded.programs.called.attach()
        call(17)
        assert loaded.bss.runs == 17
        assert counters(probe, loaded.programs.called) == KprobeCounters(17 if knows_hits() else None, 0, 0)
        assert counters(probe, loaded.programs.nested) is None
        loaded.detach()
        assert counters(probe, loaded.programs.called) is None


def test_nesting_misses_are_exact(module: ModuleType, probe: Probe) -> None:
    with module.Kprobes.open_and_load() as loaded:
        loaded.programs.called.attach()
        link = loaded.programs.nested.attach()
        call(23)
        found = counters(probe, loaded.programs.nested)
        assert found is not None
        assert found.nesting_misses == 23
        if release() >= (6, 7):
            assert missed_by_the_kernel(link.fd) == 23


def test_returns_that_had_no_room_are_counted(module: ModuleType, probe: Probe) -> None:
    with module.Kprobes.open_and_load() as loaded:
        link = loaded.programs.lasting.attach()
        most = max(10, 2 * (os.cpu_count() or 1))  # the kernel's own default, or less on some
        with pausing(most + 7):
            found = counters(probe, loaded.programs.lasting)
            assert found is not None
            assert 7 <= found.maxactive_misses < most + 7
            assert found.nesting_misses == 0
            if release() >= (6, 7):
                assert missed_by_the_kernel(link.fd) == found.maxactive_misses


def test_a_kprobe_made_in_tracefs_is_found_too(module: ModuleType, probe: Probe) -> None:
    with module.Kprobes.open_and_load() as loaded, tracefs_kprobe(CALLED, loaded.programs.called.fd):
        before = loaded.bss.runs
        call(29)
        found = counters(probe, loaded.programs.called)
        assert found is not None
        assert found.hits == 29  # where the walk cannot read them, from kprobe_profile
        assert found.nesting_misses == found.maxactive_misses == 0
        assert 0 < loaded.bss.runs - before <= 29  # the perf event is on one CPU


@pytest.mark.parametrize("scheme", ["native", pytest.param("datadog", marks=pytest.mark.any_kernel)])
def test_the_check_sends_them(module: ModuleType, scheme: str) -> None:
    check = new_check()
    check.configure(f"metric_scheme: {scheme}\nstatistics_window_seconds: 0".encode())
    sender = RecordingSender()
    with module.Kprobes.open_and_load() as loaded:
        loaded.programs.called.attach()
        loaded.programs.nested.attach()
        call(31)
        check.start()
        try:
            check.run(sender)
        finally:
            check.close()
    name = "ebpf.kprobes." + ("nesting_misses_total" if scheme == "native" else "kprobe_nesting_misses")
    found = [(kind, value) for kind, metric, value, tags in sender.points if metric == name and value]
    assert found == [("monotonic_count", 31)]
