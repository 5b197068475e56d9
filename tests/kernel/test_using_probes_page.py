# SPDX-License-Identifier: Apache-2.0
"""docs/using-probes.md: its blocks are run one after the other, as the program they are, and its tables are true."""

from __future__ import annotations

import inspect
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ebpf_runtime
from ebpf_runtime.hooks import hook_of
from ebpf_runtime.iterators import IteratorProgram
from ebpf_runtime.programs import open_program
from tests.support.programs import skip_without_cookies
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "using-probes.md").read_text("utf-8")
BLOCK = re.compile(r"^```(c|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"(?m)^\| (`\S+?`(?:, `\S+?`)*) \| (.*) \| [\d., ;a-z]+ \|$")
PINS = (Path("/sys/fs/bpf/traced-link"), Path("/sys/fs/bpf/traced-counts"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the page's program has when it has run."""
    (kind, source), *python = BLOCK.findall(PAGE)
    assert kind == "c"
    assert {language for language, _ in python} == {"python"}
    module = make_module(tmp_path, write_source(tmp_path, "traced", source, whole=True))
    monkeypatch.setitem(sys.modules, "traced_probes", ModuleType("traced_probes"))
    monkeypatch.setitem(sys.modules, "traced_probes.traced", module)
    names: dict[str, Any] = {}
    try:
        for _, block in python:
            try:
                exec(block, names)
            except ebpf_runtime.FallbackWarning as warning:
                skip_without_cookies(str(warning), "uprobes", "5.15")
                raise
        yield names
    finally:
        for path in PINS:
            path.unlink(missing_ok=True)
        if "probe" in names:
            names["probe"].close()


def test_the_program_sees_what_the_page_says(page: dict[str, Any]) -> None:
    assert (page["was_paused"], page["still_to_do"]) == (True, {"on_function": "path"})
    assert (page["calls_so_far"], page["absent"], page["cookies"]) == (5, 0, [7, 8, 9])
    assert page["everything"] == {7: 5, 8: 100, 9: 200}
    assert page["taken"] == {7: 5, 8: 101}
    assert (sum(page["per_cpu"]), page["total"]) == (5, 5)
    assert page["seen"] == [(7, os.getpid())] * 5
    assert page["thread"] == threading.get_native_id()
    assert (page["kept"].pid, page["still_there"]) == (os.getpid(), 7)
    # Two calls for the streams, one through the pinned link, none after that.
    assert (page["after_detach"], page["after_unpin"]) == (8, 8)
    assert page["shared"] == 11
    assert page["said"].startswith("attach program 'on_function' to libc.so.6:getpppid: ENOENT, ")
    assert not [path for path in PINS if path.exists()]


def test_the_table_of_attach_has_every_argument() -> None:
    found = 0
    for sections, arguments in ROW.findall(PAGE):
        for section in re.findall(r"`(.+?)`", sections):
            name = section.replace("/…", "/skb")
            program = open_program("p", name, -1, 0, None)
            attach = IteratorProgram.attach if name == "iter" else type(program).attach
            parameters = inspect.signature(attach).parameters.values()
            known = {
                parameter.name if parameter.default is parameter.empty else f"[{parameter.name}]"
                for parameter in parameters
                if parameter.name != "self"
            }
            assert hook_of(name).program_type, section
            assert set(re.findall(r"`(.+?)`", arguments)) == known, section
            found += 1
    assert found == 32


def test_the_table_of_errors_names_errors() -> None:
    named = set(re.findall(r"`(\w+Error)`", PAGE)) - {"EbpfError"}
    assert all(issubclass(getattr(ebpf_runtime, name), ebpf_runtime.EbpfError) for name in named)
    assert len(named) == 13
