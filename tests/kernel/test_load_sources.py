# SPDX-License-Identifier: Apache-2.0
"""Each way to load, forced one after the other on the running kernel: it ends in readings, or in one clear error."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest

import ebpf_probes
from ebpf_codegen import btf, btf_bundle, btf_writer
from ebpf_collector.checks import MetricScheme, check_factory
from ebpf_collector.runner import Failures, run_checks
from ebpf_probes.ebpf_inventory import EbpfInventory
from ebpf_probes.oom_kill import OomKill
from ebpf_runtime import (
    CompileError,
    CoReError,
    DigestError,
    EbpfError,
    FallbackWarning,
    ProbeConfig,
    kernel_headers,
)
from ebpf_runtime.btf_sources import BUNDLE, host
from tests.support.kernel import assert_nothing_new, identifiers, open_files
from tests.support.kills import kill_one, victims_cgroup
from tests.support.mounts import hidden_from
from tests.support.sources import make_module, write_source
from tests.unit.codegen.writers import ElfWriter
from tests.unit.collector.recording import RecordingSender

pytestmark = pytest.mark.kernel

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
MACHINE = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return tmp_path / "build"


@pytest.fixture(scope="module")
def objects() -> list[Path]:
    found = [path for folder in ebpf_probes.__path__ for path in Path(folder).glob(f"*.{MACHINE}.bpf.o")]
    assert len(found) == 3
    return found


@pytest.fixture(scope="module")
def minimal(objects: list[Path]) -> bytes:
    """The running kernel's BTF, cut to what the probes need."""
    ((_, data),) = btf_bundle.cut(objects, btf_bundle.find([KERNEL_BTF]))
    assert len(data) < 16 << 10
    return data


@contextmanager
def read_of_a_kill(probe: Any) -> Iterator[Any]:
    with victims_cgroup() as group:
        probe.attach()
        killed = kill_one(group, score_adj=300, comm="planted")
        found = [event for event in probe.maps.oom_events.poll(10) if event.victim_tgid == killed.pid]
        yield found


def readings(cls: Any, config: ProbeConfig) -> dict[str, Any]:
    """Return how a probe was loaded, and what it said of one kill; it must be right."""
    with cls.open_and_load(config) as probe, read_of_a_kill(probe) as events:
        (event,) = events
        assert (event.victim_comm, event.score_adj, event.is_memcg) == ("planted", 300, True)
        assert event.score_points > 1000
        report = probe.report
        return {
            "origin": probe.origin,
            "btf": report.btf_source,
            "file": report.btf_file,
            "notes": list(report.btf_notes),
            "co_re": report.co_re_result,
            "headers": report.header_result,
            "compile": report.compile_result,
        }


def only_co_re(**settings: Any) -> ProbeConfig:
    return ProbeConfig(allow_runtime_compiled_fallback=False, **settings)


def test_co_re_with_the_kernels_own_btf() -> None:
    found = readings(OomKill, only_co_re())
    assert found == {
        "origin": "co_re", "btf": "kernel", "file": str(KERNEL_BTF), "notes": [], "co_re": "default", "headers": 0,
        "compile": 0,
    }  # fmt: skip


@pytest.mark.any_kernel
@pytest.mark.parametrize("co_re", [True, False])
def test_the_verifiers_logs_of_programs_that_loaded_are_kept_where_bpf_debug_asks(build: Path, co_re: bool) -> None:
    settings: dict[str, Any] = {"enable_co_re": co_re, "runtime_compiler_output_dir": build}
    with OomKill.open_and_load(ProbeConfig(bpf_debug=True, **settings)) as probe:
        blocks = probe.report.log.split("-- END PROG LOAD LOG --\n")
        assert blocks.pop() == ""
        names = [re.match(r"prog '(\w+)': -- BEGIN PROG LOAD LOG --\n", block) for block in blocks]
        assert sorted(match[1] for match in names if match) == sorted(name for name, _ in probe.programs)
        assert len(blocks) == len(names)
        assert all(re.search(r"^processed \d+ insns", block, re.MULTILINE) for block in blocks)
    with OomKill.open_and_load(ProbeConfig(**settings)) as probe:
        assert probe.report.log == ""


@pytest.mark.parametrize("is_minimal", [True, False])
def test_co_re_with_the_btf_of_btf_path(tmp_path: Path, minimal: bytes, is_minimal: bool) -> None:
    path = tmp_path / "custom.btf"
    path.write_bytes(minimal if is_minimal else KERNEL_BTF.read_bytes())
    before = open_files()
    found = readings(OomKill, only_co_re(btf_path=path))
    assert open_files() == before
    assert (found["origin"], found["btf"], found["file"], found["co_re"]) == ("co_re", "custom", str(path), "custom")
    # ... and also where the kernel shows none.
    assert hidden_from(lambda: readings(OomKill, only_co_re(btf_path=path)))["btf"] == "custom"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "read {}: ENOENT, no such file or directory ({}). Check the path."),
        (b"no BTF", "read {}: libbpf finds no intact BTF in it. Copy /sys/kernel/btf/vmlinux of the same kernel."),
    ],
)
def test_a_btf_path_that_does_not_serve_is_one_warning_and_the_search_goes_on(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "custom.btf"
    if content is not None:
        path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = readings(OomKill, only_co_re(btf_path=path))
    (warning,) = caught
    assert warning.category is FallbackWarning
    problem = problem.replace("{}", str(path))
    assert str(warning.message) == f"{problem} Looking for BTF elsewhere."
    assert (found["btf"], found["co_re"]) == ("kernel", "default")
    assert found["notes"] == [problem.removesuffix(".")]


def carrying(directory: Path, members: dict[str, bytes]) -> ModuleType:
    """Return the module oom_kill in a package of its own that carries a bundle."""
    package = directory / f"carrying_{len(sys.modules)}"
    package.mkdir()
    (package / "__init__.py").touch()
    for folder in ebpf_probes.__path__:
        for path in Path(folder).glob("oom_kill.*"):
            shutil.copy(path, package)
    full = [btf_bundle.FullBtf(Path("unused"), name) for name in members]
    list(btf_bundle.write_bundle(package / BUNDLE, [(item, members[item.name]) for item in full]))
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(f"{package.name}.oom_kill")
    finally:
        sys.path.remove(str(directory))


def test_co_re_with_embedded_btf_where_the_kernel_shows_none(tmp_path: Path, minimal: bytes) -> None:
    here = host()
    name = f"{here.distribution}/{here.version}/{MACHINE}/{here.release}.btf"
    other = f"debian/10/{MACHINE}/4.19.0-1-amd64.btf"
    module = carrying(tmp_path, {name: minimal, other: b"never read"})
    found = hidden_from(lambda: readings(module.OomKill, only_co_re()))
    assert (found["origin"], found["btf"], found["file"], found["co_re"]) == ("co_re", "embedded", name, "embedded")
    assert found["notes"] == ["the kernel shows none in /sys/kernel/btf/vmlinux"]
    assert readings(module.OomKill, only_co_re())["btf"] == "kernel"  # which comes before


@pytest.mark.any_kernel
def test_embedded_btf_that_was_changed_is_refused_with_both_digests(tmp_path: Path, minimal: bytes) -> None:
    module = carrying(tmp_path, {f"debian/12/{os.uname().release}.btf": minimal})
    path = Path(module.__file__ or "").with_name(BUNDLE)
    right = sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b"\0")
    wrong = sha256(path.read_bytes()).hexdigest()

    def refused() -> list[str]:
        with pytest.raises(DigestError) as caught:
            module.OomKill.open()
        return [str(caught.value), caught.value.expected, caught.value.actual]

    text = f"open {BUNDLE}: its SHA-256 is {wrong}, not {right}. Reinstall the package."
    assert hidden_from(refused) == [text, right, wrong]


@pytest.mark.any_kernel
def test_an_embedded_source_that_was_changed_is_refused_with_both_digests(
    tmp_path: Path, build: Path, minimal: bytes
) -> None:
    module = carrying(tmp_path, {f"debian/12/{os.uname().release}.btf": minimal})
    path = Path(module.__file__ or "").with_name("oom_kill.flat.c")
    right = sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b"int planted;\n")
    wrong = sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DigestError) as caught:
        module.OomKill.open(ProbeConfig(False, runtime_compiler_output_dir=build))
    assert str(caught.value) == f"open oom_kill.flat.c: its SHA-256 is {wrong}, not {right}. Reinstall the package."
    assert (caught.value.name, caught.value.expected, caught.value.actual) == ("oom_kill.flat.c", right, wrong)
    report = caught.value.report
    assert report is not None
    assert (report.compile_result, report.compile_result_name) == (3, "source_verification_error")
    assert not build.exists()


def test_the_compiler_with_the_kernels_types(build: Path) -> None:
    config = ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=build)
    found = readings(OomKill, config)
    assert (found["origin"], found["btf"], found["co_re"], found["compile"]) == ("compiled", "", "", 1)
    assert readings(OomKill, config)["compile"] == 10  # cached


def refusal(config: ProbeConfig) -> dict[str, Any]:
    """Return the error with which loading ends, and how many warnings came before."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(EbpfError) as failure:
            OomKill.open_and_load(config)
    report = failure.value.report
    assert report is not None
    return {
        "kind": type(failure.value).__name__,
        "text": str(failure.value),
        "warnings": [str(item.message) for item in caught],
        "co_re": report.co_re_result,
        "headers": report.header_result,
        "compile": report.compile_result,
    }


def test_without_btf_and_with_compiling_forbidden_there_is_one_error() -> None:
    before = identifiers()
    found = hidden_from(lambda: refusal(only_co_re()))
    assert_nothing_new(before)
    assert (found["kind"], found["co_re"], found["compile"]) == (CoReError.__name__, "btf_not_found", 0)
    assert found["warnings"] == []
    assert "\n" not in found["text"]
    assert found["text"].startswith("load probe 'oom_kill' by CO-RE: no variant works here. ")
    assert found["text"].count("failed to find valid kernel BTF") == 1  # said once for all variants
    assert found["text"].endswith(
        " No BTF was found: the kernel shows none in /sys/kernel/btf/vmlinux; this package embeds none."
        " Set system_probe_config.allow_runtime_compiled_fallback to true to compile it on this host."
    )


@pytest.mark.parametrize("has_file", [True, False], ids=["btf_path", "no file"])
def test_programs_that_attach_by_btf_are_not_sent_after_a_file(tmp_path: Path, has_file: bool) -> None:
    """Which they have already, or which would not help."""
    code = 'SEC("tp_btf/sched_switch")\nint on_switch(void *ctx) { return 0; }\n'
    module = make_module(tmp_path, write_source(tmp_path, "one", code))
    path = tmp_path / "full.btf"
    path.write_bytes(KERNEL_BTF.read_bytes())

    def text() -> str:
        with pytest.raises(CoReError) as caught:
            module.One.open_and_load(only_co_re(btf_path=path) if has_file else only_co_re())
        return str(caught.value)

    none = "No BTF was found: the kernel shows none in /sys/kernel/btf/vmlinux; this package embeds none. "
    assert hidden_from(text) == (
        "load probe 'one' by CO-RE: ESRCH, no such process; failed to find valid kernel BTF. Mount sysfs on /sys, or "
        "take a kernel with BTF (CONFIG_DEBUG_INFO_BTF): a BTF file serves relocations alone, not programs that attach "
        f"by BTF. {'' if has_file else none}Set system_probe_config.allow_runtime_compiled_fallback to true to compile "
        "it on this host."
    )


@pytest.mark.any_kernel
@pytest.mark.parametrize("has_file", [True, False], ids=["btf_path", "no file"])
@pytest.mark.parametrize("co_re", [True, False])
def test_programs_that_attach_by_btf_are_compiled_for_no_kernel_without(
    build: Path, has_file: bool, co_re: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file nor headers would help, of which CO-RE's failure says the same."""
    monkeypatch.setenv("EBPF_CLANG", "/nonexistent/clang")  # it is not asked for
    file = build.with_name("full.btf")
    file.write_bytes(KERNEL_BTF.read_bytes())

    def refused() -> list[Any]:
        config = ProbeConfig(co_re, btf_path=file if has_file else None, runtime_compiler_output_dir=build)
        with warnings.catch_warnings(record=True) as caught, pytest.raises(CompileError) as failure:
            warnings.simplefilter("always")
            EbpfInventory.open_and_load(config)
        report = failure.value.report
        assert report is not None
        said = [str(item.message) for item in caught]
        return [str(failure.value), report.header_result, report.compile_result_name, said]

    text, header_result, compiled, said = hidden_from(refused)
    step = (
        "Mount sysfs on /sys, or take a kernel with BTF (CONFIG_DEBUG_INFO_BTF): a BTF file serves relocations alone, "
        "not programs that attach by BTF."
    )
    assert text == (
        "compile 'ebpf_inventory' on this host: its programs attach by the kernel's BTF, and "
        f"/sys/kernel/btf/vmlinux is missing. {step}"
    )
    assert (header_result, compiled) == (0, "compile_error")
    assert len(said) == co_re
    assert all(step in warning for warning in said)


def test_without_btf_and_headers_the_compiler_is_refused_with_one_error(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_headers, "DEFAULT_DIRECTORIES", (f"{tmp_path}/missing/{{}}",))
    config = ProbeConfig(runtime_compiler_output_dir=build, kernel_header_download_dir=tmp_path / "none")
    found = hidden_from(lambda: refusal(config))
    assert (found["kind"], found["co_re"]) == (CompileError.__name__, "btf_not_found")
    assert (found["headers"], found["compile"]) == (10, 9)  # not found
    (warning,) = found["warnings"]
    assert warning.endswith(" Falling back to compiling it on this host.")
    assert found["text"].startswith(
        "compile 'oom_kill' on this host: /sys/kernel/btf/vmlinux is missing, and so are kernel headers: "
    )
    assert "\n" not in found["text"]


@pytest.mark.any_kernel
def test_headers_of_another_kernel_are_refused(build: Path, tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    for name in ("types.h", "kconfig.h"):
        (headers / "include/linux").mkdir(parents=True, exist_ok=True)
        (headers / "include/linux" / name).touch()
    version = headers / "include/generated/uapi/linux/version.h"
    version.parent.mkdir(parents=True)
    version.write_text("#define LINUX_VERSION_CODE 263169\n")
    config = ProbeConfig(False, runtime_compiler_output_dir=build, kernel_header_dirs=[headers])
    found = hidden_from(lambda: refusal(config))
    assert (found["kind"], found["headers"], found["compile"]) == (CompileError.__name__, 8, 9)
    assert f"{headers} has LINUX_VERSION_CODE 263169 (4.4.1), the running kernel " in found["text"]


IMAGE = Path(f"/boot/vmlinux-{os.uname().release}")


def beside_an_image(content: bytes, function: Callable[[], Any]) -> Any:
    """Return what a function returns where the kernel shows no BTF, and libbpf finds this image of the kernel."""

    def within() -> Any:
        IMAGE.write_bytes(content)
        return function()

    return hidden_from(within, ("/sys/kernel/btf", "/boot"))


def test_an_image_of_the_kernel_without_btf_does_not_hide_the_bundle(tmp_path: Path, minimal: bytes) -> None:
    here = host()
    name = f"{here.distribution}/{here.version}/{MACHINE}/{here.release}.btf"
    module = carrying(tmp_path, {name: minimal})
    found = beside_an_image(Path("/bin/true").read_bytes(), lambda: readings(module.OomKill, only_co_re()))
    assert (found["btf"], found["file"], found["co_re"]) == ("embedded", name, "embedded")
    assert found["notes"] == ["the kernel shows none in /sys/kernel/btf/vmlinux", f"{IMAGE} holds none"]


@pytest.mark.any_kernel
@pytest.mark.parametrize("content", [b"", b"no ELF", b"\x7fELF\x02\x01", b"\x9f\xeb\x01"])
def test_an_image_of_the_kernel_without_btf_is_told_and_btf_is_not_found(content: bytes) -> None:
    found = beside_an_image(content, lambda: refusal(only_co_re()))
    assert (found["kind"], found["co_re"]) == (CoReError.__name__, "btf_not_found")
    assert (
        f" No BTF was found: the kernel shows none in /sys/kernel/btf/vmlinux; {IMAGE} holds none; "
        "this package embeds none."
    ) in found["text"]


@pytest.mark.parametrize("is_elf", [True, False])
def test_btf_in_an_image_of_the_kernel_serves_co_re_and_the_compiler(build: Path, is_elf: bool) -> None:
    content = KERNEL_BTF.read_bytes()
    if is_elf:
        elf = ElfWriter(machine=62)
        elf.section(".text", b"\x90")
        elf.section(".BTF", content)
        content = elf.build()
    found = beside_an_image(content, lambda: readings(OomKill, only_co_re()))
    assert (found["origin"], found["btf"], found["file"], found["co_re"]) == ("co_re", "kernel", str(IMAGE), "default")
    assert found["notes"] == ["the kernel shows none in /sys/kernel/btf/vmlinux"]
    config = ProbeConfig(False, runtime_compiler_output_dir=build)
    found = beside_an_image(content, lambda: readings(OomKill, config))
    assert (found["origin"], found["headers"], found["compile"]) == ("compiled", 0, 1)


@pytest.mark.any_kernel
def test_the_compiler_takes_no_btf_of_an_image_that_others_could_have_changed(build: Path) -> None:
    def refused() -> dict[str, Any]:
        os.chown(IMAGE, 1000, 1000)
        return refusal(ProbeConfig(False, runtime_compiler_output_dir=build))

    assert beside_an_image(KERNEL_BTF.read_bytes(), refused)["text"] == (
        f"compile 'oom_kill' on this host: read {IMAGE}: it belongs to user 1000, who could have changed it. "
        f"Give it to root (chown root {IMAGE})."
    )


# What the kernel answers is read off the relocated instruction.
OFFSET = """
struct task_struct___moved {
	int tgid;
	char comm[16];
} __attribute__((preserve_access_index));

/* Where the members are, by the BTF in use. */
__u64 offsets[2] = {};
const volatile __u32 wanted_pid = 0;

SEC("raw_tp/sys_enter")
int offset_of(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid)
		return 0;
	offsets[0] = bpf_core_field_offset(struct task_struct___moved, tgid);
	offsets[1] = bpf_core_field_offset(struct task_struct___moved, comm);
	return 0;
}
"""


def offsets(module: ModuleType, path: Path) -> tuple[int, int]:
    opened = module.Moved.open(only_co_re(btf_path=path))
    opened.rodata.wanted_pid = os.getpid()
    with opened.load() as probe:
        probe.attach()
        os.getppid()
        first, second = (probe.bss if hasattr(probe, "bss") else probe.data).offsets
        return first, second


def test_a_field_that_the_btf_moves_is_read_where_that_says(tmp_path: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "moved", OFFSET))
    path = tmp_path / "moved.btf"
    target = Path(module.__file__ or "").with_name(f"moved.{MACHINE}.bpf.o")
    ((_, data),) = btf_bundle.cut([target], btf_bundle.find([KERNEL_BTF]))
    path.write_bytes(data)
    tgid, comm = offsets(module, path)
    assert tgid != comm
    types = list(btf.read(data).types)
    (number,) = [i for i, item in enumerate(types) if isinstance(item, btf.Struct) and item.name == "task_struct"]
    task = types[number]
    assert isinstance(task, btf.Struct)
    types[number] = task._replace(
        members=tuple(
            member._replace(bit_offset=member.bit_offset + 8 * 64) if member.name == "tgid" else member
            for member in task.members
        ),
    )
    path.write_bytes(btf_writer.write(types, "little"))
    assert offsets(module, path) == (tgid + 64, comm)


def program_tags(probe: Any) -> dict[str, bytes]:
    """Return the kernel's digest of each program's instructions, as they are after relocation."""
    import ctypes

    from ebpf_runtime.libbpf import library

    found = {}
    for name, program in probe.programs:
        info = ctypes.create_string_buffer(256)
        assert library().bpf_obj_get_info_by_fd(program.fd, info, ctypes.byref(ctypes.c_uint32(256))) == 0
        found[name] = info.raw[8:16]
    return found


def probe_classes() -> list[Any]:
    modules = [importlib.import_module(f"ebpf_probes.{name}") for name in ("oom_kill", "tcp_queue_length")]
    modules.append(importlib.import_module("ebpf_probes.ebpf_inventory"))
    return [value for module in modules for value in vars(module).values() if hasattr(value, "open_and_load")]


@pytest.mark.parametrize("cls", probe_classes(), ids=lambda cls: cls.__name__)
def test_minimal_btf_relocates_every_program_as_the_full_one_does(
    cls: Any, tmp_path: Path, minimal: bytes, objects: list[Path]
) -> None:
    path = tmp_path / "minimal.btf"
    path.write_bytes(minimal)
    paths = [KERNEL_BTF, path]
    if bpftool := shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin"):
        theirs = tmp_path / "bpftool.btf"
        command = [bpftool, "gen", "min_core_btf", str(KERNEL_BTF), str(theirs), *map(str, objects)]
        subprocess.run(command, check=True)
        assert len(minimal) <= theirs.stat().st_size
        paths.append(theirs)
    tags = []
    for file in paths:
        for variant in cls.open().variants or ("",):
            opened = cls.open(only_co_re(btf_path=file))
            if variant:
                opened.select_variant(variant)
            try:
                with opened.load() as probe:
                    tags.append((variant, program_tags(probe)))
            except EbpfError as error:
                tags.append((variant, {"refused": str(error.errno).encode()}))
    each = len(tags) // len(paths)
    assert any("refused" not in found for _, found in tags)
    assert all(tags[index * each : (index + 1) * each] == tags[:each] for index in range(len(paths)))


def test_btf_of_another_kernel_relocates_otherwise(tmp_path: Path, minimal: bytes) -> None:
    """The test above could not fail if the tags did not depend on offsets."""
    types = [
        item._replace(members=tuple(member._replace(bit_offset=member.bit_offset + 64) for member in item.members))
        if isinstance(item, btf.Struct) and item.name == "oom_control"
        else item
        for item in btf.read(minimal).types
    ]
    paths = [tmp_path / "right.btf", tmp_path / "wrong.btf"]
    paths[0].write_bytes(minimal)
    paths[1].write_bytes(btf_writer.write(types, "little"))
    tags = []
    for path in paths:
        opened = OomKill.open(only_co_re(btf_path=path))
        opened.select_variant("raw_tp")
        with opened.load() as probe:
            tags.append(program_tags(probe))
    assert tags[0] != tags[1]


@pytest.mark.any_kernel
def test_btf_is_no_place_to_smuggle_a_file_in(tmp_path: Path) -> None:
    """A header alone, or one with lengths beyond the file, is not taken."""
    path = tmp_path / "short.btf"
    path.write_bytes(struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 1 << 20, 1 << 20, 1))
    with pytest.warns(FallbackWarning, match="libbpf finds no intact BTF in it"):
        OomKill.open(ProbeConfig(btf_path=path)).close()


def sent_of_a_failed_start(config: ProbeConfig, scheme: MetricScheme) -> list[Any]:
    """Run the check once; return what was reported, the exit code, the points and the number of commits."""
    sender, reported = RecordingSender(), list[str]()
    failures = Failures(reported.append)
    check = check_factory("oom_kill", config, scheme)()
    run_checks([check], sender, Event(), failures, interval_s=10, count=1)
    return [reported, failures.exit_code, [list(point) for point in sender.points], sender.commits]


def datadogs_tags(*more: str) -> list[str]:
    here, uname = host(), os.uname()
    return [
        f"platform:{here.distribution}",
        f"platform_version:{here.version}",
        f"kernel:{uname.release}",
        f"arch:{uname.machine}",
        *more,
    ]


def test_a_check_that_cannot_be_compiled_sends_so(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_CLANG", "/nonexistent/clang")
    config = ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=build)
    reported, code, points, commits = sent_of_a_failed_start(config, MetricScheme.DATADOG)
    text = (
        "check oom_kill: compile 'oom_kill' on this host: use EBPF_CLANG=/nonexistent/clang: it does not answer like "
        "clang. Name a clang of 16 or newer."
    )
    assert (reported, code, commits) == ([text], 1, 1)
    tags = datadogs_tags("asset:oom-kill", "result:compiler_not_found")
    assert points == [["monotonic_count", "ebpf__runtime_compilation__compile__error", 1, tags]]
    reported, code, points, commits = sent_of_a_failed_start(config, MetricScheme.NATIVE)
    assert (reported, code, commits) == ([text], 1, 1)
    seconds = points[-1][2]
    assert points == [
        ["gauge", "ebpf_collector.compile_result", 6, ["probe:oom_kill", "result:compiler_not_found"]],
        ["gauge", "ebpf_collector.compile_seconds", seconds, ["probe:oom_kill"]],
    ]


def test_a_check_that_finds_no_btf_and_must_not_compile_sends_so() -> None:
    reported, code, points, commits = hidden_from(lambda: sent_of_a_failed_start(only_co_re(), MetricScheme.DATADOG))
    (line,) = reported
    assert line.startswith("check oom_kill: ")
    assert "system_probe_config.allow_runtime_compiled_fallback" in line
    assert (code, commits) == (1, 1)
    tags = datadogs_tags("asset:oom-kill", "error_type:btf_not_found")
    assert points == [["monotonic_count", "ebpf__core__load__error", 1, tags]]
    _, _, points, _ = hidden_from(lambda: sent_of_a_failed_start(only_co_re(), MetricScheme.NATIVE))
    assert points == [["gauge", "ebpf_collector.co_re_result", 1, ["probe:oom_kill", "result:btf_not_found"]]]
