# SPDX-License-Identifier: Apache-2.0
"""Which clang is taken, how it is called, and what is said where there is none; the clangs here are scripts."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

from ebpf_codegen import compiler
from ebpf_codegen.compiler import Compiler, compile_object, find_clang, find_compiler, likely_compiler, made_by
from ebpf_codegen.errors import CompilerError
from tests.support.files import free_files
from tests.support.users import as_user


def script(path: Path, body: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def clang(path: Path, major: int) -> str:
    return script(path, f"echo 'Some clang version {major}.0.6 (distribution)'")


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBPF_CLANG", raising=False)


def test_chosen_clang_alone_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clang(tmp_path / "mine", 17)
    monkeypatch.setenv("EBPF_CLANG", path)
    assert find_compiler() == find_clang() == Compiler((path,), 17, "17.0.6")
    assert [str(Compiler((path,), major)) for major in (17, 0)] == [f"{path} (clang 17)", path]


@pytest.mark.parametrize("body", ["exit 1", "echo gcc 12", "echo clang version 18; exit 1", "printf '\\377'", "exit"])
def test_chosen_program_that_is_no_clang_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    path = script(tmp_path / "mine", body)
    monkeypatch.setenv("EBPF_CLANG", path)
    with pytest.raises(CompilerError) as caught:
        find_compiler()
    assert str(caught.value) == (f"use EBPF_CLANG={path}: it does not answer like clang. Name a clang of 16 or newer.")


def test_chosen_clang_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_CLANG", "/nowhere/clang")
    with pytest.raises(CompilerError, match=r"^use EBPF_CLANG=/nowhere/clang: it does not answer like clang\."):
        find_clang()


def test_a_shortage_is_not_told_as_a_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clang(tmp_path / "one" / "clang", 17)
    monkeypatch.setenv("PATH", f"{tmp_path / 'one'}:/usr/bin:/bin")
    remedy = "Raise this process's limit of open files (ulimit -n, LimitNOFILE=)."
    with free_files(0), pytest.raises(CompilerError) as caught:
        find_compiler()
    assert str(caught.value) == f"run {path}: EMFILE, too many open files. {remedy}"
    (tmp_path / "one" / "clang").unlink()
    with free_files(0), pytest.raises(CompilerError) as caught:
        find_compiler()
    assert str(caught.value) in [
        f"{action}: EMFILE, too many open files. {remedy}"
        for action in (f"look for clang in {tmp_path / 'one'}", "run /usr/bin/clang")
    ]
    clang(tmp_path / "one" / "clang", 17)
    assert find_compiler() == Compiler((path,), 17, "17.0.6")


def test_chosen_clang_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clang(tmp_path / "old", 15)
    monkeypatch.setenv("EBPF_CLANG", path)
    with pytest.raises(CompilerError) as caught:
        find_compiler()
    assert str(caught.value) == (
        f"use EBPF_CLANG={path}: clang 15 is too old (it truncates 64-bit enumerators). Name a clang of 16 or newer."
    )


def test_plain_clang_comes_first_then_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'one'}:/usr/bin:/bin:{tmp_path / 'two'}")
    newest = clang(tmp_path / "two" / "clang-999", 999)
    assert find_clang() == Compiler((newest,), 999, "999.0.6")
    clang(tmp_path / "one" / "clang-1000.1", 1000)
    clang(tmp_path / "one" / "clang-format-1000", 1000)
    (tmp_path / "one" / "clang-1001").write_text("not executable")
    assert find_clang() == Compiler((newest,), 999, "999.0.6")
    plain = clang(tmp_path / "one" / "clang", 16)
    assert find_clang() == Compiler((plain,), 16, "16.0.6")
    clang(tmp_path / "one" / "clang", 14)
    assert find_clang() == Compiler((newest,), 999, "999.0.6")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as only root can")
def test_folders_that_cannot_be_read_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    secret, shown = tmp_path / "secret", tmp_path / "shown"
    (secret / "bin").mkdir(parents=True)
    secret.chmod(0o700)
    found = clang(shown / "clang-999", 999)
    monkeypatch.setenv("PATH", f"{secret}/bin:{tmp_path}/missing:{shown}:/usr/bin:/bin")
    assert as_user(12345, lambda: str(find_clang())) == f"{found} (clang 999)"


def test_without_a_clang_ziglang_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_installed", lambda: iter(()))
    assert find_clang() is None
    found = find_compiler()
    assert found.command == (sys.executable, "-m", "ziglang", "clang")
    assert found.major >= 16


def test_without_any_compiler_the_text_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_installed", lambda: iter(()))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompilerError) as caught:
        find_compiler()
    assert str(caught.value) == (
        "find a BPF compiler: no clang of 16 or newer on PATH or in /usr/lib/llvm-*. "
        "Install one (apt install clang-16, dnf install clang) or run pip install 'ziglang==0.15.2', or set EBPF_CLANG."
    )


# Compiling


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    directory = tmp_path / "headers"
    (directory / "bpf").mkdir(parents=True)
    (directory / "bpf" / "bpf_helpers.h").touch()
    return directory


def test_the_command_does_not_depend_on_the_place(tmp_path: Path, headers: Path) -> None:
    path = script(tmp_path / "clang", f'printf "%s\\n" "$@" >{tmp_path}/arguments')
    source, own = tmp_path / "src" / "x.bpf.c", tmp_path / "own"
    include = (own, headers)
    compile_object(Compiler((path,), 19), source, tmp_path / "x.o", "arm64", include, tmp_path / "x.d")
    arguments = (tmp_path / "arguments").read_text().split("\n")[:-1]
    assert arguments == [
        "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-Wall", "-Werror", "-D__TARGET_ARCH_arm64",
        f"-ffile-prefix-map={tmp_path}/src/=", f"-ffile-prefix-map={own}/=", f"-ffile-prefix-map={headers}/=libbpf/",
        "-fdebug-compilation-dir=.", f"-I{tmp_path}/src", f"-I{own}", f"-isystem{headers}",
        "-MD", "-MF", f"{tmp_path}/x.d", "-MT", f"{tmp_path}/x.o", "-c", str(source), "-o", f"{tmp_path}/x.o",
    ]  # fmt: skip


def test_a_source_may_be_made_while_the_compiler_starts(tmp_path: Path, headers: Path) -> None:
    path = script(tmp_path / "clang", f'touch {tmp_path}/started; echo "$*" >{tmp_path}/arguments; cat >{tmp_path}/in')
    source = tmp_path / "x.bpf.c"

    def prepare() -> None:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        assert not (tmp_path / "in").exists() or not (tmp_path / "in").read_text()

    compile_object(Compiler((path,), 19), source, tmp_path / "x.o", "x86_64", [headers], prepare=prepare)
    assert (tmp_path / "in").read_text() == "#include <x.bpf.c>\n"
    assert (tmp_path / "arguments").read_text().endswith(f"-c -x c - -o {tmp_path}/x.o\n")


def test_a_compiler_that_reads_nothing_is_told_by_what_it_says(tmp_path: Path, headers: Path) -> None:
    path = script(tmp_path / "clang", "echo 'error: no' >&2; exit 1")
    with pytest.raises(CompilerError) as caught:
        compile_object(
            Compiler((path,), 19), tmp_path / "x.bpf.c", tmp_path / "x.o", "x86_64", [headers],
            prepare=lambda: time.sleep(0.3),
        )  # fmt: skip
    assert caught.value.output == "error: no\n"


def test_the_likely_compiler_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clang(tmp_path / "clang", 15)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert likely_compiler() == Compiler((path,), 0)
    monkeypatch.setenv("EBPF_CLANG", "/nowhere/clang")
    assert likely_compiler() == Compiler(("/nowhere/clang",), 0)


def test_an_object_tells_its_compiler() -> None:
    made = made_by(Compiler(("clang",), 0), b"\0Debian clang version 19.1.7 (3~deb12u1)\0x.c\0")
    assert made is not None
    assert (made.command, made.major, made.version) == (("clang",), 19, "19.1.7")
    assert made_by(Compiler(("clang",), 0), b"\0GNU C11 12.2.0\0") is None


def test_what_clang_says_is_passed_on(tmp_path: Path, headers: Path) -> None:
    path = script(tmp_path / "clang", "printf 'x.bpf.c:1: error: \\351\\n' >&2; exit 1")
    source = tmp_path / "x.bpf.c"
    with pytest.raises(CompilerError) as caught:
        compile_object(Compiler((path,), 19), source, tmp_path / "x.o", "x86_64", [headers])
    assert str(caught.value) == (
        f"compile {source} for x86_64 with {path} (clang 19): clang refused it.\nx.bpf.c:1: error: \ufffd"
    )


def test_a_clang_that_does_not_start_is_named(tmp_path: Path, headers: Path) -> None:
    source = tmp_path / "x.bpf.c"
    with pytest.raises(CompilerError) as caught:
        compile_object(Compiler(("/nowhere/clang",), 19), source, tmp_path / "x.o", "x86_64", [headers])
    assert str(caught.value) == (
        f"compile {source}: /nowhere/clang did not start, ENOENT, no such file or directory. Name another clang by "
        "EBPF_CLANG."
    )


def test_missing_headers_of_libbpf_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_SYSTEM_INCLUDES", ())
    with pytest.raises(CompilerError) as caught:
        compile_object(Compiler(("clang",), 19), tmp_path / "x.bpf.c", tmp_path / "x.o", "x86_64", [tmp_path])
    message = str(caught.value)
    assert message.startswith("find libbpf's header bpf/bpf_helpers.h: ")
    assert message.endswith("(apt install libbpf-dev, dnf install libbpf-devel).")
