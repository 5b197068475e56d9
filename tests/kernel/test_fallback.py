# SPDX-License-Identifier: Apache-2.0
"""CO-RE first, the compiler second: the source compiled on this host says the same as the CO-RE object."""

from __future__ import annotations

import ctypes
import importlib
import io
import json
import os
import pkgutil
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import ebpf_codegen
import ebpf_probes
import ebpf_runtime
from ebpf_codegen import compiler
from ebpf_probes.oom_kill import OomKill, OomKillEvent, OomKillSource
from ebpf_runtime import (
    CompileError,
    CoReError,
    DigestError,
    FallbackWarning,
    LoadError,
    OpenError,
    ProbeConfig,
    VerifierError,
    kernel_headers,
    vmlinux,
)
from ebpf_runtime import compile as compile_here
from ebpf_runtime.digests import package_file
from tests.support.header_trees import headers
from tests.support.kernel import open_files
from tests.support.kills import kill_one, victims_cgroup
from tests.support.mounts import hidden_from
from tests.support.namespaces import as_somebody_elses_namesake
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel


# Where there are kprobes, both are refused with the same line.
NO_VARIANT = (
    "load probe 'oom_kill' by CO-RE: no variant works here. fentry: load, ",
    "load probe 'oom_kill' by CO-RE: no variant works here. fentry, kprobe: load, ",
)


ONE = """
SEC("raw_tp/sys_enter")
int one(void *ctx)
{
	return 0;
}
"""


class Compiler:
    """A compiler in EBPF_CLANG that notes its command lines."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = directory / "compiler.log"
        self.log.touch()
        self.path = directory / "counted-clang"
        real = shlex.join(compiler.find_compiler().command)
        self.write(f'exec {real} "$@"')
        monkeypatch.setenv("EBPF_CLANG", str(self.path))

    def write(self, command: str) -> None:
        self.path.write_text(f'#!/bin/sh\necho "$*" >>{self.log}\n{command}\n')
        self.path.chmod(0o755)

    def runs(self) -> list[str]:
        return self.log.read_text().splitlines()

    def compilations(self) -> int:
        return sum(" -c " in line for line in self.runs())


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(tmp_path, monkeypatch)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return tmp_path / "build"


def compiled_only(build: Path) -> ProbeConfig:
    return ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=build)


@pytest.fixture
def empty_btf(tmp_path: Path) -> Path:
    """BTF that has no type but an int, so that no CO-RE relocation finds its target."""
    types = struct.pack("<IIII", 1, 1 << 24, 4, 32 | 1 << 24)
    strings = b"\0int\0"
    path = tmp_path / "empty.btf"
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    path.write_bytes(header + types + strings)
    return path


def relocations(image: bytes) -> int:
    """Return the length of the CO-RE relocations of an object, read by pyelftools."""
    section = ELFFile(io.BytesIO(image)).get_section_by_name(".BTF.ext")
    assert section is not None
    header = struct.unpack_from("<HBBIIIIIII", section.data())
    assert header[0] == 0xEB9F
    return int(header[-1])


def read(probe: OomKill, count: int) -> list[OomKillEvent]:
    events: list[OomKillEvent] = []
    while len(events) < count:
        found = list(probe.maps.oom_events.poll(10))
        assert found
        events += found
    return events


@pytest.mark.any_kernel
def test_the_compiler_runs_once_and_then_never_again(build: Path, counted: Compiler, monkeypatch: Any) -> None:
    with OomKill.open_and_load(compiled_only(build)) as probe:
        assert probe.origin == "compiled"
        assert counted.compilations() == 1
    before = counted.runs()
    assert len(before) == 1  # it was not asked for its version: what it made tells
    assert probe.report.compiler == f"{counted.path} (clang {compiler.find_compiler().major})"
    before = counted.runs()
    with OomKill.open_and_load(compiled_only(build)) as probe:
        assert probe.origin == "compiled"
    assert counted.runs() == before  # not even asked for its version
    monkeypatch.delenv("EBPF_CLANG")
    monkeypatch.setattr(compiler, "_installed", lambda: iter(()))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # there is none any more
    with OomKill.open_and_load(compiled_only(build)) as probe:
        probe.attach()


@pytest.mark.any_kernel
def test_an_explicit_compiler_is_used_whatever_another_has_made(
    build: Path, counted: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EBPF_CLANG")
    OomKill.open(compiled_only(build)).close()
    assert not counted.runs()
    monkeypatch.setenv("EBPF_CLANG", str(counted.path))
    for result in ("compiled", "cached"):
        with OomKill.open_and_load(compiled_only(build)) as probe:
            assert probe.report.compile_result_name == result
        assert counted.compilations() == 1
    monkeypatch.setenv("EBPF_CLANG", "/nonexistent/clang")
    with pytest.raises(CompileError) as caught:
        OomKill.open(compiled_only(build))
    assert str(caught.value) == (
        "compile 'oom_kill' on this host: use EBPF_CLANG=/nonexistent/clang: it does not answer like clang. "
        "Name a clang of 16 or newer."
    )


UNREADABLE = bytes.fromhex("bf91000000000000")  # r1 = r9, which holds nothing yet


def keep_instead(path: Path, image: bytes) -> Path:
    """Keep another object in place of one, as if it had been compiled; return its file."""
    other = path.with_name(f"{path.name.rpartition('-')[0]}-{sha256(image).hexdigest()}.o")
    path.unlink()
    other.write_bytes(image)
    other.chmod(0o600)
    return other


def spoiled(image: bytes) -> bytes:
    """Return an object whose programs the verifier refuses at their first instruction."""
    found = bytearray(image)
    elf = ELFFile(io.BytesIO(image))
    symbols = elf.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    for symbol in symbols.iter_symbols():
        if symbol["st_info"]["type"] == "STT_FUNC":
            section = elf.get_section(symbol["st_shndx"])
            if section.name != ".text":
                at = section["sh_offset"] + symbol["st_value"]
                found[at : at + len(UNREADABLE)] = UNREADABLE
    assert found != image
    return bytes(found)


@pytest.mark.any_kernel
@pytest.mark.parametrize("spoil", [spoiled, lambda image: image[:64]], ids=["by the verifier", "by libbpf"])
def test_a_kept_object_that_is_refused_is_compiled_once_more(build: Path, counted: Compiler, spoil: Any) -> None:
    OomKill.open(compiled_only(build)).close()
    (path,) = build.iterdir()
    bad = keep_instead(path, spoil(path.read_bytes()))
    opened = OomKill.open(compiled_only(build))
    opened.rodata.scan_stack = False
    with opened.load() as probe:
        assert (probe.origin, probe.report.compile_result_name) == ("compiled", "compiled")
        assert probe.rodata.scan_stack is False  # what was set before is kept
        probe.attach()
    assert counted.compilations() == 2
    assert list(build.iterdir()) == [path]
    assert path != bad
    with OomKill.open_and_load(compiled_only(build)) as probe:
        assert probe.report.compile_result_name == "cached"
    assert counted.compilations() == 2


@pytest.mark.any_kernel
def test_a_kept_object_that_is_refused_and_cannot_be_compiled_is_named(
    build: Path, counted: Compiler, tmp_path: Path
) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "one", ONE))
    module.One.open(compiled_only(build)).close()
    (path,) = build.iterdir()
    bad = keep_instead(path, spoiled(path.read_bytes()))
    counted.write("exit 1")
    with pytest.raises(LoadError) as caught:
        module.One.open_and_load(compiled_only(build))
    assert re.fullmatch(
        r"load program 'one' at one\.bpf\.c:\d+, instruction 0: EACCES, permission denied, the verifier says: "
        r"R9 !read_ok\. \d+ more lines are in the error's log\. The object that was compiled on this host is "
        rf"{re.escape(str(bad))}\. Compiling it afresh failed: compile 'one' on this host: use EBPF_CLANG="
        rf"{counted.path}: it does not answer like clang\. Name a clang of 16 or newer\.",
        str(caught.value),
    )
    assert isinstance(caught.value.__cause__, CompileError)
    assert caught.value.report is not None
    assert caught.value.report.compile_result_name == "compiler_not_found"
    assert "R9 !read_ok" in caught.value.log
    assert list(build.iterdir()) == [bad]


@pytest.mark.any_kernel
def test_a_compiled_object_that_is_refused_each_time_is_named(build: Path, counted: Compiler, tmp_path: Path) -> None:
    code = ONE.replace("return 0;", "return *(volatile int *)1000;")
    module = make_module(tmp_path, write_source(tmp_path, "one", code))
    before = counted.compilations()
    for compilations in (1, 2):
        with pytest.raises(VerifierError) as caught:
            module.One.open_and_load(compiled_only(build))
        (path,) = build.iterdir()
        text = str(caught.value)
        assert text.startswith("load program 'one' at one.bpf.c:")
        assert text.endswith(
            f" more lines are in the error's log. The object that was compiled on this host is {path}."
        )
        assert counted.compilations() == before + compilations


@pytest.mark.any_kernel
def test_a_shortage_is_no_reason_to_compile_a_kept_object_once_more(build: Path, counted: Compiler) -> None:
    OomKill.open(compiled_only(build)).close()
    opened = OomKill.open(compiled_only(build))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(open_files()) + 2, hard))
    try:
        with pytest.raises(LoadError) as caught:
            opened.load()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert re.fullmatch(
        r"load probe 'oom_kill': EMFILE, too many open files; libbpf has to have \d+ more\. Raise this process's limit "
        r"of open files \(ulimit -n, LimitNOFILE=\)\.",
        str(caught.value),
    )
    assert counted.compilations() == 1


@pytest.mark.any_kernel
def test_the_compiled_object_has_no_co_re_relocations(build: Path) -> None:
    OomKill.open_and_load(compiled_only(build)).close()
    (path,) = build.iterdir()
    assert relocations(path.read_bytes()) == 0
    machine = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    from ebpf_probes.oom_kill import _OBJECT

    assert relocations(_OBJECT.read(f"{machine}.bpf.o")) > 0


def probe_classes() -> list[Any]:
    """Return the class of every probe that the package has."""
    modules = [
        importlib.import_module(f"ebpf_probes.{item.name}") for item in pkgutil.iter_modules(ebpf_probes.__path__)
    ]
    return [value for module in modules for value in vars(module).values() if hasattr(value, "open_and_load")]


@pytest.mark.parametrize("cls", probe_classes(), ids=lambda cls: cls.__name__)
def test_every_probe_takes_the_same_variant_both_ways(cls: Any, build: Path) -> None:
    by_co_re = ProbeConfig(allow_runtime_compiled_fallback=False)
    with cls.open_and_load(by_co_re) as co_re, cls.open_and_load(compiled_only(build)) as compiled:
        assert (compiled.variant, compiled.origin) == (co_re.variant, "compiled")
        assert [item.variant for item in compiled.refused] == [item.variant for item in co_re.refused]
        compiled.attach()


@pytest.mark.parametrize("scan_stack", [True, False])
def test_both_ways_read_the_same_of_the_same_kills(build: Path, scan_stack: bool) -> None:
    probes = []
    for config in (ProbeConfig(allow_runtime_compiled_fallback=False), compiled_only(build)):
        opened = OomKill.open(config)
        opened.rodata.scan_stack = scan_stack
        probes.append(opened.load())
    co_re, compiled = probes
    with co_re, compiled, victims_cgroup() as group:
        assert (co_re.origin, compiled.origin) == ("co_re", "compiled")
        assert co_re.variant == compiled.variant
        co_re.attach()
        compiled.attach()
        planted = [kill_one(group, score_adj=100 * i, comm=f"victim{i}").pid for i in range(3)]
        ours = [
            [event.replace(timestamp_ns=0) for event in read(probe, 3) if event.victim_tgid in planted]
            for probe in probes
        ]
    assert ours[0] == ours[1]
    assert [event.victim_tgid for event in ours[0]] == planted
    if compiled.variant == "raw_tp":
        expected = OomKillSource.STACK if scan_stack else OomKillSource.RECOMPUTED
        assert {event.source for event in ours[1]} == {expected}
    assert all(event.score_points > 1000 for event in ours[1])


def test_a_failure_of_co_re_is_one_warning_and_then_the_compiler(
    build: Path, empty_btf: Path, counted: Compiler
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened = OomKill.open(ProbeConfig(btf_path=empty_btf, runtime_compiler_output_dir=build))
        opened.rodata.scan_stack = False
        with opened.load() as probe:
            assert probe.origin == "compiled"
            assert probe.rodata.scan_stack is False  # what was set before is kept
    (warning,) = caught
    assert warning.category is FallbackWarning
    assert warning.filename == __file__
    text = str(warning.message)
    assert text.startswith(NO_VARIANT)
    assert text.endswith(" Falling back to compiling it on this host.")
    assert "\n" not in text
    assert counted.compilations() == 1


def test_where_compiling_is_forbidden_one_error_names_probe_cause_and_setting(
    build: Path, empty_btf: Path, counted: Compiler
) -> None:
    config = ProbeConfig(btf_path=empty_btf, allow_runtime_compiled_fallback=False, runtime_compiler_output_dir=build)
    with pytest.raises(CoReError) as caught:
        OomKill.open_and_load(config)
    text = str(caught.value)
    assert text.startswith(NO_VARIANT)
    assert text.endswith(" Set system_probe_config.allow_runtime_compiled_fallback to true to compile it on this host.")
    assert "\n" not in text
    assert isinstance(caught.value.__cause__, LoadError)
    assert caught.value.log
    assert not counted.runs()
    assert not build.exists()


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "ebpf_collector", "check", "oom_kill", "--json", "--interval", "0.1", *arguments)
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


def configuration(path: Path, **settings: object) -> str:
    path.write_text(json.dumps({"system_probe_config": settings}, default=str))
    return str(path)


@pytest.mark.any_kernel
def test_the_collector_shows_the_warning_as_one_line_and_the_origin_as_a_tag(
    tmp_path: Path, build: Path, empty_btf: Path
) -> None:
    config = configuration(tmp_path / "c.yaml", btf_path=empty_btf, runtime_compiler_output_dir=build)
    done = check("--config", config)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("ebpf-collector: warning: load probe 'oom_kill' by CO-RE: ")
    info = [json.loads(line) for line in done.stdout.splitlines() if "probe_info" in line]
    assert info[0]["tags"][-1] == "origin:compiled"
    assert json.loads(check().stdout.splitlines()[0])["tags"][-1] == "origin:co_re"


@pytest.mark.any_kernel
def test_the_collector_ends_with_the_one_error_where_compiling_is_forbidden(tmp_path: Path, empty_btf: Path) -> None:
    config = configuration(tmp_path / "c.yaml", btf_path=empty_btf, allow_runtime_compiled_fallback=False)
    done = check("--config", config)
    assert done.returncode == 1
    (tried,) = map(json.loads, done.stdout.splitlines())
    assert (tried["metric"], tried["value"]) == ("ebpf_collector.co_re_result", 1)
    assert tried["tags"] == ["probe:oom_kill", "result:loader"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("ebpf-collector: check oom_kill: load probe 'oom_kill' by CO-RE: ")
    assert "system_probe_config.allow_runtime_compiled_fallback" in line


@pytest.mark.any_kernel
def test_ziglang_serves_where_there_is_no_clang(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBPF_CLANG", raising=False)
    monkeypatch.setattr(compiler, "_installed", lambda: iter(()))
    assert "ziglang" in compiler.find_compiler().command
    with OomKill.open_and_load(compiled_only(build)) as probe, victims_cgroup() as group:
        probe.attach()
        pid = kill_one(group).pid
        assert pid in [event.victim_tgid for event in read(probe, 1)]


@pytest.mark.any_kernel
def test_without_a_compiler_the_error_says_how_to_get_one(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBPF_CLANG", raising=False)
    monkeypatch.setattr(compiler, "_installed", lambda: iter(()))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompileError) as caught:
        OomKill.open(compiled_only(build))
    assert str(caught.value) == (
        "compile 'oom_kill' on this host: find a BPF compiler: no clang of 16 or newer on PATH or in /usr/lib/llvm-*. "
        "Install one (apt install clang-16, dnf install clang) or run pip install 'ziglang==0.15.2', "
        "or set EBPF_CLANG."
    )
    assert caught.value.report is not None
    assert (caught.value.report.compile_result, caught.value.report.compile_result_name) == (6, "compiler_not_found")


@pytest.mark.any_kernel
def test_a_source_whose_copy_cannot_be_hashed_is_told_as_such(build: Path) -> None:
    def told() -> list[Any]:
        with pytest.raises(CompileError) as caught:
            OomKill.open(compiled_only(build))
        report = caught.value.report
        assert report is not None
        return [str(caught.value), report.compile_result, report.compile_result_name]

    assert hidden_from(told, ("/proc",)) == [
        "compile 'oom_kill' on this host: copy oom_kill.bpf.c: /proc does not show the copy (ENOENT, no such file or "
        "directory). Mount the proc of this process's namespace at /proc.",
        11,
        "input_hash_error",
    ]


@pytest.mark.any_kernel
def test_a_likely_compiler_that_is_unfit_gives_way_to_the_next(
    tmp_path: Path, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EBPF_CLANG", raising=False)
    fit = compiler.find_compiler()
    unfit = tmp_path / "bin" / "clang"
    unfit.parent.mkdir()
    monkeypatch.setenv("PATH", str(unfit.parent), prepend=os.pathsep)
    as_old = f'{shlex.join(fit.command)} "$@" && sed -i "s/clang version [0-9]*/clang version 15/" {{}}'
    for body in ("exit 1", "echo 'x: error: no' >&2; exit 1", "exit 0", as_old.format('"$(eval echo \\$$#)"')):
        unfit.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit 1\n{body}\n")
        unfit.chmod(0o755)
        with OomKill.open_and_load(compiled_only(build)) as probe:
            assert probe.report.compiler == str(fit)
        for path in build.iterdir():
            path.unlink()


@pytest.mark.any_kernel
def test_a_refusal_of_the_compiler_is_one_line_and_keeps_the_file(build: Path, counted: Compiler) -> None:
    counted.write(
        'case "$*" in *--version*) echo clang version 19.0.0; exit;; esac; echo "x.c:1:2: error: no" >&2; exit 1'
    )
    with pytest.raises(CompileError) as caught:
        OomKill.open(compiled_only(build))
    (kept,) = build.glob("*.c")
    assert str(caught.value) == (
        f"compile 'oom_kill' on this host: {counted.path} (clang 19) refuses it: x.c:1:2: error: no. See {kept}."
    )
    assert caught.value.log == "x.c:1:2: error: no\n"
    assert "EBPF_HOST_COMPILED" in kept.read_text()
    assert [path.suffix for path in build.iterdir()] == [".c"]


@pytest.mark.any_kernel
def test_an_interrupt_ends_a_compiler_that_hangs(build: Path, counted: Compiler) -> None:
    counted.write('case "$*" in *--version*) echo clang version 19.0.0; exit;; esac; kill -ALRM $PPID; exec sleep 60')

    def interrupt(*_: object) -> None:
        raise SystemExit  # as the collector does; of a KeyboardInterrupt, subprocess leaves a zombie for a while

    before = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    try:
        with pytest.raises(SystemExit):
            OomKill.open(compiled_only(build))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 20
    assert counted.compilations() == 1
    assert not list(build.iterdir())
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.any_kernel
def test_a_kernel_without_btf_and_headers_needs_the_btf_of_btf_path(
    tmp_path: Path, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vmlinux, "SYSFS", str(tmp_path / "missing"))
    monkeypatch.setattr(kernel_headers, "DEFAULT_DIRECTORIES", (f"{tmp_path}/missing/{{}}",))
    with pytest.raises(CompileError) as caught:
        OomKill.open(compiled_only(build))
    assert str(caught.value) == (
        f"compile 'oom_kill' on this host: {tmp_path}/missing is missing, and so are kernel headers: find the headers "
        f"of kernel {os.uname().release}: the usual directories: there are none; /sys/kernel/kheaders.tar.xz: it is "
        "not there (CONFIG_IKHEADERS). Install them (apt install linux-headers-$(uname -r), dnf install "
        "kernel-devel-$(uname -r)), or set system_probe_config.enable_kernel_header_download to true, or name the BTF "
        "of this kernel by system_probe_config.btf_path."
    )
    config = ProbeConfig(False, btf_path="/sys/kernel/btf/vmlinux", runtime_compiler_output_dir=build)
    with OomKill.open_and_load(config) as probe:
        assert probe.origin == "compiled"


@pytest.mark.any_kernel
def test_a_file_that_others_could_have_written_is_refused(build: Path) -> None:
    OomKill.open(compiled_only(build)).close()
    (path,) = build.iterdir()
    path.chmod(0o622)
    with pytest.raises(CompileError) as caught:
        OomKill.open(compiled_only(build))
    assert str(caught.value) == (
        f"read {path}: it belongs to user {os.geteuid()} and has mode 0622, so others could have made it. Delete it."
    )


@pytest.mark.any_kernel
def test_an_object_of_another_layout_than_the_module_is_refused(tmp_path: Path, build: Path) -> None:
    code = """
/* Two numbers. */
struct pair {
	%s first;
	%s second;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct pair);
} pairs SEC(".maps");
"""
    sources = {}
    for name, types in (("module", ("__u64", "__u64")), ("object", ("__u32", "__s32"))):
        directory = tmp_path / name
        directory.mkdir()
        module = make_module(directory, write_source(directory, "pairs", code % types))
        sources[name] = module
    text = sources["object"]._OBJECT.read("flat.c")
    package = Path(sources["module"].__file__ or "").parent
    old = (package / "pairs.flat.c").read_bytes()
    (package / "pairs.flat.c").write_bytes(text)
    digests = package / "pairs.sha256"
    digests.write_text(digests.read_text().replace(sha256(old).hexdigest(), sha256(text).hexdigest()))
    with pytest.raises(CompileError) as caught:
        sources["module"].Pairs.open(compiled_only(build))
    assert str(caught.value) == (
        "compile 'pairs' on this host: the value of map 'pairs' has 8 bytes, the module says 16. "
        "Run tools/regen, or reinstall the package."
    )
    assert not list(build.iterdir())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose files stand before those of the package ebpf_runtime, with its list of libbpf's headers."""
    directory = tmp_path / "ebpf_runtime"
    header = directory / "include/bpf/bpf_helpers.h"
    header.parent.mkdir(parents=True)
    header.write_bytes(package_file(ebpf_runtime, "include/bpf/bpf_helpers.h") or b"")
    listing = package_file(ebpf_runtime, "libbpf_headers.sha256") or b""
    assert listing.count(b"\n") == 6
    (directory / "libbpf_headers.sha256").write_bytes(listing)
    monkeypatch.setattr(ebpf_runtime, "__path__", [str(directory), *ebpf_runtime.__path__])
    return directory


@pytest.mark.any_kernel
def test_a_header_of_libbpfs_that_was_changed_is_refused_with_both_digests(
    build: Path, counted: Compiler, package: Path
) -> None:
    header = package / "include/bpf/bpf_helpers.h"
    right = header.read_bytes()
    header.write_bytes(right + b"int planted = 1;\n")
    expected, actual = (sha256(data).hexdigest() for data in (right, header.read_bytes()))
    with pytest.raises(DigestError) as caught:
        OomKill.open(compiled_only(build))
    assert str(caught.value) == (
        f"open include/bpf/bpf_helpers.h: its SHA-256 is {actual}, not {expected}. Reinstall the package."
    )
    assert (caught.value.name, caught.value.expected, caught.value.actual) == (
        "include/bpf/bpf_helpers.h",
        expected,
        actual,
    )
    assert caught.value.report is not None
    assert caught.value.report.compile_result_name == "source_verification_error"
    assert not counted.runs()
    assert not list(build.iterdir())
    header.write_bytes(right)
    OomKill.open(compiled_only(build)).close()
    (kept,) = build.iterdir()
    header.write_bytes(b"#error not read")  # nor is it looked at where nothing is compiled
    OomKill.open(compiled_only(build)).close()
    assert list(build.iterdir()) == [kept]


@pytest.mark.any_kernel
def test_other_headers_of_libbpf_than_before_are_compiled_with(build: Path, counted: Compiler, package: Path) -> None:
    OomKill.open(compiled_only(build)).close()
    header, listing = package / "include/bpf/bpf_helpers.h", package / "libbpf_headers.sha256"
    old = sha256(header.read_bytes()).hexdigest()
    header.write_bytes(header.read_bytes() + b"/* of another release */\n")
    listing.write_text(listing.read_text().replace(old, sha256(header.read_bytes()).hexdigest()))
    before = counted.compilations()
    OomKill.open(compiled_only(build)).close()
    assert counted.compilations() == before + 1
    assert len(list(build.iterdir())) == 2


@pytest.mark.any_kernel
def test_a_header_of_libbpfs_that_is_missing_is_an_error(build: Path, package: Path) -> None:
    with (package / "libbpf_headers.sha256").open("a") as listing:
        listing.write(f"{'0' * 64}  include/bpf/missing.h\n")
    with pytest.raises(OpenError) as caught:
        OomKill.open(compiled_only(build))
    assert str(caught.value) == (
        "open include/bpf/missing.h: it is not in the package ebpf_runtime. Reinstall the package."
    )


@pytest.mark.any_kernel
@pytest.mark.parametrize(("name", "text"), [("btf.py", b"x"), ("host_compiler.py", b"y")])
def test_other_rules_than_before_give_the_object_another_name(
    tmp_path: Path, build: Path, name: str, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    OomKill.open(compiled_only(build)).close()
    (old,) = build.iterdir()
    package = ebpf_codegen if name == "btf.py" else ebpf_runtime
    (tmp_path / name).write_bytes(text)
    monkeypatch.setattr(package, "__path__", [str(tmp_path), *package.__path__])
    importlib.import_module("ebpf_codegen.btf")  # as it was
    OomKill.open(compiled_only(build)).close()
    (new,) = {*build.iterdir()} - {old}
    assert new.name.rpartition("-")[2] == old.name.rpartition("-")[2]  # the same object


# Everything that bpf_core_read.h can ask, of members and types that this kernel has and has not.
QUESTIONS = """
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct signal_struct___bits {
	unsigned int is_child_subreaper : 1;
	unsigned int has_child_subreaper : 1;
	unsigned int no_such_bit : 3;
};

struct task_struct___bits {
	struct signal_struct___bits *signal;
	int tgid;
	int no_such_member;
	struct {
		int deeper;
	} no_such_struct;
	struct hlist_node no_such_array[3];
	struct hlist_node pid_links[4];
};

struct no_such_type {
	int x;
};

enum cgroup_subsys_id___other {
	memory_cgrp_id___other = 100,
	no_such_cgrp_id = 101,
};

#pragma clang attribute pop

struct task_struct___own {
	int pid;
	char comm[16];
} __attribute__((preserve_access_index));

/* What is asked for, and found. */
__u64 answers[24] = {};
const volatile __u32 wanted_pid = 0;

SEC("raw_tp/sys_enter")
int ask(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct___bits *task = (void *)bpf_get_current_task();
	struct task_struct___own *own = (void *)task;
	char comm[16] = {};

	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid)
		return 0;
	answers[0] = BPF_CORE_READ(task, tgid);
	answers[1] = bpf_core_field_exists(task->no_such_member);
	answers[2] = bpf_core_field_exists(struct task_struct___bits, no_such_struct.deeper);
	answers[3] = bpf_core_field_exists(task->no_such_array[2].next);
	answers[4] = bpf_core_field_exists(task->pid_links[1].next);
	answers[5] = bpf_core_field_offset(struct task_struct___bits, pid_links);
	answers[6] = bpf_core_field_size(task->pid_links);
	answers[7] = bpf_core_type_exists(struct no_such_type);
	answers[8] = bpf_core_type_exists(struct task_struct___bits);
	answers[9] = bpf_core_type_size(struct task_struct);
	answers[10] = bpf_core_enum_value_exists(enum cgroup_subsys_id___other, no_such_cgrp_id);
	answers[11] = bpf_core_enum_value_exists(enum cgroup_subsys_id___other, memory_cgrp_id___other);
	answers[12] = bpf_core_enum_value(enum cgroup_subsys_id___other, memory_cgrp_id___other);
	struct signal_struct___bits *signal = BPF_CORE_READ(task, signal);
	answers[13] = BPF_CORE_READ_BITFIELD_PROBED(signal, is_child_subreaper);
	answers[14] = BPF_CORE_READ_BITFIELD_PROBED(signal, has_child_subreaper);
	answers[15] = BPF_CORE_READ(own, pid);
	BPF_CORE_READ_STR_INTO(&comm, own, comm);
	answers[16] = *(__u64 *)comm;
	answers[17] = bpf_core_field_offset(struct signal_struct, oom_mm);
	if (bpf_core_field_exists(task->no_such_member))
		answers[18] = BPF_CORE_READ(task, no_such_member);
	answers[19] = (__u64)BPF_CORE_READ(task, pid_links[1].next);
	answers[20] = bpf_core_type_size(struct signal_struct);
	return 0;
}
"""
PR_SET_CHILD_SUBREAPER = 36


def answers(module: Any, config: ProbeConfig) -> list[int]:
    opened = module.Questions.open(config)
    opened.rodata.wanted_pid = os.getpid()
    with opened.load() as probe:
        probe.attach()
        os.getppid()
        found = (probe.bss if hasattr(probe, "bss") else probe.data).answers
        return list(found)


def test_every_question_has_the_same_answer_both_ways(tmp_path: Path, build: Path) -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    module = make_module(tmp_path, write_source(tmp_path, "questions", QUESTIONS))
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        co_re = answers(module, ProbeConfig(allow_runtime_compiled_fallback=False))
        compiled = answers(module, compiled_only(build))
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert compiled == co_re
    assert co_re[0] == os.getpid()
    assert co_re[1:5] == [0, 0, 0, 1]
    assert co_re[7:9] == [0, 1]
    assert co_re[10:12] == [0, 1]
    assert co_re[13] == 1
    assert co_re[16]


def test_reading_what_this_kernel_lacks_unasked_is_refused_both_ways(tmp_path: Path, build: Path) -> None:
    code = QUESTIONS.replace("\tif (bpf_core_field_exists(task->no_such_member))\n", "")
    module = make_module(tmp_path, write_source(tmp_path, "unasked", code))
    with pytest.raises(CoReError) as refused:
        module.Unasked.open_and_load(ProbeConfig(allow_runtime_compiled_fallback=False))
    assert isinstance(refused.value.__cause__, VerifierError)
    with pytest.raises(CompileError) as caught:
        module.Unasked.open_and_load(compiled_only(build))
    line = next(i for i, line in enumerate(code.splitlines(), 1) if "answers[18]" in line)
    prologue = 7  # lines of write_source() before the code
    assert f"unasked.bpf.c:{line + prologue - 1}:" in str(caught.value)
    assert "this kernel does not have the member that is read" in str(caught.value)


@pytest.mark.any_kernel
def test_source_without_a_module_compiles_too(build: Path) -> None:
    source = """
typedef unsigned int __u32;
typedef unsigned long long __u64;
struct task_struct { int tgid; } __attribute__((preserve_access_index));
__attribute__((section("raw_tp/sys_enter"))) int offset(void *ctx)
{
	return (long)__builtin_preserve_access_index(&((struct task_struct *)0)->tgid);
}
"""
    image = compile_here(source, "offset", compiled_only(build))
    assert relocations(image) == 0
    assert [path.name.partition("-")[0] for path in build.iterdir()] == ["offset"]
    with pytest.raises(CompileError, match=r"compile 'offset' on this host: .* refuses it: .*; .*See "):
        compile_here("nonsense here;\nmore", "offset", compiled_only(build))


@pytest.mark.any_kernel
def test_the_file_of_a_process_with_our_number_is_not_compiled(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.c"
    code = '__attribute__((section("raw_tp/x"))) int {}(void *ctx) {{ return 0; }}\n'
    theirs.write_text(code.format("theirs"))
    script = f"""
from ebpf_runtime import ProbeConfig, compile
image = compile({code.format("ours")!r}, "x", ProbeConfig(runtime_compiler_output_dir={str(tmp_path / "b")!r}))
print(b"ours" in image, b"theirs" in image)
"""
    assert as_somebody_elses_namesake(theirs, script) == "True False"


@pytest.mark.any_kernel
def test_the_compiler_reads_the_source_where_standard_input_is_closed(tmp_path: Path) -> None:
    script = f"""
import os
os.close(0)
from ebpf_runtime import ProbeConfig, compile
code = '__attribute__((section("raw_tp/x"))) int ours(void *ctx) {{ return 0; }}'
print(b"ours" in compile(code, "x", ProbeConfig(runtime_compiler_output_dir={str(tmp_path / "b")!r})))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (run.stdout, run.stderr) == ("True\n", "")


TASK = "struct task_struct {{ char before[{}]; int pid; }};\n"
OFFSET = """
struct task_struct { int pid; } __attribute__((preserve_access_index));
__attribute__((section("raw_tp/x"))) int offset(struct task_struct *task)
{
	return (long)&task->pid - (long)task;
}
"""


def compiled_offset(config: ProbeConfig) -> int:
    """Return where a task's pid is, as it was compiled."""
    section = ELFFile(io.BytesIO(compile_here(OFFSET, "offset", config))).get_section_by_name("raw_tp/x")
    assert section is not None
    return int(struct.unpack_from("<i", section.data(), 4)[0])  # r0 = the offset


NO_BTF = "read {}: libbpf finds no intact BTF in it. Copy /sys/kernel/btf/vmlinux of the same kernel."


@pytest.mark.any_kernel
@pytest.mark.parametrize(
    ("content", "owner", "problem"),
    [
        (None, 0, "read {}: ENOENT, no such file or directory ({}). Check the path."),
        (b"no BTF", 0, NO_BTF),
        (b"", 0, NO_BTF),
        (b"x", 1000, "read {}: it belongs to user 1000, who could have changed it. Give it to root (chown root {})."),
    ],
    ids=["missing", "garbage", "empty", "of another user"],
)
def test_headers_serve_where_btf_path_does_not_with_one_warning(
    tmp_path: Path, build: Path, monkeypatch: Any, content: bytes | None, owner: int, problem: str
) -> None:
    monkeypatch.setattr(vmlinux, "SYSFS", str(tmp_path / "missing"))
    tree = headers(tmp_path / "headers", None)
    (tree / "include/linux/sched.h").write_text(TASK.format(104))
    path = tmp_path / "custom.btf"
    if content is not None:
        path.write_bytes(content)
        os.chown(path, owner, owner)
    config = ProbeConfig(False, btf_path=path, kernel_header_dirs=[tree], runtime_compiler_output_dir=build)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert compiled_offset(config) == 104
    (warning,) = caught
    assert (warning.category, warning.filename) == (FallbackWarning, __file__)
    assert str(warning.message) == f"{problem.replace('{}', str(path))} Looking for BTF elsewhere."


@pytest.mark.any_kernel
def test_a_bad_btf_path_is_told_once_where_co_re_was_tried_before(tmp_path: Path, build: Path) -> None:
    path = tmp_path / "custom.btf"
    path.write_bytes(b"no BTF")

    def told(enable_co_re: bool) -> list[list[str]]:
        config = ProbeConfig(enable_co_re, btf_path=path, runtime_compiler_output_dir=build)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(CompileError) as failure:
                OomKill.open_and_load(config)
        report = failure.value.report
        assert report is not None
        return [[str(item.message) for item in caught], [Path(item.filename).name for item in caught],
                list(report.btf_notes)]  # fmt: skip

    text = NO_BTF.format(path)
    messages, files, notes = hidden_from(lambda: told(True))
    assert messages[0] == f"{text} Looking for BTF elsewhere."
    assert messages[1].endswith(" Falling back to compiling it on this host.")
    assert (len(messages), notes[0], notes.count(notes[0])) == (2, text.removesuffix("."), 1)
    messages, files, notes = hidden_from(lambda: told(False))
    assert (messages, files) == ([f"{text} Looking for BTF elsewhere."], [Path(__file__).name])
    assert notes == [text.removesuffix(".")]


@pytest.mark.any_kernel
def test_other_headers_than_before_are_compiled_with(
    tmp_path: Path, build: Path, counted: Compiler, monkeypatch: Any
) -> None:
    """Where the kernel shows no BTF; an object that was made with headers that are gone serves on."""
    monkeypatch.setattr(vmlinux, "SYSFS", str(tmp_path / "missing"))
    trees = {size: headers(tmp_path / f"headers{size}", None) for size in (104, 208)}

    def write(tree: Path, size: int) -> None:
        (tree / "include/linux/sched.h").write_text(TASK.format(size))

    def offset(tree: Path) -> int:
        return compiled_offset(ProbeConfig(kernel_header_dirs=[tree], runtime_compiler_output_dir=build))

    for size, tree in trees.items():
        write(tree, size)
        assert offset(tree) == size
    before = counted.compilations()
    assert [offset(tree) for tree in trees.values()] == [*trees]
    assert counted.compilations() == before
    write(trees[104], 312)
    configuration = trees[104] / "include/generated/autoconf.h"
    configuration.parent.mkdir()
    configuration.write_text("#define CONFIG_X 1\n")  # another configuration, another layout
    assert offset(trees[104]) == 312
    before = counted.compilations()
    shutil.rmtree(trees[104])
    assert offset(trees[104]) == 312
    assert counted.compilations() == before


@pytest.mark.any_kernel
@pytest.mark.parametrize("name", ["../evil", "a/b", "a\0b", "", ".x", "-x", "n" * 65, "ä"])
def test_a_name_that_would_not_be_one_files_is_refused(tmp_path: Path, build: Path, name: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_here("", name, compiled_only(build))
    assert str(caught.value) == (
        f"compile {name!r} on this host: a name is at most 64 letters, digits, '_', '.' and '-', and begins with one "
        "of the first three. Give it another."
    )
    assert caught.value.name == name
    assert not list(tmp_path.iterdir())


@pytest.mark.any_kernel
def test_the_longest_name_serves(build: Path) -> None:
    source = '__attribute__((section("raw_tp/x"))) int f(void *ctx) { return 0; }'
    name = "n" * 60 + ".1-a"
    compile_here(source, name, compiled_only(build))
    assert [path.name.startswith(f"{name}-") for path in build.iterdir()] == [True]


@pytest.mark.any_kernel
def test_a_source_that_cannot_be_written_is_refused(tmp_path: Path, build: Path) -> None:
    with pytest.raises(CompileError) as caught:
        compile_here("/* \udc80 */", "x", compiled_only(build))
    assert str(caught.value) == "compile 'x' on this host: its source is not UTF-8."
    assert not list(tmp_path.iterdir())


@pytest.mark.any_kernel
def test_a_full_disk_does_not_hide_what_the_compiler_says(build: Path, counted: Compiler) -> None:
    counted.write(
        'case "$*" in *--version*) echo clang version 19.0.0; exit;; esac; '
        f'cat /dev/zero >{build}/rest 2>/dev/null; echo "x.c:1:2: error: no" >&2; exit 1'
    )
    build.mkdir(mode=0o700)

    def said() -> list[Any]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=0700", "none", str(build)], check=True)
        with pytest.raises(CompileError) as caught:
            OomKill.open(compiled_only(build))
        (kept,) = {path.name for path in build.iterdir()} - {"rest"} or {""}
        assert caught.value.report is not None
        return [str(caught.value), caught.value.log, caught.value.report.compile_result_name, kept]

    text, log, result, kept = hidden_from(said, ())
    assert re.fullmatch(
        rf"compile 'oom_kill' on this host: {counted.path} \(clang 19\) refuses it: x\.c:1:2: error: no\. "
        rf"Its source is not kept: write {build}/oom_kill-[0-9a-f-]+-refused\.c: ENOSPC, no space left on device\. "
        r"Free its space\.",
        text,
    )
    assert (log, result, kept) == ("x.c:1:2: error: no\n", "compile_error", "")


@pytest.mark.any_kernel
def test_a_disk_without_room_for_libbpfs_headers_is_named(build: Path, counted: Compiler) -> None:
    build.mkdir(mode=0o700)

    def said() -> list[Any]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k,mode=0700", "none", str(build)], check=True)
        with pytest.raises(CompileError) as caught:
            OomKill.open(compiled_only(build))
        return [str(caught.value), [path.name for path in build.iterdir()]]

    assert hidden_from(said, ()) == [
        f"compile 'oom_kill' on this host: ENOSPC, no space left on device ({build}). Free its space.",
        [],
    ]
    assert not counted.runs()
