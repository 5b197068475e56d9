# SPDX-License-Identifier: Apache-2.0
"""The C compiler's word on every size, offset and value of the expected bindings: `_Static_assert` in the same source.

Only the names of C come from the generator; the numbers are those that the runtime would use.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ebpf_codegen import elf, model
from ebpf_codegen.compiler import Compiler
from ebpf_codegen.pipeline import build_probe
from ebpf_codegen.source import Documentation
from ebpf_probes import oom_kill
from ebpf_runtime import CEnum, Record, Variables, fields, host_compiler, sizeof

from .cases import BOUND, GOLDEN, INCLUDE, ROOT, load

# Types are not what these show.
FEW = (
    "kernel_functions", "kernel_symbols", "map_options", "metadata", "one_of_each", "one_too_long", "programs",
    "variants",
)  # fmt: skip
_ENUM = re.compile(r"^ *C: (.+), \d+ bytes?\.$", re.MULTILINE)


def claims(module: ModuleType, found: model.ObjectModel) -> Iterator[tuple[str, int]]:
    """Yield (C expression, its value by the bindings)."""
    values = list(vars(module).values())
    records = {cls.c_name: cls for cls in values if isinstance(cls, type) and issubclass(cls, Record) and cls.c_name}
    assert {record.c_name for record in found.records} == set(records)
    places = dict(objects(found))
    for record in found.records:
        cls, place = records[record.c_name], places[record.name]
        yield f"sizeof({place})", sizeof(cls)
        for member, field in zip(record.members, fields(cls), strict=True):
            if isinstance(member.type, model.Bits):
                continue  # has no address; see test_values.py
            yield f"__builtin_offsetof(__typeof__({place}), {member.name})", field.offset
            if not isinstance(member.type, model.ArrayOf | model.Text) or member.type.size:
                yield f"sizeof({place}.{member.name})", field.size
    enums: dict[str, type[CEnum]] = {}
    for cls in values:
        if isinstance(cls, type) and issubclass(cls, CEnum) and (match := _ENUM.search(cls.__doc__ or "")):
            enums[match[1]] = cls
    assert {enum.c_name for enum in found.enums} == set(enums)
    for enum in found.enums:
        members = list(enums[enum.c_name].__members__.values())
        for (name, _, _), value in zip(enum.values, members, strict=True):
            yield name, int(value)
    sections = {
        cls.section: cls for cls in values if isinstance(cls, type) and issubclass(cls, Variables) and cls.section
    }
    offered = [*found.sections, *(item.section for item in found.metadata)]
    assert {section.name for section in offered} == set(sections)
    for section in offered:
        for variable, field in zip(section.variables, fields(sections[section.name]), strict=True):
            yield f"sizeof({variable.name})", field.size


def objects(found: model.ObjectModel) -> Iterator[tuple[str, str]]:
    """Yield (record, how C would name an object of its type), those without a name through what they are in."""
    records = {record.name: record for record in found.records}
    pending = [(record.name, f"(*({record.c_name} *)0)") for record in found.records if "." not in record.c_name]
    for section in [*found.sections, *(item.section for item in found.metadata)]:
        pending += held(section.variables, "")
    seen: set[str] = set()
    while pending:
        name, place = pending.pop()
        if name not in seen:
            seen.add(name)
            yield name, place
            pending += [pair for pair in held(records[name].members, f"{place}.") if "." in records[pair[0]].c_name]


def held(members: Iterable[model.Member], before: str) -> Iterator[tuple[str, str]]:
    for member in members:
        kind, place = member.type, f"{before}{member.name}"
        while isinstance(kind, model.ArrayOf):
            kind, place = kind.element, f"{place}[0]"
        if isinstance(kind, model.RecordRef):
            yield kind.name, place


def agrees(compiler: Compiler, source: Path, statements: list[str], directory: Path) -> str:
    """Compile a source with statements behind it; return what clang says against them."""
    path = directory / "claims.c"
    path.write_text(f'#include "{source}"\n' + "".join(f"{statement}\n" for statement in statements))
    command = [
        *compiler.command,
        "-target",
        "bpf",
        "-D__TARGET_ARCH_x86",
        "-std=gnu11",
        "-fsyntax-only",
        "-ferror-limit=0",
    ]
    run = subprocess.run(
        [*command, *(f"-I{include}" for include in INCLUDE), str(path)], capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) == ("error:" not in run.stderr)
    return run.stderr


def state(claim: tuple[str, int]) -> str:
    expression, value = claim
    number = f"{value}ULL" if value >= 0 else f"({value + 1}LL - 1)"
    return f'_Static_assert(({expression}) == {number}, "{expression} is not {value}");'


def model_of(compiler: Compiler, source: Path) -> model.ObjectModel:
    image = build_probe(source, compiler, INCLUDE, ("x86_64",)).objects["x86_64"]
    return model.build(elf.parse(image, source.name), "case", Documentation())


@pytest.mark.parametrize("case", BOUND)
def test_clang_agrees(case: str, compiler: Compiler, tmp_path: Path) -> None:
    source = GOLDEN / case / "case.bpf.c"
    statements = [state(claim) for claim in claims(load(case), model_of(compiler, source))]
    assert agrees(compiler, source, statements, tmp_path) == ""
    assert len(statements) > 2 or case in FEW


def test_clang_agrees_with_the_shipped_bindings(compiler: Compiler, tmp_path: Path) -> None:
    source = ROOT / "bpf" / "oom_kill.bpf.c"
    statements = [state(claim) for claim in claims(oom_kill, model_of(compiler, source))]
    assert agrees(compiler, source, statements, tmp_path) == ""
    assert len(statements) > 50


@pytest.mark.parametrize("case", BOUND)
def test_a_module_is_what_is_compiled_on_a_host(case: str, compiler: Compiler, tmp_path: Path) -> None:
    found = model_of(compiler, GOLDEN / case / "case.bpf.c")
    assert host_compiler._differences(load(case)._OBJECT, found) == []


def test_other_bitfields_on_a_host_are_named(compiler: Compiler, tmp_path: Path) -> None:
    source = tmp_path / "case.bpf.c"
    text = (GOLDEN / "bitfields" / "case.bpf.c").read_text()
    source.write_text(text.replace("low : 3;", "low : 4;").replace("high : 29;", "high : 28;"))
    found = model_of(compiler, source)
    assert host_compiler._differences(load("bitfields")._OBJECT, found) == [
        "struct flags.low is bits 0 to 4, the module says bits 0 to 3",
        "struct flags.high is bits 4 to 32, the module says bits 3 to 32",
    ]


def test_clang_would_not_agree_with_other_numbers(compiler: Compiler, tmp_path: Path) -> None:
    """Guards the tests above: each claim is refused if its number is wrong."""
    source = GOLDEN / "enums" / "case.bpf.c"
    wrong = [(text, value + 1) for text, value in claims(load("enums"), model_of(compiler, source))]
    said = agrees(compiler, source, [state(claim) for claim in wrong], tmp_path)
    assert said.count(" error: ") == len(wrong)
    for expression, value in wrong:
        assert f": {expression} is not {value}\n" in said.replace('"', "")
