# SPDX-License-Identifier: Apache-2.0
"""What each case generates, with every compiler, and that tools and the runtime take it.

`pytest tests/golden --update` writes the expectations anew; the diff is then to be read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf_codegen.compiler import Compiler
from ebpf_codegen.errors import UnsupportedError
from ebpf_codegen.pipeline import build_probe
from ebpf_runtime import ObjectSpec

from .cases import BOUND, CASES, GOLDEN, INCLUDE, ROOT, load

FLATTENED = ("comments", "constants", "iterators", "records_by_kind", "variants")
SHIPPED = tuple(sorted((ROOT / "bpf").glob("*.bpf.c")))
HEADERS = {
    "colors.h": "COLOR(RED, red)\nCOLOR(BLUE, blue)\n",
    "late.h": "#ifndef LATE_H\n#define LATE_H\ntypedef __u64 late_t;\n#endif\n",
    "once.h": "#pragma once\n#define COLOR(upper, lower) COLOR_##upper,\n"
    'enum color {\n#include "colors.h"\n};\n#undef COLOR\n',
}
SOURCE = """\
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#ifdef NEVER
#include "late.h"
#endif
#include "late.h"
#include "once.h"
#include "once.h"

struct paints {
#define COLOR(upper, lower) __u32 lower;
#include "colors.h"
	late_t late;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, enum color);
	__type(value, struct paints);
} values SEC(".maps");
"""


@pytest.mark.parametrize("case", CASES)
def test_generated(case: str, compiler: Compiler, request: pytest.FixtureRequest) -> None:
    directory = GOLDEN / case
    try:
        found = build_probe(directory / "case.bpf.c", compiler, INCLUDE).module
        expected = directory / "case.py"
    except UnsupportedError as error:
        found = f"{error}\n"
        expected = directory / "refusal.txt"
    if request.config.getoption("--update", default=False):
        expected.write_text(found, "utf-8")
    assert expected.is_file(), found
    assert expected.read_text("utf-8") == found


def same(source: Path, compiler: Compiler, directory: Path) -> tuple[str, str]:
    """Return the bindings of a source and those of its flattened text, without the digest of their inputs."""
    built = build_probe(source, compiler, INCLUDE)
    flat = directory / "flat" / source.name
    flat.parent.mkdir()
    # Of a header, clang does not mind functions that nothing uses.
    quiet = '#pragma clang diagnostic ignored "-Wunused-function"\n'
    flat.write_text(quiet + built.flattened, "utf-8")
    texts = (built.module, build_probe(flat, compiler, INCLUDE).module)
    first, second = (re.sub(r"(?m)^# Inputs: .*$", "", text) for text in texts)
    return first, second


@pytest.mark.parametrize("source", [*(GOLDEN / case / "case.bpf.c" for case in FLATTENED), *SHIPPED], ids=str)
def test_the_flattened_text_has_the_same_bindings(source: Path, compiler: Compiler, tmp_path: Path) -> None:
    first, second = same(source, compiler, tmp_path)
    assert first == second


def test_headers_are_flattened_as_they_are_compiled(compiler: Compiler, tmp_path: Path) -> None:
    """A table that is included twice, a header first inside of what is not compiled, and one with `#pragma once`."""
    source = tmp_path / "probe.bpf.c"
    source.write_text(SOURCE)
    for name, text in HEADERS.items():
        (tmp_path / name).write_text(text)
    first, second = same(source, compiler, tmp_path)
    assert first == second
    assert "    RED = 0\n    BLUE = 1\n" in first
    assert "    red: int = u32(0)\n    blue: int = u32(4)\n    late: int = u64(8)\n" in first


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_one_outcome(case: str) -> None:
    expected = "case.py" if case in BOUND else "refusal.txt"
    files = [path.name for path in (GOLDEN / case).iterdir() if path.is_file() and path.suffix != ".h"]
    assert sorted(files) == ["case.bpf.c", expected]


@pytest.mark.parametrize("case", BOUND)
def test_bindings_can_be_imported(case: str) -> None:
    module = load(case)
    assert isinstance(module._OBJECT, ObjectSpec)
    assert module.__all__ == [name for name in module.__all__ if hasattr(module, name)]
    assert module.__doc__


@pytest.mark.parametrize(
    "tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--cache-dir", os.devnull]]
)
def test_tools_have_nothing_to_say_of_any(tool: list[str]) -> None:
    paths = [str((GOLDEN / case / "case.py").relative_to(ROOT)) for case in BOUND]
    command = [sys.executable, "-m", *tool, "--no-cache"] if tool[0] == "ruff" else [sys.executable, "-m", *tool]
    run = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_an_expectation_that_differs_is_seen(tmp_path: Path) -> None:
    """Guards the test above: it must be able to fail."""
    bad = tmp_path / "case.py"
    bad.write_text("import os\nx: int = 'text'\n")
    for tool in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"]):
        assert subprocess.run([sys.executable, "-m", *tool, str(bad)], capture_output=True, check=False).returncode == 1
