# SPDX-License-Identifier: Apache-2.0
"""Writing and comparing what was built, and the command line's refusals; nothing is compiled here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ebpf_codegen.__main__ import main
from ebpf_codegen.compiler import Compiler
from ebpf_codegen.errors import CodegenError, DriftError
from ebpf_codegen.files import write_file
from ebpf_codegen.pipeline import Built, build_probe, compare, write_probe

BUILT = Built("probe", "x = 1\ny = 2\n", {"x86_64": b"one", "arm64": b"two"}, "int x;\n", ())


def test_embedded_files_end_with_their_digests() -> None:
    files = BUILT.embedded()
    assert list(files) == ["probe.x86_64.bpf.o", "probe.arm64.bpf.o", "probe.flat.c", "probe.sha256"]
    assert files["probe.sha256"].decode() == "".join(
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in list(files)[:3]
    )


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    assert write_probe(BUILT, tmp_path / "new", embedded=False) == [tmp_path / "new" / "probe.py"]
    written = write_probe(BUILT, tmp_path / "new", embedded=True)
    assert [path.name for path in written] == list(BUILT.embedded())
    before = (tmp_path / "new" / "probe.py").stat()
    assert write_probe(BUILT, tmp_path / "new", embedded=True) == []
    assert (tmp_path / "new" / "probe.py").stat() == before
    assert len(list((tmp_path / "new").iterdir())) == 5


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(CodegenError) as caught:
        write_file(tmp_path / "file" / "x", b"")
    assert str(caught.value) == f"write {tmp_path}/file/x: File exists."
    with pytest.raises(CodegenError) as caught:
        write_file(tmp_path / "directory", b"")
    assert str(caught.value) == f"write {tmp_path}/directory: Is a directory."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


def test_same_bindings_pass(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(BUILT.module)
    compare(BUILT, tmp_path)


@pytest.mark.parametrize(
    ("present", "difference"), [("x = 1\ny = 3\n", "-y = 3\n+y = 2\n"), (None, "+x = 1\n+y = 2\n")]
)
def test_other_or_missing_bindings_are_drift(tmp_path: Path, present: str | None, difference: str) -> None:
    path = tmp_path / "probe.py"
    if present is not None:
        path.write_text(present)
    with pytest.raises(DriftError) as caught:
        compare(BUILT, tmp_path)
    assert str(caught.value) == f"compare {path}: it is not what bpf/probe.bpf.c generates. Run tools/regen probe."
    assert caught.value.diff.startswith(f"--- {path}\n+++ generated\n")
    assert caught.value.diff.endswith(difference)


def test_bindings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "probe.py"
    path.write_bytes(b"\xff")
    with pytest.raises(CodegenError, match=f"^read {path}: 'utf-8' codec can't decode byte 0xff in position 0: "):
        compare(BUILT, tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CodegenError, match=f"^read {path}: Is a directory.$"):
        compare(BUILT, tmp_path)


@pytest.mark.parametrize("name", ["probe.c", "probe", ".bpf", "bpf.c"])
def test_other_suffixes_are_refused(name: str) -> None:
    with pytest.raises(CodegenError) as caught:
        build_probe(Path(name), Compiler(("clang",), 19))
    assert str(caught.value) == f"build {name}: the name does not end in .bpf.c."


@pytest.mark.parametrize("name", ["", "a-b", "1st", "class", "a b", "x\nimport os", "é", "_x", 'x"'])
def test_names_that_no_module_can_have_are_refused(name: str) -> None:
    with pytest.raises(CodegenError) as caught:
        build_probe(Path(f"{name}.bpf.c"), Compiler(("clang",), 19))
    assert str(caught.value) == f"build {name}.bpf.c: {name!r} is no name for a Python module. Rename the file."


def test_command_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EBPF_CLANG", "/nowhere/clang")
    output = ["--output", str(tmp_path)]
    assert main(["build", str(tmp_path / "x.bpf.c"), *output]) == 1
    assert capsys.readouterr().err == (
        "ebpf-codegen: use EBPF_CLANG=/nowhere/clang: it does not answer like clang. Name a clang of 16 or newer.\n"
    )
    monkeypatch.delenv("EBPF_CLANG")
    monkeypatch.setattr("ebpf_codegen.commands.build.find_compiler", lambda: Compiler(("clang",), 19))
    assert main(["build", str(tmp_path / "x.bpf.c"), *output]) == 1
    assert capsys.readouterr().err == f"ebpf-codegen: read {tmp_path}/x.bpf.c: No such file or directory.\n"


@pytest.mark.parametrize("arguments", [[], ["build"], ["build", "x.bpf.c"], ["destroy"], ["build", "--output", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ebpf-codegen")
