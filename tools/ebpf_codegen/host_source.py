# SPDX-License-Identifier: Apache-2.0
"""CO-RE source made into source for one kernel: its declarations of kernel types get that kernel's layout.

A CO-RE object carries, for every access to a kernel type, a note by which libbpf corrects it when the object is loaded.
Here the same is done before compiling, so that the object needs no correction. Every type that the source declares with
`preserve_access_index` is declared anew where it stood: with the members that the source names, each at the offset and
of the size that the kernel's BTF gives. Of an `x___flavour` the suffix is ignored, as libbpf does.

What the kernel does not have is declared all the same, because code for other kernels must compile: such members are
volatile and lie far away. `bpf_core_field_exists` asks for that qualifier, which makes it a constant, and a
`BPF_CORE_READ` of such a member that the constant does not rule out is an error of the compiler. Lines keep their
numbers.

Bitfields can be read, but `bpf_core_field_exists` cannot ask for one: C has no type for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from . import btf
from .errors import BtfError, UnsupportedError

__all__ = ["declared_types", "host_source"]

_ATTRIBUTE: Final = "preserve_access_index"
_FAR: Final = 1 << 28  # beyond every kernel structure
_POINTER: Final = 8
_INTEGERS: Final = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}

_TOKEN: Final = re.compile(
    r"(?P<directive>^[ \t]*\#(?:[^\n\\]|\\[^\n]|\\\n)*)"
    r"|(?P<comment>/\*.*?\*/|//[^\n]*)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<word>\w+)"
    r"|(?P<mark>[^\s])",
    re.DOTALL | re.MULTILINE,
)
_PUSH: Final = re.compile(r"\s*#\s*pragma\s+clang\s+attribute\s+push\b(.*)", re.DOTALL)
_POP: Final = re.compile(r"\s*#\s*pragma\s+clang\s+attribute\s+pop\b")
_CORE_HEADER: Final = re.compile(r'[ \t]*#[ \t]*include[ \t]*[<"]bpf/bpf_core_read\.h[>"]')
_WHOLE_HEADER: Final = re.compile(r'[ \t]*#[ \t]*include[ \t]*[<"][^>"\n]*vmlinux\.h[>"]')
_KEYWORDS: Final = ("struct", "union", "enum")
_QUALIFIERS: Final = ("const", "volatile", "restrict")

# Before everything else. `EBPF_HOST_COMPILED` is for sources that want to know.
_PRELUDE: Final = """\
#define EBPF_HOST_COMPILED 1
#define ebpf_present(pointer) \\
	_Generic(1 ? (pointer) : (void *)1, volatile void *: 0, const volatile void *: 0, default: 1)
extern void ebpf_absent(void) __attribute__((error("this kernel does not have the member that is read")));
#define __builtin_preserve_access_index(pointer) ({ if (!ebpf_present(pointer)) ebpf_absent(); (pointer); })
"""

# Behind libbpf's bpf_core_read.h: its questions, answered by the declarations that stand in the source.
_ANSWERS: Final = """\
#undef bpf_core_field_exists
#define bpf_core_field_exists(field...) ebpf_present((__typeof__(___bpf_field_ref(field)) *)1)
#undef bpf_core_field_size
#define bpf_core_field_size(field...) sizeof(___bpf_field_ref(field))
#undef bpf_core_field_offset
#define bpf_core_field_offset(type, field) __builtin_offsetof(__typeof__(type), field)
#undef bpf_core_type_exists
#define bpf_core_type_exists(type) _Generic((__typeof__(type) *)0, EBPF_ABSENT_TYPES default: 1)
#undef bpf_core_type_matches
#define bpf_core_type_matches(type) bpf_core_type_exists(type)
#undef bpf_core_type_size
#define bpf_core_type_size(type) sizeof(__typeof__(type))
#undef bpf_core_enum_value_exists
#define bpf_core_enum_value_exists(type, value) ebpf_has_##value
#undef bpf_core_enum_value
#define bpf_core_enum_value(type, value) (value)
#undef BPF_CORE_READ_BITFIELD
#define BPF_CORE_READ_BITFIELD(s, field) ((unsigned long long)(s)->field)
#undef BPF_CORE_READ_BITFIELD_PROBED
#define BPF_CORE_READ_BITFIELD_PROBED(s, field) ({ \\
	__typeof__((s)->ebpf_unit_##field) ebpf_unit = 0; \\
	bpf_probe_read_kernel(&ebpf_unit, sizeof(ebpf_unit), &(s)->ebpf_unit_##field); \\
	ebpf_unit <<= sizeof((s)->ebpf_left_##field[0]) - 1; \\
	(unsigned long long)(ebpf_unit >> (sizeof((s)->ebpf_right_##field[0]) - 1)); \\
})
"""


class _Token(NamedTuple):  # there are thousands, and this kind is made fastest
    kind: str
    text: str
    start: int
    end: int


class _Member(NamedTuple):
    """One declared member: its base type as text (`struct x`, `long int`) or as a body, and its declarator."""

    name: str
    base: str
    body: _Body | None
    pointers: str
    counts: tuple[str, ...]
    is_bitfield: bool


class _Body(NamedTuple):
    """What stands between the braces of a struct or union."""

    members: tuple[_Member, ...]


class _Declared(NamedTuple):
    """One declaration of a kernel type in the source; exactly one of *body* and *values* is there."""

    keyword: str
    name: str
    body: _Body | None
    values: tuple[str, ...]
    start: int
    end: int

    @property
    def stem(self) -> str:
        """The kernel's name of the type."""
        return self.name.partition("___")[0]


class _Laid(NamedTuple):
    """A type as text, with the alignment that the compiler will see."""

    text: str
    align: int


class _Found(NamedTuple):
    """A member of a kernel struct: where it is, seen from the outermost one."""

    bit_offset: int
    type: int
    bits: int


def host_source(text: str, kernel: btf.IndexedBtf, source: str) -> str:
    """Return flattened CO-RE source as source for the kernel of that BTF.

    Args:
        text: The source with all of the project's headers inlined.
        source: The name that errors begin with.
    Raises:
        UnsupportedError: A declaration of a kernel type has a form that this cannot lay out.
        BtfError: The kernel's BTF is damaged.
    """
    layout = _Layout(kernel, source)
    edits: list[tuple[int, int, str]] = []
    for item in _Scanner(text, source).scan():
        if isinstance(item, _Declared):
            try:
                edits.append((item.start, item.end, layout.declare(item)))
            except RecursionError:
                raise BtfError(f"{kernel.source}: .BTF: a type of {item.name}'s members holds itself.") from None
        else:
            edits.append((item.start, item.end, ""))
    pieces = [layout.prelude(), '#line 1 "', source, '"\n']
    position = 0
    for start, end, replacement in edits:
        # What replaces several lines is one line with as many line ends behind it.
        pieces += [text[position:start], replacement, "\n" * text.count("\n", start, end)]
        position = end
    return _with_answers("".join([*pieces, text[position:]]))


def declared_types(text: str, source: str) -> tuple[str, ...]:
    """Return the kernel types that flattened CO-RE source declares, as C writes them: `struct task_struct`.

    Raises:
        UnsupportedError: As `host_source` does.
    """
    found = (item for item in _Scanner(text, source).scan() if isinstance(item, _Declared))
    return tuple(dict.fromkeys(f"{item.keyword} {item.stem}" for item in found))


def _with_answers(text: str) -> str:
    """Put our answers behind every include of libbpf's questions, and the numbers of the lines right again."""
    lines: list[str] = []
    number = 0
    for line in text.split("\n"):
        number += 1
        lines.append(line)
        if "#" not in line:  # as in most
            continue
        if match := re.match(r"#line (\d+)", line):
            number = int(match[1]) - 1
        elif _CORE_HEADER.match(line):
            lines.append(f"{_ANSWERS}#line {number + 1}")
    return "\n".join(lines)


class _Scanner:
    """Finds the declarations of kernel types, and the pragmas around them."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.tokens = [
            _Token(match.lastgroup or "mark", match.group(), match.start(), match.end())
            for match in _TOKEN.finditer(text)
            if match.lastgroup != "comment"
        ]
        self.position = 0
        self.line_starts = text

    def fail(self, token: _Token, reason: str) -> UnsupportedError:
        line = self.line_starts.count("\n", 0, token.start) + 1
        return UnsupportedError(f"{self.source}, line {line} when flattened: {reason}.")

    def scan(self) -> Iterator[_Declared | _Token]:
        pushed: list[bool] = []
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            if token.kind == "directive":
                self.position += 1
                if _WHOLE_HEADER.match(token.text):
                    raise self.fail(token, "vmlinux.h was too large to be embedded; use the one of ebpf-runtime")
                if match := _PUSH.match(token.text):
                    pushed.append(_ATTRIBUTE in match[1])
                    if pushed[-1]:
                        yield token
                elif _POP.match(token.text) and pushed and pushed.pop():
                    yield token
                continue
            begin, end = self.position, self.declaration_end()
            first = self.tokens[begin : begin + 3]
            is_definition = len(first) == 3 and first[0].text in _KEYWORDS and first[2].text == "{"
            attributes = [item.text for item in self.tokens[begin:end]]
            if is_definition and (any(pushed) or _ATTRIBUTE in attributes):
                yield self.definition(begin, end)
            self.position = end

    def declaration_end(self) -> int:
        """Return the index behind one top-level declaration: behind its `;`, or behind a function's body."""
        depth = 0
        is_function = False
        previous = ""
        for index in range(self.position, len(self.tokens)):
            token = self.tokens[index]
            if token.kind == "directive":
                if depth == 0:
                    return max(index, self.position + 1)
                continue
            if token.text in ("(", "[", "{"):
                is_function |= token.text == "{" and depth == 0 and previous == ")"
                depth += 1
            elif token.text in (")", "]", "}"):
                depth -= 1
                if token.text == "}" and depth <= 0 and is_function:
                    return index + 1
            elif token.text == ";" and depth <= 0:
                return index + 1
            previous = token.text
        return len(self.tokens)

    def definition(self, begin: int, end: int) -> _Declared:
        keyword, name = self.tokens[begin].text, self.tokens[begin + 1].text
        start, stop = self.tokens[begin].start, self.tokens[end - 1].end
        self.position = begin + 3
        if keyword == "enum":
            return _Declared(keyword, name, None, tuple(self.enumerators()), start, stop)
        return _Declared(keyword, name, _Body(tuple(self.members())), (), start, stop)

    def enumerators(self) -> Iterator[str]:
        wants_name = True
        while (token := self.take()).text != "}":
            if wants_name:
                yield token.text
            wants_name = token.text == ","

    def take(self) -> _Token:
        if self.position >= len(self.tokens):
            raise self.fail(self.tokens[-1], "a declaration is cut off")
        token = self.tokens[self.position]
        if token.kind == "directive":
            raise self.fail(token, "a directive stands inside the declaration of a kernel type")
        self.position += 1
        return token

    def members(self) -> Iterator[_Member]:
        """Read members up to the closing brace."""
        while (token := self.take()).text != "}":
            base, body = self.base(token)
            if self.tokens[self.position].text == ";":
                self.take()
                if body is None:
                    raise self.fail(token, "a member has no name")
                yield _Member("", base, body, "", (), False)
                continue
            last = ","
            while last == ",":
                member, last = self.declarator(base, body)
                yield member

    def base(self, token: _Token) -> tuple[str, _Body | None]:
        """Read the type that the declarators of one line share."""
        words: list[str] = []
        while token.text in _QUALIFIERS:
            if token.text == "const":
                words.append("const")
            token = self.take()
        if token.text in _KEYWORDS:
            words.append(token.text)
            token = self.take()
            if token.text == "{":
                if words[-1] == "enum":
                    list(self.enumerators())
                    return "int", None
                return words[-1], _Body(tuple(self.members()))
            words.append(token.text)
            if self.tokens[self.position].text == "{":
                raise self.fail(token, f"{' '.join(words)} is defined inside another type; define it before")
        else:
            words.append(token.text)
            while self.tokens[self.position].kind == "word" and self.tokens[self.position + 1].kind == "word":
                words.append(self.take().text)
            if self.tokens[self.position].kind == "word" and self.tokens[self.position + 1].text == "*":
                words.append(self.take().text)
        return " ".join(words), None

    def declarator(self, base: str, body: _Body | None) -> tuple[_Member, str]:
        """Read one declarator and what ends it, `,` or `;`."""
        pointers = ""
        name = ""
        counts: list[str] = []
        is_bitfield = False
        while (token := self.take()).text not in (",", ";"):
            if token.text == "*":
                pointers += "*"
            elif token.text == "(":
                # A pointer to a function; nothing here calls it, so a plain pointer will do.
                names = [item.text for item in self.inside(")") if item.kind == "word"]
                if self.take().text != "(" or len(names) != 1:
                    raise self.fail(token, "this declarator is not understood")
                list(self.inside(")"))
                base, body, pointers, name = "void", None, "*", names[0]
            elif token.text == "[":
                counts.append("".join(item.text for item in self.inside("]")))
            elif token.text == ":":
                is_bitfield = True
                self.take()
            elif token.text == "__attribute__":
                self.take()
                list(self.inside(")"))
            elif token.kind == "word" and token.text not in _QUALIFIERS:
                name = token.text
        return _Member(name, base, body, pointers, tuple(counts), is_bitfield), token.text

    def inside(self, close: str) -> Iterator[_Token]:
        """Yield the tokens up to the matching *close*, whose counterpart was just read."""
        depth = 1
        while True:
            token = self.take()
            depth += (token.text in "([") - (token.text in ")]")
            if not depth:
                return
            yield token


class _Layout:
    """Lays declared types out as one kernel has them."""

    def __init__(self, kernel: btf.IndexedBtf, source: str) -> None:
        self.kernel = kernel
        self.source = source
        self.declared: dict[str, _Declared] = {}
        # Tags of what was laid out -> the id of the kernel's type, 0 if it has none, and the alignment.
        self.laid: dict[str, tuple[int, int]] = {}
        self.absent: list[str] = []

    def prelude(self) -> str:
        tags = dict.fromkeys(self.absent)  # of a header that is included twice, each once
        absent = "".join(f" {tag} *: 0," for tag in tags)
        return "".join([_PRELUDE, "".join(f"{tag};\n" for tag in tags if not tag.startswith("enum ")),
                        f"#define EBPF_ABSENT_TYPES{absent}\n"])  # fmt: skip

    def declare(self, item: _Declared) -> str:
        """Return the declaration as this kernel has it, on one line."""
        tag = f"{item.keyword} {item.name}"
        if item.body is None:
            return self.enumeration(tag, item)
        self.declared[tag] = item
        names = _names(item.body)
        candidates = self.kernel.tagged(btf.Struct, item.stem)
        if not candidates:
            self.absent.append(tag)
            self.laid[tag] = (0, 1)
            return f"{tag} {{ {self.body(item.body, None).text} }};"
        # Two files of the kernel may use one name; the one meant has most of the members.
        structs = {type_id: self.struct(type_id) for type_id in candidates}
        best = max(
            candidates,
            key=lambda type_id: (sum(self.find(structs[type_id], n) is not None for n in names), structs[type_id].size),
        )
        laid = self.body(item.body, structs[best])
        self.laid[tag] = (best, laid.align)
        checks = "".join(
            f" _Static_assert(__builtin_offsetof({tag}, {name}) == {found.bit_offset // 8}, "
            f'"{tag}.{name} is misplaced");'
            for name in names
            if (found := self.find(structs[best], name)) and not found.bits and self.holds(item.body, name, found)
        )
        return f"{tag} {{ {laid.text} }};{checks}"

    def holds(self, body: _Body, name: str, found: _Found) -> bool:
        """Tell whether the declared member is laid out where the kernel has it: not as an absent one."""
        member = next(member for member in _flat(body) if member.name == name)
        return self.member_type(member, found.type) is not None

    def enumeration(self, tag: str, item: _Declared) -> str:
        candidates = self.kernel.tagged(btf.Enum, item.stem)
        values: dict[str, int] = {}
        for type_id in candidates:
            kind = self.kernel[type_id]
            assert isinstance(kind, btf.Enum)
            for name, value in kind.values:
                values.setdefault(name, value)
        if not candidates:
            self.absent.append(tag)
        texts = [f"{name} = {values.get(name.partition('___')[0], 0)}" for name in item.values]
        known = [f"ebpf_has_{name} = {int(name.partition('___')[0] in values)}" for name in item.values]
        return f"{tag} {{ {', '.join(texts)} }}; enum {{ {', '.join(known)} }};"

    def struct(self, type_id: int) -> btf.Struct:
        item = self.kernel[type_id]
        assert isinstance(item, btf.Struct)
        return item

    def find(self, struct: btf.Struct, name: str, base: int = 0) -> _Found | None:
        """Return the member of this name, which may stand in anonymous members."""
        for member in struct.members:
            offset = base + member.bit_offset
            if member.name == name:
                return _Found(offset, member.type, member.bits)
            if not member.name:
                inner = self.kernel[self.kernel.resolve(member.type)]
                if isinstance(inner, btf.Struct) and (found := self.find(inner, name, offset)):
                    return found
        return None

    def body(self, body: _Body, struct: btf.Struct | None) -> _Laid:
        """Return what stands between the braces: each member at its place, all in one union."""
        parts: list[str] = []
        align = 1
        for member in _flat(body):
            found = self.find(struct, member.name) if struct else None
            laid = self.member_type(member, found.type) if found else None
            if found is None or laid is None:
                parts.append(self.absent_member(member))
            elif found.bits:
                parts.append(self.bitfield(member, found))
                align = max(align, self.kernel.size(found.type))
            else:
                offset = found.bit_offset // 8
                packed = " __attribute__((packed))" if offset % laid.align else ""
                align = max(align, 1 if packed else laid.align)
                parts.append(f"{_pad(offset, member.name)}__typeof__({laid.text}) {member.name}; }}{packed};")
                if member.is_bitfield:
                    parts.append(self.unit(member.name, laid.text, offset, 0, 8 * self.kernel.size(found.type), found))
        packed = ""
        if struct is not None:
            parts.append(f"char ebpf_size[{struct.size}];")
            packed = " __attribute__((packed))" if struct.size % align else ""
        return _Laid(f"union {{ {' '.join(parts)} }}{packed};", 1 if packed else align)

    def bitfield(self, member: _Member, found: _Found) -> str:
        size = self.kernel.size(found.type)
        kind = self.integer(found.type, size)
        start = found.bit_offset // (8 * size) * size
        low = found.bit_offset - 8 * start
        skip = f"{kind} : {low}; " if low else ""
        return (
            f"{_pad(start, member.name)}{skip}{kind} {member.name} : {found.bits}; }}; "
            f"{self.unit(member.name, kind, start, low, found.bits, found)}"
        )

    def unit(self, name: str, kind: str, start: int, low: int, bits: int, found: _Found) -> str:
        """Declare what BPF_CORE_READ_BITFIELD_PROBED reads; the sizes of two empty arrays are its shifts, plus one."""
        size = 8 * self.kernel.size(found.type)
        return (
            f"{_pad(start, f'unit_{name}')}{kind} ebpf_unit_{name}; }}; "
            f"char ebpf_left_{name}[0][{size - low - bits + 1}]; char ebpf_right_{name}[0][{size - bits + 1}];"
        )

    def absent_member(self, member: _Member) -> str:
        """Declare a member that this kernel does not have, so that code for other kernels compiles."""
        text = self.as_declared(member)
        unit = ""
        if member.is_bitfield:
            unit = (
                f" {_pad(_FAR, f'unit_{member.name}')}volatile unsigned long long ebpf_unit_{member.name}; }};"
                f" char ebpf_left_{member.name}[0][1]; char ebpf_right_{member.name}[0][1];"
            )
        return f"{_pad(_FAR, member.name)}volatile __typeof__({text}) {member.name}; }};{unit}"

    def as_declared(self, member: _Member) -> str:
        base = member.base
        if member.body is not None:
            base = (
                f"{base} {{ {' '.join(f'__typeof__({self.as_declared(m)}) {m.name};' for m in _flat(member.body))} }}"
            )
        return base + member.pointers + "".join(f"[{count}]" for count in member.counts)

    def member_type(self, member: _Member, type_id: int) -> _Laid | None:
        """Return a member's type as the kernel has it; None if it is of another kind than declared."""
        counts: list[int] = []
        item = self.kernel[self.kernel.resolve(type_id)]
        for _ in member.counts:
            if not isinstance(item, btf.Array):
                return None
            counts.append(item.length)
            type_id = item.element
            item = self.kernel[self.kernel.resolve(type_id)]
        element = self.element_type(member, self.kernel.resolve(type_id), item)
        if element is None:
            return None
        if counts and counts != [1] and self.lacks(member):
            raise UnsupportedError(
                f"{self.source}: member {member.name!r}: it is an array of {member.base}, of which this kernel has not "
                "all members. Declare a flavour with those in use."
            )
        return _Laid(element.text + "".join(f"[{count}]" for count in counts), element.align)

    def lacks(self, member: _Member) -> bool:
        """Tell whether the struct that a member holds has absent members, which make it too large for an array."""
        if member.pointers:
            return False
        declared = self.declared.get(member.base.removeprefix("const "))
        if declared is None or declared.body is None:
            return False
        type_id, _ = self.laid[member.base.removeprefix("const ")]
        if not type_id:
            return False  # laid out in place, by the kernel's type of the member
        return any(self.find(self.struct(type_id), name) is None for name in _names(declared.body))

    def element_type(self, member: _Member, type_id: int, item: btf.BtfType) -> _Laid | None:
        if member.pointers:
            return _Laid(member.base + member.pointers, _POINTER) if isinstance(item, btf.Ptr) else None
        if member.body is not None:
            if not isinstance(item, btf.Struct):
                return None
            laid = self.body(member.body, item)
            return _Laid(f"struct {{ {laid.text} }}", laid.align)
        tag = member.base.removeprefix("const ")
        keyword = tag.partition(" ")[0]
        if keyword in ("struct", "union"):
            if not isinstance(item, btf.Struct) or tag not in self.declared:
                return None
            known, align = self.laid[tag]
            if known == type_id:
                return _Laid(tag, align)
            body = self.declared[tag].body
            assert body is not None
            laid = self.body(body, item)
            return _Laid(f"struct {{ {laid.text} }}", laid.align)
        if keyword == "enum":
            return self.number(type_id, item.size) if isinstance(item, btf.Enum) else None
        if isinstance(item, btf.Int):
            return _Laid("_Bool", 1) if item.is_bool else self.character(tag, type_id, item.size)
        return None

    def character(self, declared: str, type_id: int, size: int) -> _Laid:
        """Keep `char`, whose arrays are text; every other integer is known by its size and sign."""
        return _Laid("char", 1) if declared == "char" and size == 1 else self.number(type_id, size)

    def number(self, type_id: int, size: int) -> _Laid:
        return _Laid(self.integer(type_id, size), size)

    def integer(self, type_id: int, size: int) -> str:
        """Return C's integer of this size, and of the sign of the kernel's type."""
        kind = _INTEGERS.get(size)
        if kind is None:
            raise BtfError(f"{self.kernel.source}: .BTF, type {type_id}: C has no integer of {size} bytes.")
        return f"{'signed' if self.is_signed(type_id) else 'unsigned'} {kind}"

    def is_signed(self, type_id: int) -> bool:
        item = self.kernel[self.kernel.resolve(type_id)]
        return isinstance(item, btf.Int | btf.Enum) and item.signed


def _flat(body: _Body) -> Iterator[_Member]:
    """Yield the named members, those of anonymous members among them."""
    for member in body.members:
        if member.name:
            yield member
        elif member.body is not None:
            yield from _flat(member.body)


def _names(body: _Body) -> list[str]:
    return [member.name for member in _flat(body)]


def _pad(offset: int, name: str) -> str:
    return f"struct {{ char ebpf_pad_{name}[{offset}]; " if offset else "struct { "
