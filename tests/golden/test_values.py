# SPDX-License-Identifier: Apache-2.0
"""Values and the bytes they are, in both byte orders, by the word of the C compiler: initialised variables.

Of each record of the expected bindings each member is set, in C and in Python; the bytes must be the same, and read
back as the value.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_codegen import elf, model
from ebpf_codegen.compiler import Compiler
from ebpf_codegen.generate import generate
from ebpf_codegen.source import Documentation
from ebpf_runtime import CEnum, Record, VariableError, fields

from .cases import BOUND, GOLDEN, INCLUDE

TARGETS = {"little": "bpfel", "big": "bpfeb"}


def compiled(compiler: Compiler, target: str, source: Path, output: Path) -> elf.Elf:
    command = [*compiler.command, "-target", target, "-D__TARGET_ARCH_x86", "-std=gnu11", "-O2", "-g", "-w", "-c"]
    includes = [f"-I{include}" for include in INCLUDE]
    subprocess.run([*command, *includes, "-o", str(output), str(source)], check=True)
    return elf.read(output)


def bindings(path: Path) -> ModuleType:
    module = ModuleType("bindings")
    exec(generate(path).module, vars(module))
    return module


def number(kind: model.Scalar, width: int) -> tuple[str, object]:
    """Return a value of that many bits, in C and in Python."""
    if kind.kind == "boolean":
        return "1", True
    if kind.kind == "pointer":
        return "(void *)0x1122334455667788", 0x1122334455667788
    if kind.kind[0] == "f":
        return "-1.5", -1.5
    value = 0x123456789ABCDEF0123456789ABCDEF1 & (1 << width) - 1 | 1
    if kind.kind[0] == "s":
        value = -(value & (1 << width - 1) - 1) - 1
    low = f"{abs(value) & (1 << 64) - 1}ULL"
    wide = f"(((unsigned __int128){abs(value) >> 64}ULL << 64) | {low})"
    return f"{'-' if value < 0 else ''}{wide if kind.size == 16 else low}", value


def sample(kind: model.ValueType, enums: dict[str, model.EnumType], cls: Any) -> tuple[str, Any] | None:
    """Return a value in C and in Python; None for what has members of its own."""
    match kind:
        case model.Scalar():
            return number(kind, 8 * kind.size)
        case model.Bits(base=model.Scalar() as base):
            return number(base, kind.width)
        case model.EnumRef(name=name) | model.Bits(base=model.EnumRef(name=name)):
            enum = enums[name]
            value = enum.values[-1][1]
            return str(value) if value < 1 << 63 else f"{value}ULL", value
        case model.Text() if kind.size:
            text = "abcdefgh"[: kind.size]
            return f'"{text}"', text
        case model.ArrayOf(element=model.Scalar(kind="u8")) if kind.count:
            row = bytes(range(1, kind.count + 1))
            return f"{{{', '.join(map(str, row))}}}", row
        case model.ArrayOf() if kind.count:
            inner = sample(kind.element, enums, cls)
            return inner and (f"{{{', '.join([inner[0]] * kind.count)}}}", (inner[1],) * kind.count)
    return None


def samples(found: model.ObjectModel, module: ModuleType) -> Iterator[tuple[str, type[Record], str, object]]:
    """Yield (definition of a C variable, record, attribute, value)."""
    enums = {enum.name: enum for enum in found.enums}
    classes = {c.c_name: c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Record) and c.c_name}
    for record in found.records:
        if "." in record.c_name:
            continue
        cls = classes[record.c_name]
        for member, field in zip(record.members, fields(cls), strict=True):
            value = sample(member.type, enums, cls)
            if value is not None:
                yield f"{record.c_name} %s = {{.{member.name} = {value[0]}}};", cls, field.name, value[1]


@pytest.mark.parametrize("order", TARGETS)
@pytest.mark.parametrize("case", BOUND)
def test_bytes_are_the_compilers(case: str, order: str, compiler: Compiler, tmp_path: Path) -> None:
    source, output = GOLDEN / case / "case.bpf.c", tmp_path / "case.o"
    first = compiled(compiler, TARGETS[order], source, output)
    found = model.build(first, "case", Documentation(), model.Options(foreign=True))
    expected = list(samples(found, bindings(output)))
    lines = [definition % f"__value{i}" for i, (definition, *_) in enumerate(expected)]
    (tmp_path / "values.c").write_text("\n".join([f'#include "{source}"', *lines]))
    second = compiled(compiler, TARGETS[order], tmp_path / "values.c", output)
    assert second.byte_order == order
    symbols = {symbol.name: symbol for symbol in second.symbols}
    for i, (definition, cls, name, value) in enumerate(expected):
        symbol = symbols[f"__value{i}"]
        section = second.sections[symbol.section]
        data = bytes(section.data[symbol.offset : symbol.offset + symbol.size]).ljust(symbol.size, b"\0")
        assert bytes(cls.zeroed(**{name: value})) == data, definition
        read = getattr(cls.from_bytes(data), name)
        assert read == value, definition
        assert isinstance(read, CEnum) or type(read) is type(value)
    assert expected or all("." in record.c_name for record in found.records)


@pytest.mark.parametrize("order", TARGETS)
def test_metadata_is_what_the_object_holds(order: str, compiler: Compiler, tmp_path: Path) -> None:
    output = tmp_path / "case.o"
    compiled(compiler, TARGETS[order], GOLDEN / "metadata" / "case.bpf.c", output)
    module = bindings(output)
    assert repr(module.CaseMyConfig()) == "<CaseMyConfig settings=Settings(version=3, author='somebody')>"
    features = module.CaseFeatures()
    assert features.feature_level == 2
    with pytest.raises(VariableError) as caught:
        features.feature_level = 3
    assert str(caught.value) == (
        "set variable 'feature_level': features is what the object says of itself, and cannot be changed."
    )
