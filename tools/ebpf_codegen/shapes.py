# SPDX-License-Identifier: Apache-2.0
"""Types as text: as C spells them, and by what their bytes mean, so that two objects can be compared.

Pure functions of BTF; they also work on types that have no Python form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from . import btf
from .errors import BtfError

__all__ = ["Leaf", "leaves", "named", "reachable", "shape", "spell"]

_MAX_DEPTH: Final = 64  # of pointers, arrays and anonymous structs in each other
_MAX_LEAVES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Leaf:
    """One member of a record, those of anonymous structs and unions in it included.

    *name* has a dot where a member is of an anonymous type; *bits* is 0 for an ordinary member, else the width of the
    bitfield; *shape* says what the bytes mean, *c_type* how the source spells it.
    """

    name: str
    bit_offset: int
    bits: int
    size: int
    shape: str
    c_type: str


def spell(types: btf.Btf, type_id: int) -> str:
    """Return a type as C spells it without a name: `struct pair[4]`, `void *`; empty for what has no such text.

    Raises:
        BtfError: Pointers or arrays form a cycle.
    """
    bounds = tail = ""
    for _ in range(_MAX_DEPTH):
        item = types[types.strip(type_id)]
        match item:
            case btf.Array():
                bounds += f"[{item.length}]"
                type_id = item.element
                continue
            case btf.Ptr():
                tail = f" *{bounds}{tail}" if bounds else f" *{tail.lstrip()}"
                bounds = ""
                type_id = item.target
                continue
            case btf.Struct() | btf.Fwd():
                text = f"{'union' if item.is_union else 'struct'} {item.name or '{…}'}"
            case btf.Enum():
                text = f"enum {item.name or '{…}'}"
            case btf.Int() | btf.Float() | btf.Typedef():
                text = item.name
            case btf.FuncProto() | btf.Func():
                text = "function"
            case _:
                text = "void"
        return text + bounds + tail
    raise BtfError(f"{types.source}: type {type_id}: its pointers and arrays form a cycle. {btf.ATOMIC_ARRAYS}")


def shape(types: btf.Btf, type_id: int) -> str:
    """Return what a type's bytes mean, whatever typedefs call it: `u32`, `char[16]`, `struct pair`, `pointer`."""
    bounds = ""
    for _ in range(_MAX_DEPTH):
        stripped = types.strip(type_id)
        resolved = types.resolve(type_id)
        item = types[resolved]
        match item:
            case btf.Array():
                bounds += f"[{item.length}]"
                type_id = item.element
            case btf.Int() if item.is_bool:
                return f"bool{8 * item.size}{bounds}"
            case btf.Int() if item.name == "char":
                return f"char{bounds}"
            case btf.Int():
                return f"{'s' if item.signed else 'u'}{8 * item.size}{bounds}"
            case btf.Float():
                return f"f{8 * item.size}{bounds}"
            case btf.Ptr():
                return f"pointer{bounds}"
            case btf.Enum() if item.name:
                return f"enum {item.name}{bounds}"
            case btf.Enum():
                return f"{'s' if item.signed else 'u'}{8 * item.size}{bounds}"
            case btf.Struct():
                outer = types[stripped]
                name = item.name or (outer.name if isinstance(outer, btf.Typedef) else "")
                return f"{'union' if item.is_union else 'struct'} {name or '{…}'}{bounds}"
            case _:
                return f"nothing{bounds}"
    raise BtfError(f"{types.source}: type {type_id}: its arrays nest deeper than {_MAX_DEPTH} levels.")


def leaves(types: btf.Btf, record: btf.Struct) -> tuple[Leaf, ...]:
    """Return the members of a struct or union in order of their declaration, those of anonymous types one by one.

    Raises:
        BtfError: Anonymous types nest deeper, or hold more, than any compiler writes.
    """
    found: list[Leaf] = []

    def walk(item: btf.Struct, prefix: str, base: int, depth: int) -> None:
        if depth > _MAX_DEPTH or len(found) > _MAX_LEAVES:
            raise BtfError(f"{types.source}: {spell_record(record)}: its anonymous members do not end.")
        for member in item.members:
            inner = types[types.strip(member.type)]
            name = f"{prefix}{member.name}"
            if isinstance(inner, btf.Struct) and not inner.name:
                walk(inner, f"{name}." if member.name else prefix, base + member.bit_offset, depth + 1)
                continue
            bit_offset = base + member.bit_offset
            bits = member.bits
            resolved = types[types.resolve(member.type)]
            if not bits and isinstance(resolved, btf.Int) and resolved.bits < 8 * resolved.size:
                # As compilers wrote bitfields before clang 7: an integer narrower than its storage.
                bit_offset, bits = bit_offset + resolved.bit_offset, resolved.bits
            found.append(
                Leaf(
                    name,
                    bit_offset,
                    bits,
                    types.size(member.type),
                    shape(types, member.type),
                    spell(types, member.type),
                )
            )

    walk(record, "", 0, 0)
    return tuple(found)


def spell_record(record: btf.Struct) -> str:
    """Return `struct x` or `union x`."""
    return f"{'union' if record.is_union else 'struct'} {record.name or '{…}'}"


def reachable(types: btf.Btf, roots: Iterable[int]) -> tuple[int, ...]:
    """Return the ids of all structs, unions and enums that values of the given types hold, in the order found.

    What is behind a pointer is not part of a value.
    """
    seen: dict[int, None] = {}
    waiting = list(roots)[::-1]
    while waiting:
        type_id = types.resolve(waiting.pop())
        if type_id in seen:
            continue
        seen[type_id] = None
        item = types[type_id]
        if isinstance(item, btf.Array):
            waiting.append(item.element)
        elif isinstance(item, btf.Struct):
            waiting += (member.type for member in reversed(item.members))
    return tuple(type_id for type_id in seen if isinstance(types[type_id], btf.Struct | btf.Enum))


def named(types: btf.Btf) -> Iterator[tuple[str, int]]:
    """Yield (name, id) of all structs, unions and enums with a tag or, where they have none, a typedef."""
    for type_id, item in enumerate(types.types):
        if isinstance(item, btf.Struct | btf.Enum) and item.name:
            yield item.name, type_id
        elif isinstance(item, btf.Typedef):
            target = types.strip(item.target)
            inner = types[target]
            if isinstance(inner, btf.Struct | btf.Enum) and not inner.name:
                yield item.name, target
