# SPDX-License-Identifier: Apache-2.0
"""Hundreds of random structs: what the compiler says of their layout is what readers and bindings say, both ways round.

The compiler's word: `sizeof` and `offsetof` in tables that it compiles, and for bitfields the bits that it sets in
objects which have nothing else set. A struct that fails is made as small as it can be and still fail.
"""

from __future__ import annotations

import struct as structs_of_python
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample

from ebpf_codegen import btf, elf
from ebpf_codegen.compiler import Compiler, find_compiler
from ebpf_codegen.generate import generate
from ebpf_codegen.shapes import leaves
from ebpf_runtime import Record, Variables, fields, sizeof

from .random_structs import Struct, Value, bitfields, members, program, structs

ORDERS = {"little": "bpfel", "big": "bpfeb"}
COUNT = 300
# Reproducible, and without a file of examples; see tests/unit/codegen/conftest.py.
QUIET = settings(
    max_examples=COUNT,
    phases=[Phase.generate],
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SMALLER = settings(QUIET, phases=[Phase.generate, Phase.shrink], max_examples=500)


def drawn() -> list[Struct]:
    """Return the structs of this run, the same in every run."""
    found: list[Struct] = []

    @QUIET
    @given(structs())
    def collect(struct: Struct) -> None:
        found.append(struct)

    collect()
    return found


class Compiled:
    """What a compiler made of some structs: an object, and its answers."""

    def __init__(self, compiler: Compiler, order: str, found: list[Struct], directory: Path) -> None:
        self.structs = found
        self.source = directory / "case.bpf.c"
        self.path = directory / "case.o"
        self.source.write_text(program(found))
        command = [*compiler.command, "-target", ORDERS[order], "-O2", "-g", "-std=gnu11", "-w", "-c"]
        subprocess.run([*command, str(self.source), "-o", str(self.path)], check=True)
        self.elf = elf.read(self.path)
        self.order: Any = order
        self.types = {item.name: item for item in self.elf.btf.types if isinstance(item, btf.Struct)}
        self._symbols = {symbol.name: symbol for symbol in self.elf.symbols}

    def bytes_of(self, name: str) -> bytes:
        symbol = self._symbols[name]
        data = bytes(self.elf.sections[symbol.section].data)
        return data[symbol.offset : symbol.offset + symbol.size] or bytes(symbol.size)  # .bss has none

    def place(self, name: str) -> tuple[str, int]:
        """Return the section of a variable, and where it is in it."""
        symbol = self._symbols[name]
        return self.elf.sections[symbol.section].name, symbol.offset

    def answers(self, number: int) -> tuple[int, dict[str, tuple[int, int]]]:
        """Return the size of a struct, and offset and size of its members by path."""
        data = self.bytes_of(f"answers_{number}")
        size, *rest = structs_of_python.unpack(f"{'<' if self.order == 'little' else '>'}{len(data) // 8}Q", data)
        paths = members(self.structs[number].group)
        return size, dict(zip(paths, zip(rest[::2], rest[1::2], strict=True), strict=True))

    def bits(self, number: int, path: str) -> tuple[int, int]:
        """Return first bit and width of a bitfield, as BTF counts: in big-endian the most significant bit is first."""
        data = self.bytes_of(f"bits_{number}_{path.replace('.', '__')}")
        word = int.from_bytes(data, self.order)
        last = 8 * len(data) - 1
        found = [bit for bit in range(last + 1) if word >> (bit if self.order == "little" else last - bit) & 1]
        assert found == list(range(found[0], found[-1] + 1))
        return found[0], len(found)


def check_all(
    check: Callable[[Compiled, int], None], compiler: Compiler, order: str, found: list[Struct], directory: Path
) -> None:
    """Run a check on each struct; where one fails, fail with the smallest that does."""

    def fails(struct: Struct) -> bool:
        compiled = Compiled(compiler, order, [struct], directory)
        try:
            check(compiled, 0)
        except Exception:
            return True
        return False

    compiled = Compiled(compiler, order, found, directory)
    for number in range(len(found)):
        try:
            check(compiled, number)
        except Exception as error:
            try:
                least = find(structs(), fails, settings=SMALLER)
            except NoSuchExample:
                least = found[number]
            Compiled(compiler, order, [least], directory)
            source = (directory / "case.bpf.c").read_text()
            pytest.fail(f"{type(error).__name__}: {error}\n{source}")


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    """One is enough here: all make the same BTF, which other tests check."""
    return find_compiler()


# What is read from BTF


def btf_agrees(compiled: Compiled, number: int) -> None:
    types = compiled.elf.btf
    item = compiled.types[f"s{number}"]
    size, answers = compiled.answers(number)
    assert item.size == size
    read = {leaf.name: leaf for leaf in leaves(types, item)}
    group = compiled.structs[number].group
    for path in bitfields(group):
        assert (read[path].bit_offset, read[path].bits) == compiled.bits(number, path), path
    for path, place in answers.items():
        if path in read:  # a named struct within is read as its members
            assert (read[path].bit_offset, read[path].bits, read[path].size) == (8 * place[0], 0, place[1]), path
    missing = set(read) - set(answers) - set(bitfields(group)) - {""}
    assert {name for name in missing if not name.endswith(".")} == set()


@pytest.mark.parametrize("order", ORDERS)
def test_btf_is_read_as_it_was_compiled(order: str, compiler: Compiler, tmp_path: Path) -> None:
    found = drawn()
    assert len(found) >= COUNT
    check_all(btf_agrees, compiler, order, found, tmp_path)


# What bindings say


def load(path: Path, directory: Path) -> ModuleType:
    module = ModuleType("random_structs_bindings")
    exec(compile(generate(path).module, str(directory / "case.py"), "exec"), module.__dict__)
    return module


def records(module: ModuleType) -> dict[str, type[Record]]:
    values = vars(module).values()
    return {
        cls.c_name.split()[-1]: cls
        for cls in values
        if isinstance(cls, type) and issubclass(cls, Record) and cls.c_name
    }


def flat(cls: type[Record], prefix: str = "", base: int = 0) -> Iterator[tuple[str, Any, int]]:
    """Yield (path, field, bits from the start of the whole) of a record's fields and those of records within."""
    for field in fields(cls):
        yield f"{prefix}{field.name}", field, base + field.bit_offset
        inner = getattr(field, "type", None)
        if isinstance(inner, type) and issubclass(inner, Record):
            yield from flat(inner, f"{prefix}{field.name}.", base + 8 * field.offset)


def plain(value: Any) -> Any:
    """Return a value of a record as the struct's values are: numbers, text, lists."""
    if isinstance(value, Record):
        return {field.name: plain(getattr(value, field.name)) for field in fields(type(value))}
    if isinstance(value, tuple | bytes):
        return [plain(item) for item in value]
    return value if isinstance(value, str | float) else int(value)


def rebuild(record: Record, values: dict[str, Value]) -> Record:
    """Return a record made from the values that were given in C, by keyword alone."""
    given = {}
    for name, value in values.items():
        found = getattr(record, name)
        if isinstance(value, dict):
            found = rebuild(found, value)
        elif isinstance(value, list) and isinstance(value[0], dict):
            pairs = zip(found, value, strict=True)
            found = tuple(rebuild(one, item) for one, item in pairs if isinstance(item, dict))
        given[name] = found
    return type(record)(**given)


def compare(found: Any, values: dict[str, Value], where: str) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            compare(found[name], value, f"{where}.{name}")
        elif isinstance(value, list) and isinstance(value[0], dict):
            assert len(found[name]) == len(value)
            for number, item in enumerate(value):
                assert isinstance(item, dict)
                compare(found[name][number], item, f"{where}.{name}[{number}]")
        else:
            assert found[name] == value, f"{where}.{name}"


class Bindings:
    """Makes and imports the bindings of an object once."""

    def __init__(self) -> None:
        self.of: tuple[elf.Elf, dict[str, type[Record]], dict[str, type[Variables]]] | None = None

    def __call__(self, compiled: Compiled, number: int) -> None:
        if self.of is None or self.of[0] is not compiled.elf:
            module = load(compiled.path, compiled.path.parent)
            sections = (
                item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Variables)
            )
            self.of = compiled.elf, records(module), {item.section: item for item in sections}
        cls = self.of[1][f"s{number}"]
        section, offset = compiled.place(f"value_{number}")
        assert getattr(self.of[2][section], f"value_{number}").offset == offset
        size, answers = compiled.answers(number)
        assert sizeof(cls) == size
        group = compiled.structs[number].group
        found = {path: (bit, field) for path, field, bit in flat(cls)}
        for path in bitfields(group):
            bit, field = found[path]
            assert (bit, field.bits) == compiled.bits(number, path), path
        for path, (offset, length) in answers.items():
            bit, field = found[path]
            assert (bit, field.bits, field.size) == (8 * offset, 0, length), path
        data = compiled.bytes_of(f"value_{number}")
        record = cls.from_bytes(data)
        values = compiled.structs[number].value()
        compare(plain(record), values, f"s{number}")
        assert bytes(record) == data
        assert bytes(rebuild(record, values)) == data


@pytest.mark.parametrize("order", ORDERS)
def test_bindings_read_and_write_what_c_wrote(order: str, compiler: Compiler, tmp_path: Path) -> None:
    check_all(Bindings(), compiler, order, drawn(), tmp_path)


class Altered(Compiled):
    """The same with another first byte in each value, and answers that are one too large."""

    def bytes_of(self, name: str) -> bytes:
        data = super().bytes_of(name)
        return bytes([data[0] ^ 0xFF]) + data[1:] if name.startswith("value_") and data else data


class Shifted(Compiled):
    """The same with a compiler that says that each member stands one byte further on."""

    def answers(self, number: int) -> tuple[int, dict[str, tuple[int, int]]]:
        size, found = super().answers(number)
        return size, {path: (offset + 1, length) for path, (offset, length) in found.items()}


def test_what_differs_is_seen(compiler: Compiler, tmp_path: Path) -> None:
    """Guards the tests above."""
    found = [struct for struct in drawn() if struct.value() and list(members(struct.group))][:50]
    check = Bindings()
    for kind in (Altered, Shifted):
        compiled = kind(compiler, "little", found, tmp_path)
        seen = 0
        for number in range(len(found)):
            try:
                check(compiled, number)
            except AssertionError:
                seen += 1
        # In some the first byte belongs to a member of a union without a value, or is padding.
        assert seen >= (len(found) if kind is Shifted else len(found) // 2)
