# SPDX-License-Identifier: Apache-2.0
"""Minimal BTF: of a kernel's BTF, the few types that the CO-RE relocations of some objects ask for.

libbpf takes it in place of the kernel's own and finds every member where it was: structs keep their size and the
offsets of the members that are left. It serves CO-RE only, not programs that attach by BTF (fentry, tp_btf, iterators).

A relocation names its type by the object's declaration of it. In the kernel's BTF every type of that name (without a
`___flavour`) that has the whole path of members is kept, so that a relocation which is ambiguous stays so.

Source: libbpf src/relo_core.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from . import btf, btf_ext
from .btf_ext import CoReRelocation
from .btf_writer import write
from .elf import Elf
from .errors import BtfError, CodegenError

__all__ = ["minimal_btf"]

_MAX_DEPTH: Final = 32  # as libbpf


def minimal_btf(objects: Sequence[Elf], full: btf.IndexedBtf) -> bytes:
    """Return the part of a kernel's BTF that these objects need.

    Raises:
        BtfError: An object or the kernel's BTF is damaged.
        CodegenError: An object has another byte order than the kernel.
    """
    cut = _Cut(full)
    for item in objects:
        if item.byte_order != full.byte_order:
            raise CodegenError(
                f"cut BTF for {item.source}: it is {item.byte_order}-endian, {full.source} is {full.byte_order}-endian."
            )
        finder = _Finder(item.btf, full, cut)
        for relocation in _relocations(item):
            try:
                finder.keep(relocation)
            except RecursionError:
                raise BtfError(f"{full.source}: .BTF: a type that {item.source} asks for holds itself.") from None
    return cut.blob()


def _relocations(elf: Elf) -> tuple[CoReRelocation, ...]:
    """Return the relocations of an object, none if it has none."""
    blobs = {section.name: section.data for section in elf.sections}
    if not blobs.get(".BTF.ext"):
        return ()
    return btf_ext.relocations(blobs[".BTF.ext"], elf.btf, btf.strings(blobs[".BTF"], elf.source))


@dataclass(slots=True)
class _Cut:
    """What is kept of the kernel's types: the members of structs and the enumerators of enums by their index."""

    full: btf.IndexedBtf
    parts: dict[int, set[int]] = field(default_factory=dict)

    def type(self, type_id: int, follow_pointers: bool = False) -> None:
        """Keep a type and what its size and kind hang on; of a struct or an enum only the name and the size."""
        if not type_id or (type_id in self.parts and not follow_pointers):
            return
        is_new = type_id not in self.parts
        self.parts.setdefault(type_id, set())
        item = self.full[type_id]
        match item:
            case btf.Typedef() | btf.Modifier():
                self.type(item.target, follow_pointers)
            case btf.Ptr() if follow_pointers:
                self.type(item.target, follow_pointers and is_new)
            case btf.Array():
                self.type(item.element, follow_pointers)
                self.type(item.index_type)
            case btf.FuncProto() if follow_pointers:
                for kind in (item.returns, *(kind for _, kind in item.parameters)):
                    self.type(kind, is_new)

    def member(self, type_id: int, index: int) -> None:
        item = self.full[type_id]
        assert isinstance(item, btf.Struct)
        self.type(type_id)
        self.parts[type_id].add(index)
        self.type(item.members[index].type)

    def everything(self, type_id: int, behind_pointer: bool = False, depth: int = 0) -> None:
        """Keep a type whole, as `bpf_core_type_matches` compares it: behind a pointer by name alone."""
        self.type(type_id)
        item = self.full[type_id]
        match item:
            case btf.Typedef() | btf.Modifier():
                self.everything(item.target, behind_pointer, depth)
            case btf.Ptr() if depth < _MAX_DEPTH:
                self.everything(item.target, True, depth + 1)
            case btf.Array():
                self.everything(item.element, behind_pointer, depth)
            case btf.FuncProto() if depth < _MAX_DEPTH:
                for kind in (item.returns, *(kind for _, kind in item.parameters)):
                    self.everything(kind, True, depth + 1)
            case btf.Struct() if not behind_pointer:
                for index, member in enumerate(item.members):
                    self.member(type_id, index)
                    self.everything(member.type, False, depth)
            case btf.Enum() if not behind_pointer:
                self.parts[type_id].update(range(len(item.values)))

    def blob(self) -> bytes:
        ids = {type_id: number for number, type_id in enumerate(sorted(self.parts), 1)}
        types: list[btf.BtfType] = [btf.Void()]
        for type_id in ids:
            try:
                types.append(self.cut(type_id, ids))
            except KeyError:  # of all that is kept, only void is not in *ids*
                raise BtfError(f"{self.full.source}: .BTF, type {type_id}: a part of it has no type.") from None
        return write(types, self.full.byte_order)

    def cut(self, type_id: int, ids: dict[int, int]) -> btf.BtfType:
        """Return a type with what is kept of it, by its new ids; what a pointer leads to may be void now."""
        item = self.full[type_id]
        parts = sorted(self.parts[type_id])
        match item:
            case btf.Struct():
                kept = (item.members[index] for index in parts)
                return item._replace(members=tuple(member._replace(type=ids[member.type]) for member in kept))
            case btf.Enum():
                return item._replace(values=tuple(item.values[index] for index in parts))
            case btf.Ptr() | btf.Typedef() | btf.Modifier():
                return item._replace(target=ids.get(item.target, 0))
            case btf.Array():
                return item._replace(element=ids[item.element], index_type=ids[item.index_type])
            case btf.FuncProto():
                parameters = tuple((name, ids.get(kind, 0)) for name, kind in item.parameters)
                return item._replace(returns=ids.get(item.returns, 0), parameters=parameters)
            case _:
                return item


@dataclass(slots=True)
class _Finder:
    """Finds what one object's relocations mean in the kernel."""

    local: btf.Btf
    full: btf.IndexedBtf
    cut: _Cut

    def keep(self, relocation: CoReRelocation) -> None:
        if relocation.kind == "type_id_local":
            return
        root = self.local.strip(relocation.type_id)
        for candidate in self.candidates(self.local[root]):
            if relocation.kind.startswith("field_"):
                self.keep_path(root, candidate, relocation.access)
            elif relocation.kind.startswith("enumval_"):
                self.keep_enumerator(root, candidate, relocation.access)
            elif relocation.kind == "type_matches":
                self.cut.everything(candidate)
            else:
                self.cut.type(candidate, follow_pointers=True)

    def candidates(self, item: btf.BtfType) -> Iterator[int]:
        """Yield the kernel's types of the same kind and, but for the flavour, the same name."""
        match item:
            case btf.Struct():
                for type_id in self.full.tagged(btf.Struct, _stem(item.name)):
                    found = self.full[type_id]
                    if isinstance(found, btf.Struct) and found.is_union == item.is_union:
                        yield type_id
            case btf.Enum():
                yield from self.full.tagged(btf.Enum, _stem(item.name))
            case btf.Typedef() | btf.Int() | btf.Float() | btf.Fwd():
                wanted = (type(item), _stem(item.name))
                for type_id, found in enumerate(self.full.types):
                    if (type(found), getattr(found, "name", "")) == wanted:
                        yield type_id

    def keep_enumerator(self, root: int, candidate: int, access: tuple[int, ...]) -> None:
        ours, theirs = self.local[self.local.resolve(root)], self.full[candidate]
        if not isinstance(ours, btf.Enum) or not isinstance(theirs, btf.Enum):
            return
        wanted = _stem(ours.values[access[0]][0])
        for index, (name, _) in enumerate(theirs.values):
            if _stem(name) == wanted:
                self.cut.type(candidate)
                self.cut.parts[candidate].add(index)

    def keep_path(self, root: int, candidate: int, access: tuple[int, ...]) -> None:
        """Keep the members on the way that *access* takes from the object's type, if the kernel's has all of them."""
        ours, theirs = root, candidate
        steps: list[tuple[int, int]] = []
        for index in access[1:]:
            item = self.local[self.local.resolve(ours)]
            other = self.full[self.full.resolve(theirs)]
            if isinstance(item, btf.Array):
                if not isinstance(other, btf.Array):
                    return
                ours, theirs = item.element, other.element
                continue
            assert isinstance(item, btf.Struct)  # or reading the relocation would have failed
            member = item.members[index]
            ours = member.type
            if not member.name:
                continue  # its members are looked for by name, wherever the kernel has them
            found = self.named(self.full.resolve(theirs), member.name)
            if not found:
                return
            steps += found
            last = self.full[found[-1][0]]
            assert isinstance(last, btf.Struct)
            theirs = last.members[found[-1][1]].type
            if not self.compatible(ours, theirs):
                return
        self.cut.type(candidate)
        for type_id, index in steps:
            self.cut.member(type_id, index)
        self.cut.type(theirs)

    def named(self, type_id: int, name: str) -> list[tuple[int, int]]:
        """Return the way to the member of this name, through anonymous members: pairs of a struct and an index."""
        item = self.full[type_id]
        if not isinstance(item, btf.Struct):
            return []
        for index, member in enumerate(item.members):
            if member.name == name:
                return [(type_id, index)]
            if not member.name and (found := self.named(self.full.resolve(member.type), name)):
                return [(type_id, index), *found]
        return []

    def compatible(self, ours: int, theirs: int) -> bool:
        """Tell whether libbpf takes one for the other, as bpf_core_fields_are_compat() does."""
        item, other = self.local[self.local.resolve(ours)], self.full[self.full.resolve(theirs)]
        match item, other:
            case (btf.Struct(), btf.Struct()) | (btf.Ptr(), btf.Ptr()) | (btf.Float(), btf.Float()):
                return True
            case (btf.Int(), btf.Int()):
                return not item.bit_offset and not other.bit_offset
            case (btf.Array(), btf.Array()):
                return self.compatible(item.element, other.element)
            case (btf.Enum(name=one), btf.Enum(name=two)) | (btf.Fwd(name=one), btf.Fwd(name=two)):
                return not one or not two or _stem(one) == _stem(two)
        return False


def _stem(name: str) -> str:
    """Return a name without the flavour that tells declarations of one type apart."""
    return name.partition("___")[0] or name
