# SPDX-License-Identifier: Apache-2.0
"""docs/events-and-tags.md: each block of C is built, and the blocks of Python behind it are what it generates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ebpf_codegen import tags
from ebpf_codegen.compiler import Compiler
from ebpf_codegen.pipeline import build_probe

from .cases import INCLUDE, ROOT

PAGE = (ROOT / "docs" / "events-and-tags.md").read_text("utf-8")
BLOCK = re.compile(r"^```(c|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {section.partition("\n")[0]: BLOCK.findall(section) for section in PAGE.split("\n## ")[1:]}
HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
TAIL = '\nchar LICENSE[] SEC("license") = "GPL";\n'


def bare(text: str) -> str:
    """Return code without indentation and blank lines, which the formatter of the page has its own ideas of."""
    return "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("section", SECTIONS)
def test_snippets_are_what_is_generated(section: str, compiler: Compiler, tmp_path: Path) -> None:
    (kind, source), *generated = SECTIONS[section]
    assert kind == "c"
    assert generated
    path = tmp_path / "page.bpf.c"
    path.write_text(HEAD + source + TAIL)
    built = build_probe(path, compiler, INCLUDE, ("x86_64",))
    assert built.warnings == ()
    for language, text in generated:
        assert language == "python"
        assert bare(text) in bare(built.module)


def test_every_tag_is_in_the_table() -> None:
    header = (ROOT / "bpf" / "include" / "tags.bpf.h").read_text()
    defined = set(re.findall(r'(?m)^#define ([A-Z0-9_]+) __MEANS\("(\w+)"\)', header))
    known = {(meaning.macro, name): meaning.suffix for name, meaning in tags._MEANINGS.items()}
    rows = dict(re.findall(r"(?m)^\| `([A-Z0-9_]+)` \|.*\| `_(\w+)` \|$", PAGE))
    assert defined == set(known)
    assert rows == {macro: suffix for (macro, _), suffix in known.items()}
