# SPDX-License-Identifier: Apache-2.0
"""vmlinux.h with just the kernel types that the probes use.

The list names them, one type per line:

    struct task_struct: pid tgid comm
    enum cgroup_subsys_id: memory_cgrp_id

Offsets in the printed types are wrong on purpose: every access is relocated when an object is loaded (CO-RE), so only
names and kinds count. Types appear in the order of the list, after those that they contain. Typedefs are replaced by
what they stand for, a struct that is only pointed to is declared and not defined, and an anonymous one is printed
where it stands.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if not __package__:  # run by path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "ebpf_codegen"

from ebpf_codegen.btf import Array, Btf, Enum, Fwd, Int, Member, Modifier, Ptr, Struct, read
from ebpf_codegen.errors import CodegenError

__all__ = ["HeaderError", "ListedType", "kernel_header", "main", "parse_list"]

_LINE: Final = re.compile(r"(struct|union|enum) +(\w+): +(\w+(?: +\w+)*)")
_TOP: Final = """\
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Printed by tools/ebpf_codegen/kernel_header.py from types.txt; DO NOT EDIT. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "ebpf_base.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
"""
_BOTTOM: Final = """\
#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
"""


class HeaderError(CodegenError):
    """The list is malformed, or names something that the kernel's BTF does not have."""


@dataclass(frozen=True, slots=True)
class ListedType:
    """One line of the list; *tag* is the type as C writes it, `struct task_struct`."""

    tag: str
    names: tuple[str, ...]


def parse_list(text: str, source: str) -> tuple[ListedType, ...]:
    """Return the types that a list names; `#` begins a comment.

    Raises:
        HeaderError: A line is malformed, or a type or a name is there twice.
    """
    listed: dict[str, ListedType] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise HeaderError(f"read {source}, line {number}: not of the form 'struct NAME: MEMBER MEMBER'.")
        tag, names = f"{match[1]} {match[2]}", tuple(match[3].split())
        if tag in listed or len(set(names)) < len(names):
            raise HeaderError(f"read {source}, line {number}: {tag} or one of its names is there twice. Remove one.")
        listed[tag] = ListedType(tag, names)
    return tuple(listed.values())


def kernel_header(btf: Btf, listed: Sequence[ListedType]) -> str:
    """Return the header that defines the listed types.

    Raises:
        HeaderError: A type or a member is not in the BTF, or a member needs a type that is not listed.
    """
    printer = _Printer(btf, listed)
    try:
        for item in listed:
            printer.define(item.tag, needed_by=item.tag)
    except RecursionError:
        raise HeaderError(f"print the header: the types of {btf.source} form a cycle. The BTF is damaged.") from None
    declarations = "".join(f"{tag};\n" for tag in sorted(printer.declared))
    return "\n".join([_TOP, *([declarations] if declarations else []), *printer.defined.values(), _BOTTOM])


class _Printer:
    """Collects definitions, each after the ones that it contains."""

    def __init__(self, btf: Btf, listed: Sequence[ListedType]) -> None:
        self.btf = btf
        self.listed = {item.tag: item for item in listed}
        self.types: dict[str, list[Struct | Enum]] = {}
        for item in btf.types:
            if isinstance(item, Struct | Enum) and item.name:
                self.types.setdefault(_tag(item), []).append(item)
        self.defined: dict[str, str] = {}
        self.declared: set[str] = set()

    def define(self, tag: str, needed_by: str) -> None:
        """Print a listed type, once."""
        if tag in self.defined:
            return
        if tag not in self.listed:
            raise HeaderError(f"print {needed_by}: it contains a {tag}. List that type, too.")
        names = self.listed[tag].names
        candidates = self.types.get(tag)
        if not candidates:
            raise HeaderError(f"print {tag}: {self.btf.source} has no such type. Correct the list.")
        # Two files of the kernel may use one name; the one meant has all the members.
        missing = [[name for name in names if not self.has(item, name)] for item in candidates]
        best = min(range(len(candidates)), key=lambda index: len(missing[index]))
        if missing[best]:
            raise HeaderError(
                f"print {tag}: {self.btf.source} has no '{missing[best][0]}' in it. "
                "Correct the list, or declare what only some kernels have in compat.bpf.h."
            )
        item = candidates[best]
        if isinstance(item, Enum):
            values = dict(item.values)
            lines = [f"\t{name} = {values[name]},\n" for name in names]
        else:
            lines = self.members(item, names, 1, tag)
        self.defined[tag] = f"{tag} {{\n{''.join(lines)}}};\n"

    def has(self, item: Struct | Enum, name: str) -> bool:
        if isinstance(item, Enum):
            return any(name == value for value, _ in item.values)
        return any(self.holds(member, name) for member in item.members)

    def holds(self, member: Member, name: str) -> bool:
        """Tell whether this is the member *name*, or an anonymous struct or union with it inside."""
        if member.name:
            return member.name == name
        inner = self.btf[self.btf.strip(member.type)]
        return isinstance(inner, Struct) and self.has(inner, name)

    def members(self, item: Struct, names: Sequence[str], depth: int, path: str) -> list[str]:
        """Print the members *names*, in that order; what stands in an anonymous member, in one such."""
        lines: list[str] = []
        done: set[str] = set()
        for name in names:
            if name in done:
                continue
            member = next(member for member in item.members if self.holds(member, name))
            inside = [other for other in names if self.holds(member, other)]
            done.update(inside)
            bits = f" : {member.bits}" if member.bits else ""
            if member.name:
                text = self.declare(member.type, member.name, depth, f"{path}.{name}")
            else:
                text = self.nested(member.type, inside, depth, path)
            lines.append("\t" * depth + text + bits + ";\n")
        return lines

    def nested(self, type_id: int, names: Sequence[str] | None, depth: int, path: str) -> str:
        """Print an anonymous struct or union, with all its members if *names* is None."""
        item = self.btf[self.btf.resolve(type_id)]
        assert isinstance(item, Struct)
        if names is None:
            names = [member.name for member in item.members if member.name]
        inner = "".join(self.members(item, names, depth + 1, path))
        return f"{'union' if item.is_union else 'struct'} {{\n{inner}{chr(9) * depth}}}"

    def declare(self, type_id: int, name: str, depth: int, path: str) -> str:
        """Print a declaration of *name*, which may be a declarator such as `*name` or `name[4]`."""
        item = self.btf[self.btf.resolve(type_id)]
        match item:
            case Ptr():
                return self.point(item.target, f"*{name}", depth, path)
            case Array():
                return self.declare(item.element, f"{name}[{item.length}]", depth, path)
            case Int():
                return f"{item.name} {name}"
            case Struct() if not item.name:
                return f"{self.nested(type_id, None, depth, path)} {name}"
            case Enum() if not item.name:
                return f"{'int' if item.signed else 'unsigned int'} {name}"
            case Struct() | Enum():
                self.define(_tag(item), needed_by=path)
                return f"{_tag(item)} {name}"
            case _:
                raise HeaderError(f"print {path}: a member of kind {type(item).__name__} cannot be declared.")

    def point(self, type_id: int, name: str, depth: int, path: str) -> str:
        """Print a pointer; to void where C would need a definition for a mere address."""
        target = self.btf[self.btf.resolve(type_id)]
        const = "const " if self.is_const(type_id) else ""
        match target:
            case Struct() | Fwd() if target.name:
                if _tag(target) not in self.listed:
                    self.declared.add(_tag(target))
                return f"{const}{_tag(target)} {name}"
            case Int():
                return f"{const}{self.declare(type_id, name, depth, path)}"
            case Ptr():
                return self.declare(type_id, name, depth, path)
            case _:
                return f"{const}void {name}"

    def is_const(self, type_id: int) -> bool:
        item = self.btf[type_id]
        return isinstance(item, Modifier) and (item.kind == "const" or self.is_const(item.target))


def _tag(item: Struct | Enum | Fwd) -> str:
    if isinstance(item, Enum):
        return f"enum {item.name}"
    return f"{'union' if item.is_union else 'struct'} {item.name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 refused or different, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="kernel_header.py",
        description="Print a vmlinux.h with just the listed kernel types.",
        epilog="example: kernel_header.py bpf/include/types.txt bpf/include/vmlinux.h",
    )
    parser.add_argument("list", type=Path, metavar="LIST", help="types and members, one type per line")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the header")
    parser.add_argument(
        "--btf",
        type=Path,
        default=Path("/sys/kernel/btf/vmlinux"),
        metavar="FILE",
        help="default: the running kernel's",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff if OUTPUT differs")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except CodegenError as error:
        print(f"kernel_header.py: {error}", file=sys.stderr)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        print(f"kernel_header.py: open {error.filename}: {name}, {error.strerror}. Check the path.", file=sys.stderr)
    return 1


def _run(options: argparse.Namespace) -> int:
    try:
        text = options.list.read_text("utf-8")
    except UnicodeError as error:
        raise HeaderError(f"read {options.list}: {error}.") from error
    listed = parse_list(text, str(options.list))
    text = kernel_header(read(options.btf.read_bytes(), str(options.btf)), listed)
    if not options.check:
        options.output.write_text(text)
        return 0
    present = options.output.read_text("utf-8", "replace")
    names = str(options.output), "printed anew"
    sys.stderr.writelines(difflib.unified_diff(present.splitlines(True), text.splitlines(True), *names))
    return int(present != text)


if __name__ == "__main__":
    sys.exit(main())
