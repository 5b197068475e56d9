# SPDX-License-Identifier: Apache-2.0
"""The definitions that stand in an object, as they are: maps, programs, variables, also those no bindings are made of.

Source: libbpf's parse_btf_map_def() and bpf_object__collect_externs().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from . import btf
from .elf import Elf
from .errors import BtfError
from .pointers import BINDINGS, target
from .runtime_names import MAP_TYPES

__all__ = [
    "MapDefinition",
    "ProgramDefinition",
    "VariableDefinition",
    "maps",
    "programs",
    "records",
    "variables",
]

_NO_VARIABLES: Final = (".maps", "license", "version")
_LINKAGES: Final = ("static", "global", "extern")
_INSTRUCTION: Final = 8
_MAX_INNER: Final = 2  # a map in a map; libbpf refuses a third level


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """One map of `.maps`; *key* and *value* are type ids or None, *numbers* what `__uint` and `__ulong` set."""

    name: str
    type: str
    key: int | None
    value: int | None
    numbers: dict[str, int]
    inner: MapDefinition | None

    def size_of(self, types: btf.Btf, part: str) -> int:
        """Return the bytes of the "key" or the "value"."""
        type_id = self.key if part == "key" else self.value
        return types.size(type_id) if type_id is not None else self.numbers.get(f"{part}_size", 0)


@dataclass(frozen=True, slots=True)
class ProgramDefinition:
    """One program; *section* without the `?` that says not to load it by default, *size* in bytes."""

    name: str
    section: str
    autoload: bool
    size: int


@dataclass(frozen=True, slots=True)
class VariableDefinition:
    """One variable; *linkage* is static, global or extern, *offset* None where libbpf decides it."""

    section: str
    name: str
    type: int
    offset: int | None
    size: int
    linkage: str


def maps(elf: Elf) -> tuple[MapDefinition, ...]:
    """Return the maps that BTF defines, in their order in the object.

    Raises:
        BtfError: A definition is none that libbpf could read.
    """
    places = _places(elf)
    found = []
    for section in elf.btf.types:
        if isinstance(section, btf.Datasec) and section.name == ".maps":
            for variable in section.variables:
                var = elf.btf[variable.var]
                if isinstance(var, btf.Var):
                    offset = places.get((section.name, var.name), variable.offset)
                    found.append((offset, _map(elf.btf, var.name, var.type, 0)))
    return tuple(definition for _, definition in sorted(found, key=lambda pair: pair[0]))


def _map(types: btf.Btf, name: str, type_id: int, depth: int) -> MapDefinition:
    definition = types[types.resolve(type_id)]
    if not isinstance(definition, btf.Struct) or depth == _MAX_INNER:
        raise BtfError(f'{types.source}: map {name!r}: its definition is no struct of SEC(".maps").')
    numbers: dict[str, int] = {}
    key = value = None
    inner = None
    for member in definition.members:
        item = types[types.resolve(member.type)]
        if isinstance(item, btf.Enum) and item.values:  # __ulong(name, value)
            numbers[member.name] = item.values[0][1]
        elif isinstance(item, btf.Array) and member.name == "values":
            pointer = types[types.resolve(item.element)]
            target = types.resolve(pointer.target) if isinstance(pointer, btf.Ptr) else 0
            if isinstance(types[target], btf.Struct):
                inner = _map(types, f"{name}.inner", target, depth + 1)
        elif isinstance(item, btf.Ptr):
            target_type = types[types.resolve(item.target)]
            if member.name == "key":
                key = item.target
            elif member.name == "value":
                value = item.target
            elif isinstance(target_type, btf.Array):
                numbers[member.name] = target_type.length
    number = numbers.pop("type", 0)
    kind = MAP_TYPES[number] if number < len(MAP_TYPES) else str(number)
    return MapDefinition(name, kind, key, value, numbers, inner)


def programs(elf: Elf) -> tuple[ProgramDefinition, ...]:
    """Return the programs in their order in the object; functions that programs call are not among them."""
    functions = [s for s in elf.symbols if s.kind == "func" and 0 < s.section < len(elf.sections) and s.is_global]
    found = []
    for symbol in sorted(functions, key=lambda s: (s.section, s.offset)):
        section = elf.sections[symbol.section]
        if section.executable and section.name != ".text":
            name = section.name.removeprefix("?")
            found.append(ProgramDefinition(symbol.name, name, name == section.name, symbol.size))
    return tuple(found)


def variables(elf: Elf) -> tuple[VariableDefinition, ...]:
    """Return the variables by section and offset, static and extern ones included."""
    places = _places(elf)
    found = []
    for section in elf.btf.types:
        if not isinstance(section, btf.Datasec) or section.name in _NO_VARIABLES:
            continue
        for variable in section.variables:
            var = elf.btf[variable.var]
            if not isinstance(var, btf.Var):
                continue
            linkage = _LINKAGES[var.linkage] if var.linkage < len(_LINKAGES) else "extern"
            offset = None if linkage == "extern" else places.get((section.name, var.name), variable.offset)
            size = variable.size or elf.btf.size(var.type)
            found.append(VariableDefinition(section.name, var.name, var.type, offset, size, linkage))
    return tuple(sorted(found, key=lambda v: (v.section, -1 if v.offset is None else v.offset, v.name)))


def records(elf: Elf) -> dict[str, list[int]]:
    """Return the types of records of streams and iterators, by map or program, as RINGBUF_RECORD and the like say."""
    known = {definition.name: None for definition in maps(elf)} | {program.name: None for program in programs(elf)}
    found: dict[str, list[int]] = {}
    for variable in variables(elf):
        pointer = elf.btf[elf.btf.resolve(variable.type)]
        if variable.section in BINDINGS and isinstance(pointer, btf.Ptr):
            name, _ = target(variable.section, variable.name, known)
            found.setdefault(name, []).append(pointer.target)
    return found


def _places(elf: Elf) -> dict[tuple[str, str], int]:
    """Return the offsets of symbols by section and name; clang writes those of global variables nowhere else."""
    return {
        (elf.sections[symbol.section].name, symbol.name): symbol.offset
        for symbol in elf.symbols
        if 0 < symbol.section < len(elf.sections)
    }
