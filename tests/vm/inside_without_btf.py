# SPDX-License-Identifier: Apache-2.0
"""A kernel that shows no BTF: kernel headers and the compiler, embedded BTF, or a clear refusal.

Run inside a guest with `--no-btf`, whose headers are there.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import ebpf_probes
from ebpf_codegen import btf, btf_bundle, elf
from ebpf_codegen.min_btf import minimal_btf
from ebpf_collector.checks import MetricScheme, check_factory
from ebpf_collector.doctor import examine
from ebpf_probes.oom_kill import OomKill, OomKillSource
from ebpf_runtime import CompileError, EbpfError, FallbackWarning, ProbeConfig
from ebpf_runtime.btf_sources import BUNDLE, host
from tests.kernel.test_tcp_queue_length import half_full, move_data
from tests.support.kernel import release
from tests.support.kills import kill_one, victims_cgroup
from tests.support.mounts import hidden_from
from tests.support.tcp import workers_cgroup
from tests.unit.collector.recording import RecordingSender

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

SOURCES = {"kprobe": OomKillSource.ARGUMENT, "raw_tp": OomKillSource.STACK}


def test_there_is_no_btf_here() -> None:
    assert not Path("/sys/kernel/btf/vmlinux").exists()


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled") / "build"


def loaded(cls: Any, config: ProbeConfig, variant: str) -> Any:
    opened = cls.open(config)
    opened.select_variant(variant)
    return opened.load()


def assert_equal_kills(probes: dict[str, Any]) -> None:
    """Attach, have children killed, and compare what each probe says of the same kill."""
    with victims_cgroup() as group:
        for probe in probes.values():
            probe.attach()
        killed = [kill_one(group, score_adj=100 * number, comm=f"victim{number}") for number in range(3)]
        said = {}
        for variant, probe in probes.items():
            events = list(probe.maps.oom_events.poll(10))
            said[variant] = [event for event in events if event.victim_tgid in [item.pid for item in killed]]
            assert [event.victim_tgid for event in said[variant]] == [item.pid for item in killed]
            assert [event.score_adj for event in said[variant]] == [0, 100, 200]
            assert {event.source for event in said[variant]} == {SOURCES[variant]}
            assert all(event.score_points > 1000 and event.is_memcg for event in said[variant])
    compared = [
        [event.replace(timestamp_ns=0, source=OomKillSource.ARGUMENT) for event in events] for events in said.values()
    ]
    assert compared[0] == compared[1]


def test_the_compiler_takes_the_types_from_kernel_headers(build: Path) -> None:
    config = ProbeConfig(runtime_compiler_output_dir=build)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probe = OomKill.open_and_load(config)
    with probe:
        (warning,) = caught
        assert warning.category is FallbackWarning
        assert " No BTF was found: the kernel shows none in /sys/kernel/btf/vmlinux; this package embeds none." in str(
            warning.message
        )
        assert (probe.variant, probe.origin) == ("kprobe", "compiled")
        (refused,) = probe.refused
        assert (refused.variant, refused.phase, refused.line) == (
            "fentry",
            "load",
            "failed to find valid kernel BTF",
        )
        report = probe.report
        assert (report.co_re_result, report.header_result_name) == ("btf_not_found", "default")
        assert report.compile_result_name == "compiled"
        assert report.header_dirs
    only_compiled = ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=build)
    with loaded(OomKill, only_compiled, "kprobe") as kprobe, loaded(OomKill, only_compiled, "raw_tp") as raw_tp:
        assert kprobe.report.compile_result_name == raw_tp.report.compile_result_name == "cached"
        assert kprobe.report.header_result_name == "not_attempted"  # a warm start looks for none
        assert_equal_kills({"kprobe": kprobe, "raw_tp": raw_tp})


def test_the_check_of_tcp_queues_sends_what_kprobes_alone_have_seen(build: Path) -> None:
    config = ProbeConfig(runtime_compiler_output_dir=build)
    check = check_factory("tcp_queue_length", config, MetricScheme.NATIVE)()

    def sent() -> list[tuple[object, ...]]:
        sender = RecordingSender()
        check.run(sender)
        return [tuple(point) for point in sender.points]

    with workers_cgroup() as group, half_full(group) as ends:
        tags = [f"cgroup:{group.path.name}", "variant:kprobe_only"]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FallbackWarning)
                check.start()
            # The queues are long, but nobody has called anything, and there is no iterator to ask.
            assert [point for point in sent() if point[3] == tags] == []
            seen = move_data(ends)
            points = sent()
            assert [point for point in points if point[3] == tags] == [
                ("gauge", "tcp_queue.read_buffer_max_usage_permille", seen.read_queue_max_permille, tags),
                ("gauge", "tcp_queue.write_buffer_max_usage_permille", seen.write_queue_max_permille, tags),
                ("gauge", "tcp_queue.read_queue_max_bytes", seen.read_queue_max_bytes, tags),
                ("gauge", "tcp_queue.write_queue_max_bytes", seen.write_queue_max_bytes, tags),
            ]
            # Of other groups there may be queues; all else is of the probe.
            probe = "probe:tcp_queue_length"
            (seconds,) = (point[2] for point in points if point[1] == "ebpf_collector.compile_seconds")
            assert [point for point in points if not str(point[1]).startswith("tcp_queue.")] == [
                ("gauge", "ebpf_collector.probe_info", 1, [probe, "variant:kprobe_only", "origin:compiled"]),
                ("gauge", "ebpf_collector.co_re_result", 1, [probe, "result:btf_not_found"]),
                ("gauge", "ebpf_collector.header_search_result", 2, [probe, "result:default"]),
                ("gauge", "ebpf_collector.compile_result", 1, [probe, "result:compiled"]),
                ("gauge", "ebpf_collector.compile_seconds", seconds, [probe]),
                ("monotonic_count", "ebpf_collector.lost_events", 0, [probe]),
            ]
            assert [point for point in sent() if point[3] == tags] == []
        finally:
            check.close()


def kernels_own_btf() -> bytes:
    """Return the kernel's BTF, which it hands out by its id even where sysfs has no file of it (5.11)."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    libbpf.btf__load_from_kernel_by_id.restype = ctypes.c_void_p
    libbpf.btf__raw_data.restype = ctypes.c_void_p
    libbpf.btf__raw_data.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32))
    pointer = libbpf.btf__load_from_kernel_by_id(1)
    size = ctypes.c_uint32()
    data = libbpf.btf__raw_data(pointer, ctypes.byref(size)) if pointer else None
    return ctypes.string_at(data, size.value) if data else b""


def test_embedded_btf_serves_co_re(tmp_path: Path) -> None:
    full = kernels_own_btf()
    if not full:
        assert release() < (5, 11), "the kernel is newer than 5.11 and hands out no BTF by its id"
        pytest.skip("the kernel hands out no BTF by its id, to make embedded BTF from")
    package = tmp_path / "embedding"
    package.mkdir()
    (package / "__init__.py").touch()
    for folder in ebpf_probes.__path__:
        for path in Path(folder).glob("oom_kill.*"):
            shutil.copy(path, package)
    here = host()
    name = f"{here.distribution}/{here.version}/{here.release}.btf"
    target = elf.read(package / f"oom_kill.{here.architecture}.bpf.o")
    item = btf_bundle.FullBtf(tmp_path, name)
    list(btf_bundle.write_bundle(package / BUNDLE, [(item, minimal_btf([target], btf.index(full)))]))
    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module("embedding.oom_kill")
    config = ProbeConfig(allow_runtime_compiled_fallback=False)
    probes = {variant: loaded(module.OomKill, config, variant) for variant in SOURCES}
    with probes["kprobe"], probes["raw_tp"]:
        for probe in probes.values():
            report = probe.report
            assert (report.btf_source, report.btf_file, report.co_re_result) == ("embedded", name, "embedded")
        assert_equal_kills(probes)


def refusal(config: ProbeConfig) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(EbpfError) as caught:
            OomKill.open_and_load(config)
    report = caught.value.report
    assert report is not None
    return [type(caught.value).__name__, str(caught.value), report.header_result_name, report.compile_result_name]


def test_without_headers_there_is_a_clear_refusal(tmp_path: Path) -> None:
    config = ProbeConfig(
        runtime_compiler_output_dir=tmp_path / "build", kernel_header_download_dir=tmp_path / "downloads"
    )
    modules = [path for path in ("/usr/lib/modules", "/lib/modules") if Path(path).is_dir()]
    kind, text, headers, compiled = hidden_from(lambda: refusal(config), {*modules, "/usr/src"})
    assert (kind, headers, compiled) == (CompileError.__name__, "not_found", "headers_not_found")
    assert text == (
        "compile 'oom_kill' on this host: /sys/kernel/btf/vmlinux is missing, and so are kernel headers: find the "
        f"headers of kernel {os.uname().release}: the usual directories: there are none; /sys/kernel/kheaders.tar.xz: "
        "it is not there (CONFIG_IKHEADERS). Install them (apt install linux-headers-$(uname -r), dnf install "
        "kernel-devel-$(uname -r)), or set system_probe_config.enable_kernel_header_download to true, or name the BTF "
        "of this kernel by system_probe_config.btf_path."
    )


def test_without_a_compiler_there_is_a_clear_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_CLANG", "/nonexistent/clang")
    kind, text, headers, compiled = refusal(ProbeConfig(runtime_compiler_output_dir=tmp_path / "build"))
    assert (kind, headers, compiled) == (CompileError.__name__, "not_attempted", "compiler_not_found")
    assert text == (
        "compile 'oom_kill' on this host: use EBPF_CLANG=/nonexistent/clang: it does not answer like clang. "
        "Name a clang of 16 or newer."
    )


def test_the_doctor_says_so(build: Path) -> None:
    found = examine(ProbeConfig(runtime_compiler_output_dir=build))
    assert found["host"]["kernel_btf"] == ""
    assert found["host"]["headers"]["result"] == "default"
    probes = {probe["name"]: probe for probe in found["probes"]}
    assert (probes["oom_kill"]["works"], probes["oom_kill"]["compile_result"]) == (True, "cached")
    # Its iterators attach by the kernel's BTF, and the structures it reads are in no header.
    assert not probes["ebpf_inventory"]["works"]
    assert probes["ebpf_inventory"]["compile_result"] == "compile_error"
