# SPDX-License-Identifier: Apache-2.0
"""What fuzzers have found once is refused or read, in time and with little memory; so is what is made here.

A finding is a file `<target>-<digest>`; `make fuzz` writes them as `<target>-crash-<digest>` and the like.
"""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from pathlib import Path

import pytest

from ebpf_codegen import elf
from ebpf_codegen.errors import CodegenError
from tests.unit.codegen.writers import ObjectWriter

from . import targets

FINDINGS = sorted(Path(__file__).with_name("findings").iterdir())
MAX_BYTES = 64 << 20  # beyond what the input itself takes
SLOW = 5  # times the time that is allowed, on a machine that does other things as well


def examine(target: str, data: bytes) -> None:
    """Run a target on one input, and see what it took."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with contextlib.suppress(CodegenError):
            targets.TARGETS[target](data)
        assert time.process_time() - started < SLOW * targets.SECONDS
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES + 20 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_finding(path: Path) -> None:
    examine(path.name.partition("-")[0], path.read_bytes())


def test_there_are_findings_of_known_targets() -> None:
    assert FINDINGS
    assert {path.name.partition("-")[0] for path in FINDINGS} <= set(targets.TARGETS)


@pytest.mark.parametrize("target", targets.TARGETS)
def test_a_target_takes_anything(target: str) -> None:
    for data in (b"", b"\0", b"\x7fELF", bytes(64), b"\xff" * 4096, targets.object_around(b"")):
        examine(target, data)


def test_the_object_around_types_is_intact() -> None:
    """Else its target would see refusals only."""
    read = elf.parse(targets.object_around(targets._TYPES), "x.o")
    assert [section.name for section in read.sections][1:5] == [".maps", ".data", ".rodata", "xdp"]
    assert {symbol.name for symbol in read.symbols} == {"values", "variable", "constant", "program"}
    targets.read_object(targets.object_around(targets._TYPES))


def test_a_target_lets_other_errors_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the tests above."""
    writer = ObjectWriter()
    writer.value(writer.int)
    monkeypatch.setattr("ebpf_codegen.model.build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        examine("object", writer.build())
