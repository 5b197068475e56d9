# SPDX-License-Identifier: Apache-2.0
"""However long or odd the names of an object are, its module is as ruff would leave it, without a complaint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpf_codegen import model
from ebpf_codegen.render import Origin, render
from ebpf_codegen.source import Documentation

from .writers import ObjectWriter

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = (
    "a b ", '"', "\\", "\n", '"""\nimport os\n', "\u2028x", "é", "变量", "\U0001f600 ", '__import__("os") ',
    "'\" ", "{{x}} ", "#",
    "x\r", "\x1b[2J", "%s ", "class ", "O", "__",
)  # fmt: skip


def long_names(types: int, names: int) -> ObjectWriter:
    """Return an object with every form of declaration, its types and the rest named that long."""
    w = ObjectWriter()
    b = w.btf
    tag = ("very_long_name_" * 20)[:types]
    enum = b.enum("k" * types, 4, [("E" * names, 1), ("F" * names, -2)], signed=True)
    one = b.struct(tag, 4, [("x", w.int, 0)])
    two = b.struct(f"{tag}q", 8, [("y", w.int, 0)])
    three = b.struct(f"{tag}r", 12, [("y", w.int, 0)])
    rows = b.array(b.array(b.array(one, 2), 2), 2)
    members = [("n", one), ("m", rows), ("o", enum), ("p", b.array(enum, 2)), ("q", w.int)]
    either = b.struct(f"{tag}u", 32, [(name * names, kind, 0) for name, kind in members], union=True)
    bits = b.struct(f"{tag}b", 8, [("n" * names, enum, 7 << 24), ("m" * names, enum, 7 << 24 | 8)], flag=True)
    inner = [("type", w.number(5)), ("max_entries", w.number(5)), ("key", b.ptr(one)), ("value", b.ptr(rows))]
    like = b.struct("", 32, [(name, kind, 64 * i) for i, (name, kind) in enumerate(inner)])
    outer = [("type", w.number(13)), ("max_entries", w.number(5)), ("key", b.ptr(two))]
    outer += [("values", b.array(b.ptr(like), 0))]
    of_maps = b.struct("", 32, [(name, kind, 64 * i) for i, (name, kind) in enumerate(outer)])
    w.variable(".maps", "m" * names, of_maps, 32)
    for number, kind in enumerate((one, rows, either, bits, enum, b.array(enum, 4), b.array(w.int, 2))):
        w.variable(".bss", f"v{number}{'v' * names}", kind, 256)
        w.map(f"h{number}{'v' * names}", {"type": 5, "max_entries": 4}, {"key": kind, "value": b.array(kind, 2)})
    w.map("r" * names, {"type": 27, "max_entries": 4096})
    for number, kind in enumerate((one, two, three)):
        w.variable(
            ".ringbuf_record", f"__ringbuf_record_{'r' * names}{f'__{number}' if number else ''}", b.ptr(kind), 8
        )
    return w


def one_name(name: str) -> ObjectWriter:
    """Return an object in which everything has this name, or one that begins with it."""
    w = ObjectWriter()
    b = w.btf
    record = b.struct(name, 4, [(name, w.int, 0)])
    enum = b.enum(name, 4, [(name, 1), (f"{name}2", 2)])
    w.map(name, {"type": 1, "max_entries": 4}, {"key": enum, "value": record})
    w.map(f"{name}x", {"type": 27, "max_entries": 4})
    w.record(f"{name}x", record)
    w.variable(f".data.{name}", f"{name}a", record, 4)
    w.variable(name, f"{name}b", record, 4)
    w.variable(".ksyms", f"{name}k", w.int, 4, linkage=2)
    w.program(f"{name}p", f"{name}/x")
    w.program(f"{name}v", f"?kprobe/{name}")
    return w


def written(folder: Path, objects: Iterator[ObjectWriter]) -> Path:
    for number, w in enumerate(objects):
        found = model.build(w.parse(), f"probe{number}", Documentation(), model.Options(foreign=True))
        (folder / f"probe{number}.py").write_text(render(found, Origin("probe.o", "0", "generate")), "utf-8")
    return folder


def check(folder: Path) -> None:
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(folder)]
    for words in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *config], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("types", [8, 23, 30, 38, 43, 53, 300])
def test_long_names(types: int, tmp_path: Path) -> None:
    lengths = (4, 20, 28, 36, 44, 48, 52, 56, 60, 10000)
    check(written(tmp_path, (long_names(types, names) for names in lengths)))


@pytest.mark.parametrize("part", HOSTILE)
def test_odd_names_of_any_length(part: str, tmp_path: Path) -> None:
    lengths = (1, 3, 20, 70, *range(90, 122, 2), 300, 10000)
    check(written(tmp_path, (one_name((part * length)[:length]) for length in lengths)))
