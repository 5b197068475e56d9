# SPDX-License-Identifier: Apache-2.0
"""From the model to the text of a bindings module.

Python decides everything here: names, order, annotations, escapes, line breaks. The templates only print. Output is
born as `ruff format` would leave it; no formatter is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from .errors import CodegenError
from .model import (
    ArrayOf,
    EnumRef,
    EnumType,
    Map,
    Member,
    ObjectModel,
    Padding,
    Program,
    RecordRef,
    RecordType,
    Scalar,
    SectionModel,
    Text,
    ValueType,
)
from .names import LINE_LENGTH, class_name, count, docstring, identifier, literal, printable, wrap
from .runtime_names import MAP_CLASSES, OTHER_MAP, PROGRAM_CLASSES, program_class
from .streams import OneOf

__all__ = ["Origin", "render", "render_package"]

# Names of ebpf_runtime that generated modules may import, and so may not define.
_SPECIFIERS: Final = (
    "array", "boolean", "enumeration", "f32", "f64", "nested", "padding", "pointer", "raw", "s128", "s16",
    "s32", "s64", "s8", "text", "u128", "u16", "u32", "u64", "u8",
)  # fmt: skip
_STREAM_SPECIFIERS: Final = ("one_of", "tagged")
_BASES: Final = (
    "CEnum", "IteratorProgram", "Link", "Links", "Map", "MapSpec", "Maps", "ObjectSpec", "OpenProbe", "Probe",
    "ProbeConfig", "Program", "ProgramSpec", "Programs", "Record", "Variables",
)  # fmt: skip
# What annotations are made of: an attribute of this name would hide it from the attributes below.
_ANNOTATIONS: Final = ("bool", "bytes", "float", "int", "str", "tuple")
# Attributes of the runtime's base classes, which a member of this name would hide; `cls` and `self` could not be given
# to the constructor by keyword.
_RECORD_NAMES: Final = (
    *_SPECIFIERS,
    "_assign", "_at", "_base", "_block", "_fields_", "_fill", "_names", "_size_", "asdict", "c_name", "cls",
    "from_bytes", "replace", "self", "zeroed",
)  # fmt: skip
_SECTION_NAMES: Final = (
    *_SPECIFIERS,
    "_assign", "_base", "_block", "_close", "_fields_", "_locked", "_memory", "_size_", "section",
)  # fmt: skip
_RUNTIME_CLASSES: Final = (*(cls for cls, _ in MAP_CLASSES.values()), OTHER_MAP[0], *PROGRAM_CLASSES)
_NAMESPACE_NAMES: Final = (*_RUNTIME_CLASSES, "Link", "_items")
_ENUM_NAMES: Final = (
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "imag", "is_integer",
    "mro", "name", "numerator", "real", "to_bytes", "value",
)  # fmt: skip

_Named = TypeVar("_Named", Member, Map, Program)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a module comes from, for its first lines: source path, digest of the inputs, command, and its tool."""

    source: str
    digest: str
    command: str
    tool: str = "tools/regen"


@dataclass(frozen=True, slots=True)
class _Class:
    """A class as the template prints it."""

    head: str
    doc: list[str]
    body: list[str]


@dataclass(frozen=True, slots=True)
class _View:
    """All strings of a module template."""

    tool: str
    source: str
    digest: str
    target: str
    command: str
    doc: list[str]
    imports: list[str]
    typing_imports: list[str]
    exports: list[str]
    classes: list[_Class]
    spec: list[str]
    probe: str
    open_probe: str
    opened: _Class
    loaded: _Class


def render(model: ObjectModel, origin: Origin) -> str:
    """Return the text of the bindings module of one object."""
    return _template("module.py.j2").render(view=_Module(model, origin).view())


def render_package(modules: Iterable[str]) -> str:
    """Return the text of a package's `__init__.py` that lists its probe modules."""
    return _template("package.py.j2").render(view={"names": docstring(", ".join(sorted(modules)))})


@cache
def _environment() -> Environment:
    here = Path(__file__).parent
    # Installed, the templates stand inside the package; in a checkout, at the top level.
    for directory in (here / "templates", here.parents[1] / "templates"):
        if (directory / "module.py.j2").is_file():
            return Environment(
                loader=FileSystemLoader(directory),
                undefined=StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
                keep_trailing_newline=True,
                autoescape=False,
            )
    raise CodegenError(f"read the templates: {here / 'templates'} holds none. Reinstall ebpf-runtime.")


def _template(name: str) -> Template:
    return _environment().get_template(name)


class _Module:
    """Turns one model into strings; collects the imports on the way."""

    def __init__(self, model: ObjectModel, origin: Origin) -> None:
        self.model = model
        self.origin = origin
        self.used: set[str] = {"Links", "Maps", "ObjectSpec", "OpenProbe", "Probe", "Programs"}
        self.typing_used: set[str] = {"ProbeConfig"}
        self.names: dict[tuple[str, str], str] = {}
        taken = {*_SPECIFIERS, *_STREAM_SPECIFIERS, *_BASES, *_RUNTIME_CLASSES, "TYPE_CHECKING"}
        self.probe = self.claim("probe", model.name, class_name(model.name, taken), taken)
        self.open_probe = self.claim("open", model.name, identifier(f"Open{self.probe}", taken), taken)
        self.maps = self.claim("maps", model.name, identifier(f"{self.probe}Maps", taken), taken)
        self.programs = self.claim("programs", model.name, identifier(f"{self.probe}Programs", taken), taken)
        self.links = self.claim("links", model.name, identifier(f"{self.probe}Links", taken), taken)
        for section in model.sections:
            name = f"{self.probe}{section.name.lstrip('.').capitalize()}"
            self.claim("section", section.name, identifier(name, taken), taken)
        for enum in model.enums:
            self.claim("enum", enum.name, class_name(enum.name, taken), taken)
        for record in model.records:
            self.claim("record", record.name, class_name(record.name, taken), taken)

    def claim(self, kind: str, c_name: str, name: str, taken: set[str]) -> str:
        taken.add(name)
        self.names[kind, c_name] = name
        return name

    def view(self) -> _View:
        model = self.model
        classes = [self.enum(enum) for enum in model.enums]
        classes += [self.record(record) for record in model.records]
        classes.append(self.map_namespace())
        classes.append(self.program_namespace())
        classes.append(self.link_namespace())
        classes += [self.section(section) for section in model.sections]
        spec = self.spec()
        opened = self.opened()
        loaded = self.loaded()
        return _View(
            tool=self.origin.tool,
            source=printable(self.origin.source),
            digest=self.origin.digest,
            target=f"{'bpfel' if model.byte_order == 'little' else 'bpfeb'}, 64-bit",
            command=printable(self.origin.command),
            doc=_docstring(model.doc or f"The eBPF object {model.name}.", 0, self.census()),
            imports=_imports(self.used),
            typing_imports=_imports(self.typing_used, indent=4),
            exports=sorted(self.names.values(), key=_import_order),
            classes=classes,
            spec=spec,
            probe=self.probe,
            open_probe=self.open_probe,
            opened=opened,
            loaded=loaded,
        )

    def census(self) -> list[str]:
        model = self.model
        counts = [
            count(number, noun)
            for number, noun in (
                (len(model.programs), "program"),
                (len(model.maps), "map"),
                (len(model.records), "record"),
            )
            if number
        ]
        text = f"Holds {', '.join(counts[:-1])}{' and ' if counts[1:] else ''}{counts[-1]}." if counts else ""
        if model.variants:
            text += f" Variants, best first: {', '.join(model.variants)}."
        return [text] if text else []

    # Classes

    def enum(self, enum: EnumType) -> _Class:
        self.used.add("CEnum")
        body = [""]
        items = []
        for name, c_name, value, doc in _enumerators(enum):
            body.append(f"    {name} = {value}")
            items.append((name, doc, c_name if _is_prefixed(enum) else ""))
        return _Class(
            f"{self.names['enum', enum.name]}(CEnum)",
            _docstring(
                enum.doc or f"Values of enum {enum.name}.",
                4,
                [f"C: enum {enum.name}, {count(enum.size, 'byte')}."],
                _items("Attributes:", items, 4),
            ),
            body,
        )

    def record(self, record: RecordType) -> _Class:
        self.used.add("Record")
        body = ["", "    __slots__ = ()", ""]
        items = []
        for name, member in self.attributes(record.members, _RECORD_NAMES):
            body += self.field(name, member)
            if not isinstance(member.type, Padding):
                items.append((name, member.doc, f"{member.type.c_type}, offset {member.offset}"))
        return _Class(
            _head(
                self.names["record", record.name],
                ["Record", f"c_name={literal(record.c_name)}", f"size={record.size}"],
            ),
            _docstring(
                record.doc or f"A record of type {record.c_name}.",
                4,
                [f"C: {record.c_name}, {count(record.size, 'byte')}."],
                _items("Attributes:", items, 4),
            ),
            body,
        )

    def section(self, section: SectionModel) -> _Class:
        self.used.add("Variables")
        body = [""]
        items = []
        for name, member in self.attributes(section.variables, _SECTION_NAMES):
            body += self.field(name, member)
            items.append((name, member.doc, f"{member.type.c_type}, offset {member.offset}"))
        when = "to be set before load" if section.name == ".rodata" else "readable and writable also after load"
        return _Class(
            _head(
                self.names["section", section.name],
                ["Variables", f"section={literal(section.name)}", f"size={section.size}"],
            ),
            _docstring(
                f"The {section.name} variables of {self.model.name}, {when}.",
                4,
                [],
                _items("Attributes:", items, 4),
            ),
            body,
        )

    def map_namespace(self) -> _Class:
        items = []
        body = [""]
        for name, item in self.attributes(self.model.maps, _NAMESPACE_NAMES):
            annotation = self.map_annotation(item)
            body.append(f"    {name}: {annotation}")
            items.append((name, item.doc, f"{item.type}, {item.max_entries} {_unit(item)}"))
        return _Class(
            f"{self.maps}(Maps)",
            _docstring(f"The maps of {self.model.name}.", 4, [], _items("Attributes:", items, 4)),
            body if items else [],
        )

    def program_namespace(self) -> _Class:
        items = []
        body = [""]
        for name, item in self.attributes(self.model.programs, _NAMESPACE_NAMES):
            body.append(f"    {name}: {self.program_annotation(item)}")
            items.append((name, item.doc, _hook(item)))
        return _Class(
            f"{self.programs}(Programs)",
            _docstring(f"The programs of {self.model.name}.", 4, [], _items("Attributes:", items, 4)),
            body if items else [],
        )

    def link_namespace(self) -> _Class:
        names = [name for name, _ in self.attributes(self.model.programs, _NAMESPACE_NAMES)]
        if names:
            self.typing_used.add("Link")
        body = ["", *(f"    {name}: Link | None" for name in names)]
        return _Class(
            f"{self.links}(Links)",
            _docstring(f"The attachments of the programs of {self.model.name}; None where not attached.", 4),
            body if names else [],
        )

    def namespaces(self) -> list[tuple[str, str, str]]:
        """Return (attribute, class, documentation) of what hangs below the probe class."""
        sections = [
            (identifier(section.name.lstrip(".")), self.names["section", section.name], f"{section.name} variables")
            for section in self.model.sections
        ]
        return [
            ("maps", self.maps, "The maps, see below." if self.model.maps else "Empty: there are no maps."),
            (
                "programs",
                self.programs,
                "The programs, see below." if self.model.programs else "Empty: there are no programs.",
            ),
            ("links", self.links, "The attachments of the programs by the same names; None where not attached."),
            *((name, cls, f"The {doc}, see below.") for name, cls, doc in sections),
        ]

    def opened(self) -> _Class:
        sections = [
            (identifier(section.name.lstrip(".")), self.names["section", section.name])
            for section in self.model.sections
        ]
        items = [(name, f"The .{name} variables, all to be set now; see {cls}.", "") for name, cls in sections]
        return _Class(
            f"{self.open_probe}(OpenProbe)",
            _docstring(
                f"The object {self.model.name}, opened: set variables, resize maps, choose a variant, then `load`.",
                4,
                [],
                _items("Attributes:", items, 4),
            ),
            ["", *(f"    {name}: {cls}" for name, cls in sections)] if sections else [],
        )

    def loaded(self) -> _Class:
        namespaces = self.namespaces()
        example = [f"with {self.probe}.open_and_load() as probe:", "    probe.attach()"]
        attributes = self.attributes(self.model.maps, _NAMESPACE_NAMES)
        for name, item in attributes:
            if item.type == "RINGBUF":
                example += [f"    for event in probe.maps.{name}.poll(timeout=1.0):", "        print(event)"]
                break
        maps = [(f"maps.{name}", item.doc, self.map_annotation(item)) for name, item in attributes]
        programs = [
            (f"programs.{name}", item.doc, _hook(item))
            for name, item in self.attributes(self.model.programs, _NAMESPACE_NAMES)
        ]
        variables = [
            (f"{identifier(section.name.lstrip('.'))}.{name}", item.doc, self.annotation(item.type))
            for section in self.model.sections
            for name, item in self.attributes(section.variables, _SECTION_NAMES)
        ]
        about = self.model.doc.split("\n\n")[0] if self.model.doc else f"The eBPF object {self.model.name}."
        lines = _docstring(
            about,
            4,
            ["Opened, loaded and attached in this order; `with` closes it:"],
            ["    " + line for line in example],
            _items("Attributes:", [(name, doc, "") for name, _, doc in namespaces], 4),
            _items("Maps:", maps, 4),
            _items("Programs:", programs, 4),
            _items("Variables:", variables, 4),
        )
        return _Class(
            f"{self.probe}(Probe)",
            lines,
            ["", *(f"    {name}: {cls}" for name, cls, _ in namespaces)],
        )

    # The object's description

    def spec(self) -> list[str]:
        lines = [f"name={literal(self.model.name)},", "module=__name__,"]
        maps = self.attributes(self.model.maps, _NAMESPACE_NAMES)
        lines += _calls("maps", "MapSpec", [self.map_spec(name, item) for name, item in maps])
        programs = self.attributes(self.model.programs, _NAMESPACE_NAMES)
        lines += _calls("programs", "ProgramSpec", [self.program_spec(name, item) for name, item in programs])
        if self.model.variants:
            lines += _tuple("variants", [literal(variant) for variant in self.model.variants])
        lines.append(f"maps_type={self.maps},")
        lines.append(f"programs_type={self.programs},")
        lines.append(f"links_type={self.links},")
        sections = [self.names["section", section.name] for section in self.model.sections]
        if sections:
            lines += _tuple("section_types", sections)
        return lines

    def map_spec(self, name: str, item: Map) -> list[str]:
        self.used.add("MapSpec")
        arguments = [literal(name), literal(item.type)]
        if name != item.name:
            arguments.append(f"c_name={literal(item.name)}")
        if item.key is not None:
            arguments.append(f"key={self.specifier(item.key, 0)}")
        if item.value is not None:
            arguments.append(f"value={self.specifier(item.value, 0)}")
        return arguments

    def program_spec(self, name: str, program: Program) -> list[str]:
        self.used.add("ProgramSpec")
        arguments = [literal(name), literal(program.section)]
        if name != program.name:
            arguments.append(f"c_name={literal(program.name)}")
        if program.variants:
            arguments.append(f"variants={_tuple_literal(program.variants)}")
        elif not program.autoload:
            arguments.append("autoload=False")
        if program.row is not None:
            arguments.append(f"row={self.specifier(program.row, 0)}")
        return arguments

    # Values

    def program_annotation(self, program: Program) -> str:
        cls = program_class(program.section, program.row is not None)
        self.typing_used.add(cls)
        return cls if program.row is None else f"{cls}[{self.annotation(program.row)}]"

    def map_annotation(self, item: Map) -> str:
        cls, parameters = MAP_CLASSES.get(item.type, OTHER_MAP)
        self.typing_used.add(cls)
        kinds = {"k": item.key, "v": item.value}
        arguments = [self.annotation(kind) if kind is not None else "bytes" for kind in map(kinds.get, parameters)]
        return f"{cls}[{', '.join(arguments)}]" if arguments else cls

    def field(self, name: str, member: Member) -> list[str]:
        head = f"    {name}: {self.annotation(member.type)} = "
        value = self.specifier(member.type, member.offset)
        if len(head) + len(value) <= LINE_LENGTH:
            return [head + value]
        function, _, rest = value.partition("(")
        return [f"{head}{function}(", f"        {rest[:-1]}", "    )"]

    def annotation(self, kind: ValueType) -> str:
        match kind:
            case Scalar(kind="boolean"):
                return "bool"
            case Scalar(kind="f32" | "f64"):
                return "float"
            case Scalar():
                return "int"
            case EnumRef():
                return self.names["enum", kind.name]
            case RecordRef():
                return self.names["record", kind.name]
            case Text():
                return "str"
            case Padding() | ArrayOf(element=Scalar(kind="u8")):
                return "bytes"
            case ArrayOf():
                return f"tuple[{self.annotation(kind.element)}, ...]"
            case OneOf():
                return " | ".join(self.annotation(arm.type) for arm in kind.arms)

    def specifier(self, kind: ValueType, offset: int) -> str:
        match kind:
            case OneOf():
                return self.alternatives(kind)
            case Scalar():
                name, arguments = kind.kind, ""
            case EnumRef():
                name, arguments = "enumeration", f", {kind.size}, {self.names['enum', kind.name]}"
            case RecordRef():
                name, arguments = "nested", f", {self.names['record', kind.name]}"
            case Text():
                name, arguments = "text", f", {kind.size}"
            case Padding():
                name, arguments = "padding", f", {kind.size}"
            case ArrayOf(element=Scalar(kind="u8")):
                name, arguments = "raw", f", {kind.size}"
            case ArrayOf():
                name, arguments = "array", f", {self.specifier(kind.element, 0)}, {kind.count}"
        self.used.add(name)
        return f"{name}({offset}{arguments})"

    def alternatives(self, kind: OneOf) -> str:
        """Return the field of records of several types; it takes several lines."""
        arms = [self.specifier(arm.type, 0) for arm in kind.arms]
        if kind.tag is None or not isinstance(kind.tag.type, EnumRef):
            self.used.add("one_of")
            return "\n".join(("one_of(", *(f"    {arm}," for arm in arms), ")"))
        self.used.add("tagged")
        name = kind.tag.type.name
        enum = next(enum for enum in self.model.enums if enum.name == name)
        members = {c_name: member for member, c_name, _, _ in _enumerators(enum)}
        pairs = [
            f"    ({self.names['enum', name]}.{members[arm.enumerator]}, {field}),"
            for arm, field in zip(kind.arms, arms, strict=True)
        ]
        return "\n".join(("tagged(", f"    {self.specifier(kind.tag.type, kind.tag.offset)},", *pairs, ")"))

    def attributes(self, items: Iterable[_Named], reserved: Iterable[str]) -> list[tuple[str, _Named]]:
        """Return each item with its Python name, unique among them, not in *reserved* and in no annotation."""
        taken = {*reserved, *_ANNOTATIONS, *self.names.values()}
        named = []
        for item in items:
            name = identifier(item.name, taken)
            taken.add(name)
            named.append((name, item))
        return named


def _enumerators(enum: EnumType) -> list[tuple[str, str, int, str]]:
    """Return each enumerator's Python name, C name, value and documentation; a common prefix is left out."""
    taken = set(_ENUM_NAMES)
    found = []
    for c_name, value, doc in enum.values:
        name = identifier(c_name[len(enum.name) + 1 :] if _is_prefixed(enum) else c_name, taken)
        if name[0] == name[-1] == "_":  # of such names Python's enums make no members
            name = identifier(f"e{name}", taken)
        taken.add(name)
        found.append((name, c_name, value, doc))
    return found


def _is_prefixed(enum: EnumType) -> bool:
    """Return whether all enumerators begin with the name of the enum."""
    prefix = f"{enum.name.upper()}_"
    return all(name.startswith(prefix) and name[len(prefix) :].isidentifier() for name, _, _ in enum.values)


def _unit(item: Map) -> str:
    return "bytes" if item.type in ("RINGBUF", "USER_RINGBUF") else "entry" if item.max_entries == 1 else "entries"


def _hook(program: Program) -> str:
    if not program.variants:
        return program.section
    return f"{program.section}; variant {' and '.join(program.variants)}"


def _tuple_literal(strings: Sequence[str]) -> str:
    return f"({', '.join(literal(string) for string in strings)}{',' if len(strings) == 1 else ''})"


def _head(name: str, arguments: Sequence[str]) -> str:
    """Return what stands between `class` and its colon, with one argument a line where it is too long."""
    return "\n".join(_call(name, arguments, len("class :")))


def _tuple(name: str, items: Sequence[str]) -> list[str]:
    """Return a keyword argument of the object's description that is a tuple."""
    line = f"{name}=({', '.join(items)}{',' if len(items) == 1 else ''}),"
    if len(line) + 4 <= LINE_LENGTH and "\n" not in line:
        return [line]
    return [f"{name}=(", *(f"    {item}," for item in items), "),"]


def _calls(name: str, function: str, calls: Sequence[Sequence[str]]) -> list[str]:
    """Return a keyword argument of the object's description that is a tuple of calls, each on a line of its own."""
    if len(calls) == 1:  # of which ruff makes one line where it can
        line = _tuple(name, [f"{function}({', '.join(calls[0])})"])
        if len(line) == 1:
            return line
    lines = [f"{name}=("]
    for arguments in calls:
        lines += ["    " + line for line in _call(function, arguments, 9)]
        lines[-1] += ","
    return [*lines, "),"] if calls else [f"{name}=(),"]


def _call(function: str, arguments: Sequence[str], around: int) -> list[str]:
    """Return a call, with one argument a line where it and *around* columns are too long for one."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) + around <= LINE_LENGTH and "\n" not in line:
        return [line]
    lines = [f"    {line}" for argument in arguments for line in f"{argument},".split("\n")]
    return [f"{function}(", *lines, ")"]


def _imports(names: Iterable[str], indent: int = 0) -> list[str]:
    """Return one import of ebpf_runtime, in isort's order."""
    ordered = sorted(names, key=lambda name: _import_order(name, str.lower))
    line = f"from ebpf_runtime import {', '.join(ordered)}"
    if len(line) + indent <= LINE_LENGTH:
        return [line]
    return ["from ebpf_runtime import (", *(f"    {name}," for name in ordered), ")"]


def _import_order(name: str, fold: Callable[[str], str] = str) -> tuple[bool, bool, list[str | int], str]:
    """Return isort's key: constants, then classes, then the rest, and in each the numbers in names by value."""
    parts: list[str | int] = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", fold(name))]
    return not (name.isupper() and len(name) > 1), not name[0].isupper(), parts, name


def _items(title: str, items: Sequence[tuple[str, str, str]], indent: int) -> list[str]:
    """Return a docstring section: each name with its text and, in brackets, what C says of it."""
    if not items:
        return []
    lines = [title]
    for name, doc, detail in items:
        text = " ".join(doc.split())
        if detail:
            text = f"{text} ({detail})" if text else detail
        if text:
            lines += ["    " + line for line in wrap(docstring(text), indent + 4, 4, f"{name}: ")]
        else:
            lines.append(f"    {name}")
    return lines


def _docstring(summary: str, indent: int, *sections: list[str]) -> list[str]:
    """Return a docstring as indented lines: the summary, then sections set apart by blank lines.

    Section lines that are already laid out (indented or from `_items`) are kept; others are wrapped.
    """
    lines = wrap(docstring(summary), indent + 3)
    for section in sections:
        if not section:
            continue
        lines.append("")
        laid_out = len(section) > 1
        for line in section:
            lines += [line] if laid_out else wrap(docstring(line), indent)
    pad = " " * indent
    if len(lines) == 1 and len(pad) + len(lines[0]) + 6 <= LINE_LENGTH:
        return [f'{pad}"""{lines[0]}"""']
    return [f'{pad}"""{lines[0]}', *(pad + line if line else "" for line in lines[1:]), f'{pad}"""']
