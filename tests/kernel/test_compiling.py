# SPDX-License-Identifier: Apache-2.0
"""Compilers on this host that hang, die or are stopped, and what is left of them: nothing."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpf_codegen import compiler, processes
from ebpf_probes.oom_kill import OomKill
from ebpf_runtime import CompileError, ProbeConfig
from ebpf_runtime import compile as compile_here
from tests.support.files import free_files
from tests.support.mounts import hidden_from

pytestmark = [pytest.mark.kernel, pytest.mark.any_kernel]

SOURCE = '__attribute__((section("raw_tp/x"))) int f(void *ctx) { return 0; }'
VERSION = 'case "$*" in *--version*) echo clang version 19.0.0; exit;; esac'


class Clang:
    """A script in EBPF_CLANG, and the processes that it is and starts: each has its directory in its environment."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = directory / "clang"
        self.mark = f"EBPF_TEST_CLANG={directory}"
        self.started = directory / "started"
        self.real = shlex.join(compiler.find_compiler().command)
        monkeypatch.setenv("EBPF_CLANG", str(self.path))

    def write(self, command: str) -> None:
        self.path.write_text(f"#!/bin/sh\nexport {self.mark}\n{VERSION}\n{command}\n")
        self.path.chmod(0o755)

    def hang(self) -> None:
        """Be a script that waits for a compiler that hangs."""
        self.write(f"sleep 60 & touch {self.started}; wait; exit 1")

    def wait_started(self) -> None:
        deadline = time.monotonic() + 60
        while not self.started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def running(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if self.mark.encode() in environment.split(b"\0"):
                found.append(int(path.name))
        return found


@pytest.fixture
def clang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clang]:
    script = Clang(tmp_path, monkeypatch)
    yield script
    for pid in script.running():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return tmp_path / "build"


def refusal(build: Path) -> CompileError:
    with pytest.raises(CompileError) as caught:
        compile_here(SOURCE, "x", ProbeConfig(runtime_compiler_output_dir=build))
    return caught.value


def test_a_compiler_that_hangs_is_killed_with_all_that_it_started(
    build: Path, clang: Clang, monkeypatch: pytest.MonkeyPatch
) -> None:
    clang.hang()
    assert processes.TIME_LIMIT_S == 300
    monkeypatch.setattr(processes, "TIME_LIMIT_S", 1)
    assert str(refusal(build)) == (
        f"compile 'x' on this host: {clang.path} had not ended after 1 s and was killed. Name another clang by "
        "EBPF_CLANG."
    )
    assert not clang.running()
    assert not list(build.iterdir())


def collector(build: Path, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a command that has to compile."""
    settings = {"DD_ENABLE_CO_RE": "false", "DD_SYSTEM_PROBE_CONFIG_RUNTIME_COMPILER_OUTPUT_DIR": str(build)}
    return subprocess.Popen(
        (*before, sys.executable, "-P", "-m", "ebpf_collector", *arguments), env=os.environ | settings,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


MEMORY = "Free memory, or raise the limit of its cgroup."
ANOTHER = "Name another clang by EBPF_CLANG."


@pytest.mark.parametrize(
    ("command", "told", "result"),
    [
        ("kill -KILL $$", f"was killed by SIGKILL. {MEMORY}", "compile_error"),
        ("exit 137", f"was killed by SIGKILL. {MEMORY}", "compile_error"),
        ("kill -SEGV $$", f"was killed by SIGSEGV. {ANOTHER}", "compile_error"),
        (
            "kill -XFSZ $$",
            "was killed by SIGXFSZ. Raise the limit of a file's size (ulimit -f, LimitFSIZE=).",
            "compile_error",
        ),
        ("kill -TERM $$", "was killed by SIGTERM. Try again.", "not_attempted"),
        ("echo on the way >&2; kill -INT $$", "was killed by SIGINT. Try again.", "not_attempted"),
        ("exit 3", f"ended with 3 and said nothing. {ANOTHER}", "compile_error"),
    ],
)
def test_a_compiler_that_dies_has_refused_nothing(
    build: Path, clang: Clang, command: str, told: str, result: str
) -> None:
    clang.write(command)
    with pytest.raises(CompileError) as caught:
        OomKill.open(ProbeConfig(False, runtime_compiler_output_dir=build))
    assert str(caught.value) == f"compile 'oom_kill' on this host: {clang.path} {told}"
    assert caught.value.log == ("on the way\n" if "echo" in command else "")
    assert caught.value.report is not None
    assert caught.value.report.compile_result_name == result
    assert not list(build.iterdir())


def test_a_compiler_that_was_stopped_is_no_result_of_compiling(build: Path, clang: Clang) -> None:
    metrics = []
    for number in ("TERM", "KILL"):
        clang.write(f"kill -{number} $$")
        output, _ = collector(build, "check", "oom_kill", "--json").communicate(timeout=60)
        metrics.append([json.loads(line)["metric"] for line in output.splitlines()])
    assert metrics == [[], ["ebpf_collector.compile_result", "ebpf_collector.compile_seconds"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("command", "code"),
    [("check oom_kill ebpf --json", 128), ("check ebpf --count 0", 0), ("doctor", 128), ("demo", 128)],
)
def test_the_first_signal_ends_a_command_that_compiles(
    build: Path, clang: Clang, command: str, number: int, code: int
) -> None:
    clang.hang()
    process = collector(build, *command.split())
    clang.wait_started()
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (output, errors) == ("", "")
    # An interrupt inside the eval() of a named tuple, of a module that is imported meanwhile, is remembered by the
    # interpreter as one that nobody handled, and it ends itself by the same signal.
    remembered = [-number] if number == signal.SIGINT and code else []
    assert process.returncode in [code and code + number, *remembered]
    assert not clang.running()
    assert not list(build.iterdir())


def test_a_signal_that_was_ignored_stays_so(build: Path, clang: Clang) -> None:
    clang.write(f"touch {clang.started}; sleep 2; echo 'x.c:1: error: no' >&2; exit 1")
    process = collector(build, "check", "oom_kill", before=("nohup",))
    clang.wait_started()
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, "refuses it: x.c:1: error: no" in errors) == (1, True)


def test_what_a_killed_process_left_is_removed_by_the_next_that_compiles(
    build: Path, clang: Clang, monkeypatch: pytest.MonkeyPatch
) -> None:
    clang.hang()
    process = collector(build, "check", "oom_kill")
    clang.wait_started()
    process.kill()
    process.communicate(timeout=30)
    for pid in clang.running():
        os.kill(pid, signal.SIGKILL)
    (left,) = build.iterdir()
    assert left.name.startswith(".compile-")
    assert any(left.iterdir())
    clang.started.unlink()
    living = collector(build, "check", "oom_kill")
    clang.wait_started()
    (used,) = build.iterdir()  # the next one has removed what was left, before it could compile
    assert used != left
    monkeypatch.delenv("EBPF_CLANG")
    compile_here(SOURCE, "x", ProbeConfig(runtime_compiler_output_dir=build))
    assert used in build.iterdir()
    living.terminate()
    living.communicate(timeout=30)
    assert [path.name.partition("-")[0] for path in build.iterdir()] == ["x"]


# No room for libbpf's headers, for a directory, for files.
@pytest.mark.parametrize("options", ["size=40k", "nr_inodes=1", "nr_inodes=4"])
def test_a_disk_that_is_full_is_no_sign_that_a_source_was_changed(build: Path, options: str) -> None:
    build.mkdir(mode=0o700)

    def said() -> list[Any]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "none", str(build)], check=True)
        return report_of_refusal(build)

    text, *result = hidden_from(said, ())
    assert text == f"compile 'oom_kill' on this host: ENOSPC, no space left on device ({build}). Free its space."
    assert result == ["output_file_error", []]


def test_a_limit_of_the_size_of_files_is_named(build: Path) -> None:
    def said() -> list[Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        return report_of_refusal(build)

    assert hidden_from(said, ()) == [
        f"compile 'oom_kill' on this host: EFBIG, file too large ({build}). Raise the limit of a file's size "
        "(ulimit -f, LimitFSIZE=).",
        "output_file_error",
        [],
    ]


def report_of_refusal(build: Path) -> list[Any]:
    """Return the error of what cannot be compiled, its result, and what is left of it."""
    with pytest.raises(CompileError) as caught:
        OomKill.open(ProbeConfig(False, runtime_compiler_output_dir=build))
    assert caught.value.report is not None
    return [str(caught.value), caught.value.report.compile_result_name, [path.name for path in build.iterdir()]]


FILES = "EMFILE, too many open files. Raise this process's limit of open files (ulimit -n, LimitNOFILE=)."


def test_too_few_file_descriptors_are_named_whatever_they_are_short_for(build: Path, clang: Clang) -> None:
    clang.write(f'exec {clang.real} "$@"')
    config = ProbeConfig(False, runtime_compiler_output_dir=build)
    OomKill.open(config).close()  # with all that has to be imported
    (kept,) = build.iterdir()
    kept.unlink()
    said: list[str] = []
    count = 0
    while not any(build.iterdir()):
        count += 1
        with free_files(count):
            try:
                OomKill.open(config).close()
            except CompileError as error:
                said.append(f"{error.report and error.report.compile_result_name}: {error}")
    assert [path.name for path in build.iterdir()] == [kept.name]
    assert len(said) > 5
    for text in said:
        assert text.endswith(FILES.partition(". ")[2])
        assert text.startswith("compile_error: compile 'oom_kill' on this host: ")
    assert " on this host: open " in said[0]
    assert f"compile_error: compile 'oom_kill' on this host: {clang.path} did not start, {FILES}" in said


@pytest.mark.parametrize("name", ['a"b', "a'b", "a b", "a>b", "a\\b", "a$b", "ä"])
def test_a_directory_may_have_any_name_that_can_be_told(tmp_path: Path, name: str) -> None:
    OomKill.open(ProbeConfig(False, runtime_compiler_output_dir=tmp_path / name)).close()
    assert [path.suffix for path in (tmp_path / name).iterdir()] == [".o"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("true", "{} (clang 19) made no object."),
        (
            'for last; do :; done; echo "clang version 19.0.0" >$last',
            "what {} (clang 19) made is no object: it does not begin like an ELF64 file.",
        ),
    ],
    ids=["nothing", "no object"],
)
def test_a_compiler_that_makes_no_object_is_named(build: Path, clang: Clang, command: str, told: str) -> None:
    clang.write(command)
    assert str(refusal(build)) == (
        f"compile 'x' on this host: {told.format(clang.path)} Name another clang by EBPF_CLANG."
    )


def test_what_a_compiler_says_cannot_write_to_the_terminal(build: Path, clang: Clang) -> None:
    clang.write("printf 'x.c:1: error: \\033[2Jgone\\r' >&2; exit 1")
    _, errors = collector(build, "check", "oom_kill").communicate(timeout=60)
    assert errors.startswith("ebpf-collector: check oom_kill: ")
    assert r"error: \x1b[2Jgone. See " in errors
    assert errors.removesuffix("\n").isprintable()
