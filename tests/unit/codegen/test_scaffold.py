# SPDX-License-Identifier: Apache-2.0
"""What `ebpf-codegen new` refuses; that what it writes builds is shown in tests/packaging."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf_codegen.__main__ import main


@pytest.mark.parametrize("name", ["Hello", "2nd", "a-b", "class", "bpf", "tests", "", "a.b", "ä"])
def test_no_name_for_a_module(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", name, "--directory", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err == (
        f"ebpf-codegen: create a package {name!r}: it is no name for a Python module. "
        "Use lower-case letters, digits and underscores, as in tcp_connect.\n"
    )
    assert not (tmp_path / "new").exists()


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    kept.write_text("text")
    for directory in (tmp_path, kept):
        assert main(["new", "hello", "--directory", str(directory)]) == 1
        assert capsys.readouterr().err == (
            f"ebpf-codegen: create {directory}: something is there already. Choose another with --directory.\n"
        )
    assert kept.read_text() == "text"


def test_the_directory_is_named_after_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "hello"]) == 0
    assert (tmp_path / "hello" / "bpf" / "hello.bpf.c").is_file()
    shown = capsys.readouterr().out
    assert shown.startswith("wrote hello/bpf/hello.bpf.c\nwrote hello/tests/test_hello.py\n")
    assert shown.endswith(
        "\nnext:\n  ebpf-codegen run hello/bpf/hello.bpf.c    # needs root; prints its events\n"
        "  pip wheel --no-deps hello\n"
    )
