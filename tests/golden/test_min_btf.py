# SPDX-License-Identifier: Apache-2.0
"""Which types of a kernel are kept for the questions of a program; the object is a compiler's, the kernel ours."""

from __future__ import annotations

import contextlib
import lzma
import os
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpf_codegen import btf, btf_writer, elf
from ebpf_codegen.compiler import compile_object, find_compiler
from ebpf_codegen.errors import BtfError, CodegenError
from ebpf_codegen.host_source import host_source
from ebpf_codegen.min_btf import minimal_btf

SOURCE = """
#define SEC(name) __attribute__((section(name), used))
#define CO_RE __attribute__((preserve_access_index))
typedef unsigned long long u64;
struct inner___ours { int deep; } CO_RE;
struct task___ours { int pid; struct inner___ours in; struct inner___ours *ptr; int items[4]; int missing; } CO_RE;
struct bits { unsigned low : 3; unsigned high : 5; } CO_RE;
struct gone { int x; } CO_RE;
struct sized { int unused; } CO_RE;
enum states___ours { running___ours = 5, absent___ours = 6 };
#define FIELD(kind, field) __builtin_preserve_field_info(field, kind)
SEC("raw_tp/x") u64 ask(struct task___ours *task)
{
	struct bits *bits = (void *)task;
	u64 sum = FIELD(0, task->in.deep) + FIELD(2, task->missing) + FIELD(1, task->items[2]);
	sum += FIELD(0, bits->high) + FIELD(4, bits->high);
	sum += __builtin_preserve_type_info(*(struct gone *)0, 0);
	sum += __builtin_preserve_type_info(*(struct sized *)0, 1);
	sum += __builtin_preserve_enum_value(*(enum states___ours *)running___ours, 0);
	return sum + (u64)&task->ptr;
}
char LICENSE[] SEC("license") = "GPL";
"""

# A kernel: ids in brackets.
INT, LONG, INNER, POINTER, ARRAY, ANONYMOUS, TASK, BITS, SIZED, STATES, OTHER, TASK_AGAIN = range(1, 13)
KERNEL: tuple[btf.BtfType, ...] = (
    btf.Void(),
    btf.Int("int", 4, True, False, 0, 32),
    btf.Int("long", 8, True, False, 0, 64),
    btf.Struct("inner", 16, (btf.Member("before", LONG, 0, 0), btf.Member("deep", INT, 64, 0)), False),
    btf.Ptr(OTHER),
    btf.Array(INT, INT, 8),
    btf.Struct("", 16, (btf.Member("in", INNER, 0, 0),), True),
    btf.Struct(
        "task",
        128,
        (
            btf.Member("pid", INT, 0, 0),
            btf.Member("", ANONYMOUS, 64, 0),
            btf.Member("ptr", POINTER, 256, 0),
            btf.Member("items", ARRAY, 320, 0),
            btf.Member("padding", OTHER, 576, 0),
        ),
        False,
    ),
    btf.Struct("bits", 4, (btf.Member("low", INT, 0, 3), btf.Member("high", INT, 9, 5)), False),
    btf.Struct("sized", 40, (btf.Member("unused", INT, 0, 0),), False),
    btf.Enum("states", 4, False, (("stopped", 1), ("running", 2), ("waiting", 3))),
    btf.Struct("other", 8, (btf.Member("x", LONG, 0, 0),), False),
    btf.Struct("task", 8, (btf.Member("name", LONG, 0, 0),), False),  # of another file: has none of the members
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("object")
    (directory / "ask.bpf.c").write_text(SOURCE)
    compile_object(find_compiler(), directory / "ask.bpf.c", directory / "ask.bpf.o", "x86_64")
    return directory / "ask.bpf.o"


def cut(target: Path) -> btf.Btf:
    full = btf_writer.write(KERNEL, "little")
    return btf.read(minimal_btf([elf.read(target)], btf.index(full)))


def named(found: btf.Btf, name: str) -> btf.Struct:
    (item,) = [item for item in found.types if isinstance(item, btf.Struct) and item.name == name]
    return item


def test_members_asked_for_stay_where_they_are(target: Path) -> None:
    found = cut(target)
    task = named(found, "task")
    assert task.size == 128
    assert [(member.name, member.bit_offset) for member in task.members] == [("", 64), ("ptr", 256), ("items", 320)]
    anonymous = found[task.members[0].type]
    assert isinstance(anonymous, btf.Struct)
    assert [member.name for member in anonymous.members] == ["in"]
    assert named(found, "inner").size == 16
    assert [(member.name, member.bit_offset) for member in named(found, "inner").members] == [("deep", 64)]
    assert found[task.members[1].type] == btf.Ptr(0)  # what it leads to is not needed
    array = found[task.members[2].type]
    assert isinstance(array, btf.Array)
    assert array.length == 8


def test_bitfields_sizes_and_enumerators_stay(target: Path) -> None:
    found = cut(target)
    assert [(member.name, member.bit_offset, member.bits) for member in named(found, "bits").members] == [
        ("high", 9, 5)
    ]
    assert (named(found, "sized").size, named(found, "sized").members) == (40, ())
    assert [item.values for item in found.types if isinstance(item, btf.Enum)] == [(("running", 2),)]


def test_what_nobody_asks_for_goes(target: Path) -> None:
    names = {getattr(item, "name", "") for item in cut(target).types}
    assert names == {"", "int", "task", "inner", "bits", "sized", "states"}


def test_ambiguous_types_stay_ambiguous(target: Path) -> None:
    twin = KERNEL[TASK]
    full = btf_writer.write((*KERNEL, twin), "little")
    found = btf.read(minimal_btf([elf.read(target)], btf.index(full)))
    assert len([item for item in found.types if isinstance(item, btf.Struct) and item.name == "task"]) == 2


FULL = btf_writer.write(KERNEL, "little")
# For the layout on a host, what SOURCE declares and more.
DECLARED = """
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct inner { int deep; };
struct task { int pid; struct inner in; struct inner *ptr; int items[4]; struct { int deep; }; int missing; };
struct bits { unsigned low : 3; unsigned high : 5; };
enum states { running = 5, absent = 6 };
#pragma clang attribute pop
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "ebpf_codegen", "min-btf", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


WORDS = (len(FULL) - 24 - int.from_bytes(FULL[20:24], "little")) // 4


@pytest.mark.parametrize(
    ("number", "item", "text"),
    [
        (ARRAY, btf.Array(INT, 0, 8), "kernel: .BTF, type 5: a part of it has no type."),
        (
            ANONYMOUS,
            btf.Struct("", 16, (btf.Member("", ANONYMOUS, 0, 0),), True),
            "kernel: .BTF: a type that x.o asks for holds itself.",
        ),
    ],
)
def test_damaged_types_are_one_clear_error(target: Path, number: int, item: btf.BtfType, text: str) -> None:
    types = [*KERNEL[:number], item, *KERNEL[number + 1 :]]
    found = elf.parse(target.read_bytes(), "x.o")
    with pytest.raises(BtfError) as caught:
        minimal_btf([found], btf.index(btf_writer.write(types, "little"), "kernel"))
    assert str(caught.value) == text


@given(st.lists(st.tuples(st.integers(0, WORDS - 1), st.integers(0, 40) | st.integers(0, (1 << 32) - 1)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_is_damaged_is_cut_or_refused(target: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(FULL)
    for word, value in changes:
        data[24 + 4 * word : 28 + 4 * word] = value.to_bytes(4, "little")
    with contextlib.suppress(CodegenError):
        minimal_btf([elf.read(target)], btf.index(bytes(data)))
    with contextlib.suppress(CodegenError):
        host_source(DECLARED, btf.index(bytes(data)), "x.c")


def archive(directory: Path) -> Path:
    """Lay full BTF files out as in an archive, each packed in another way."""
    data = btf_writer.write(KERNEL, "little")
    for version in ("11", "12", "13"):
        (directory / "debian" / version / "x86_64").mkdir(parents=True)
    (directory / "debian/11/x86_64/5.10.btf").write_bytes(data)
    (directory / "debian/12/x86_64/6.1.btf.xz").write_bytes(lzma.compress(data))
    with tarfile.open(directory / "debian/13/x86_64/6.12.btf.tar.xz", "w:xz") as packed:
        packed.add(directory / "debian/11/x86_64/5.10.btf", "6.12.btf")
    return directory


NAMES = ["debian/11/x86_64/5.10.btf", "debian/12/x86_64/6.1.btf", "debian/13/x86_64/6.12.btf"]


def test_the_command_keeps_the_layout_of_a_folder(target: Path, tmp_path: Path) -> None:
    output = tmp_path / "cut"
    done = run(target, "--btf", archive(tmp_path / "full"), "-o", output)
    assert (done.returncode, done.stderr) == (0, "")
    files = sorted(path for path in output.rglob("*") if path.is_file())
    assert [str(path.relative_to(output)) for path in files] == NAMES
    assert done.stdout == "".join(f"{path}: {path.stat().st_size} bytes\n" for path in files)
    assert {path.read_bytes() for path in files} == {
        minimal_btf([elf.read(target)], btf.index(btf_writer.write(KERNEL, "little")))
    }


def test_the_command_makes_one_archive_with_its_digest(target: Path, tmp_path: Path) -> None:
    full = archive(tmp_path / "full")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert run(target, "--btf", full, "-o", tmp_path / name / "bundle.tar.xz").returncode == 0
    path = tmp_path / "one/bundle.tar.xz"
    assert path.read_bytes() == (tmp_path / "two/bundle.tar.xz").read_bytes()
    digest = path.with_name("bundle.tar.xz.sha256").read_text()
    assert digest == f"{sha256(path.read_bytes()).hexdigest()}  bundle.tar.xz\n"
    with tarfile.open(path) as bundle:
        assert bundle.getnames() == NAMES


def test_refusals_are_one_line(target: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo.btf")  # nobody writes: reading it would not end
    (tmp_path / "text.btf").write_text("no BTF")
    (tmp_path / "cut.btf.xz").write_bytes(lzma.compress(b"x" * 99)[:40])
    cases = {
        "missing": f"read {tmp_path}/missing: it is not there.",
        "fifo.btf": f"read {tmp_path}/fifo.btf: it is neither a file nor a folder.",
        "empty": f"read {tmp_path}/empty: it holds no file whose name ends in .btf.tar.xz, .btf.xz, .btf.",
        "text.btf": f"{tmp_path}/text.btf: .BTF, byte 0: 6 bytes are too few for a header of 24.",
        "cut.btf.xz": f"read {tmp_path}/cut.btf.xz: Compressed file ended before the end-of-stream marker was reached.",
    }
    for name, text in cases.items():
        done = run(target, "--btf", tmp_path / name, "-o", tmp_path / "cut")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"ebpf-codegen: {text}\n")
    both = run(target, "--btf", tmp_path / "text.btf", tmp_path, "-o", tmp_path / "cut")
    assert both.returncode == 1
    done = run(target, "-o", tmp_path / "cut")
    assert (done.returncode, done.stdout) == (2, "")
