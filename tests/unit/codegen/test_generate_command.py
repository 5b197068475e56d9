# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen generate` of many objects: what is written, what is said, and by how many processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from ebpf_codegen import elf
from ebpf_codegen.__main__ import main

from .writers import ObjectWriter

SCHEMA = Path(elf.__file__).with_name("schema") / "generate.schema.json"


def write(path: Path, name: str = "pair") -> str:
    """Write an object with one map."""
    writer = ObjectWriter()
    writer.value(writer.btf.struct(name, 4, [("x", writer.int, 0)]))
    path.write_bytes(writer.build())
    return str(path)


@pytest.fixture
def objects(tmp_path: Path) -> list[str]:
    """Twenty objects, of which the fourth and the last are damaged."""
    paths = [write(tmp_path / f"probe-{number}.bpf.o", f"pair{number}") for number in range(20)]
    for number in (3, 19):
        Path(paths[number]).write_bytes(b"\x7fELF")
    return paths


@pytest.mark.parametrize("jobs", [[], ["--jobs", "1"], ["--jobs", "3"], ["--jobs", "99"]])
def test_each_object_is_written_or_named(
    jobs: list[str], objects: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bindings"
    assert main(["generate", *objects, "-d", str(output), *jobs]) == 1
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[-1] == "ebpf-codegen: 18 of 20 objects generated."
    assert [line.partition(": ")[2].partition(" (")[0] for line in lines[:-1]] == [
        f"read {objects[number]}: 4 bytes are too few for an ELF header. The file is truncated." for number in (3, 19)
    ]
    written = {path.name: path.read_bytes() for path in output.iterdir()}
    assert sorted(written) == sorted(f"probe_{number}.py" for number in range(20) if number not in (3, 19))
    assert b"class Pair7(Record" in written["probe_7.py"]

    alone = tmp_path / "alone"
    main(["generate", *objects, "-d", str(alone), "--jobs", "1"])
    assert {path.name: path.read_bytes() for path in alone.iterdir()} == written


def test_the_summary_is_json_in_the_order_given(
    objects: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *objects, "-d", str(tmp_path / "out"), "--json", "--jobs", "4"]) == 1
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    assert [item["object"] for item in report["generated"]] == [
        path for number, path in enumerate(objects) if number not in (3, 19)
    ]
    assert [item["object"] for item in report["refused"]] == [objects[3], objects[19]]
    assert report["generated"][0] == {
        "object": objects[0],
        "module": str(tmp_path / "out" / "probe_0.py"),
        "warnings": [],
    }


def test_two_objects_never_write_one_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(tmp_path / "a-b.o"), write(tmp_path / "a_b.o", "other")
    assert main(["generate", first, second, "-d", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"ebpf-codegen: generate {second}: {first} is {tmp_path}/out/a_b.py, too. Rename one of the objects.\n"
        "ebpf-codegen: 1 of 2 objects generated.\n"
    )
    assert "class Pair(" in (tmp_path / "out" / "a_b.py").read_text()


def test_a_fault_of_ours_is_one_line_for_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path / f"{name}.o") for name in "ab"]

    def broken(path: Path, **_: object) -> object:
        raise KeyError("no such thing\nat all")

    monkeypatch.setattr("ebpf_codegen.commands.generate.generate", broken)
    assert main(["generate", paths[0], "-o", str(tmp_path / "a.py")]) == 1
    assert capsys.readouterr().err == (
        f"ebpf-codegen: generate {paths[0]}: internal error, KeyError: 'no such thing\\nat all'. "
        "Please report it with the object.\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "argument --jobs: '0' is not a whole number above 0"),
        (["--record", "events"], "argument --record: 'events' is not MAP=STRUCT"),
    ],
)
def test_usage(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", "x.o", "-d", str(tmp_path), *words])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"ebpf-codegen generate: error: {message}\n")


def test_progress_is_shown_to_a_terminal_only(objects: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ebpf_codegen", "generate", *objects, "-d", str(tmp_path / "out")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=False)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "\r\x1b[K1 of 20  probe-0.bpf.o" in shown
    assert "\r\x1b[K20 of 20  probe-19.bpf.o\r\x1b[Kebpf-codegen: read " in shown
    assert shown.endswith("ebpf-codegen: 18 of 20 objects generated.\r\n")
