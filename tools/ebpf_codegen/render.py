# SPDX-License-Identifier: Apache-2.0
"""From the model to the text of a bindings module.

Python decides everything here: names, order, annotations, escapes, line breaks. The templates only print. Output is
born as `ruff format` would leave it; no formatter is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from .errors import CodegenError, UnsupportedError
from .model import (
    ArrayOf,
    Bits,
    EnumRef,
    EnumType,
    Map,
    Member,
    Metadata,
    ObjectModel,
    OneOf,
    Opaque,
    Padding,
    Program,
    RecordRef,
    RecordType,
    Scalar,
    SectionModel,
    Text,
    ValueType,
)
from .names import (
    LINE_LENGTH,
    MAX_CLASS_NAME,
    byte_literal,
    class_name,
    count,
    docstring,
    identifier,
    literal,
    printable,
    width,
    wrap,
)
from .runtime_names import MAP_CLASSES, OTHER_MAP, PROGRAM_CLASSES, program_class
from .tags import FUNCTIONS, STANDARD, Accessor, Misplaced, accessors, unit

__all__ = ["Origin", "render", "render_package", "template"]

# Names of ebpf_runtime that generated modules may import, and so may not define.
_SPECIFIERS: Final = (
    "array", "bitfield", "boolean", "either", "enumeration", "f32", "f64", "nested", "padding", "pointer", "raw",
    "s128", "s16", "s32", "s64", "s8", "text", "u128", "u16", "u32", "u64", "u8",
)  # fmt: skip
_STREAM_SPECIFIERS: Final = ("one_of", "tagged")
_BASES: Final = (
    "CEnum", "IteratorProgram", "Link", "Links", "Map", "MapSpec", "Maps", "Metadata", "ObjectSpec", "OpenProbe",
    "Probe", "ProbeConfig", "Program", "ProgramSpec", "Programs", "Record", "Variables",
)  # fmt: skip
# What annotations are made of: an attribute of this name would hide it from the attributes below.
_ANNOTATIONS: Final = ("bool", "bytes", "float", "int", "str", "tuple")
# Attributes of the runtime's base classes, which a member of this name would hide; `cls` and `self` could not be given
# to the constructor by keyword.
_RECORD_NAMES: Final = (
    *_SPECIFIERS,
    "_assign", "_at", "_base", "_block", "_fields_", "_fill", "_names", "_order_", "_size_", "asdict", "c_name", "cls",
    "from_bytes", "replace", "self", "zeroed",
)  # fmt: skip
_SECTION_NAMES: Final = (
    *_SPECIFIERS,
    "_assign", "_base", "_block", "_close", "_fields_", "_locked", "_memory", "_order_", "_refuse_if_locked", "_size_",
    "_store", "attribute", "data", "section",
)  # fmt: skip
_RUNTIME_CLASSES: Final = (*(cls for cls, _ in MAP_CLASSES.values()), OTHER_MAP[0], *PROGRAM_CLASSES)
_NAMESPACE_NAMES: Final = (*_RUNTIME_CLASSES, "Link", "_items")
# Attributes of opened and loaded probes.
_PROBE_NAMES: Final = (
    "_load", "_loaded", "_opened", "attach", "close", "detach", "links", "load", "maps", "name", "open",
    "open_and_load", "origin", "programs", "refused", "resize", "select_variant", "variant", "variants",
)  # fmt: skip
_ENUM_NAMES: Final = (
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "imag", "is_integer",
    "mro", "name", "numerator", "real", "to_bytes", "value",
)  # fmt: skip

_Part = str | tuple[bool, int, str]
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
    constants: list[str]
    classes: list[_Class]
    spec: list[str]
    probe: str
    open_probe: str
    opened: _Class
    loaded: _Class


def render(model: ObjectModel, origin: Origin) -> str:
    """Return the text of the bindings module of one object."""
    return template("module.py.j2").render(view=_Module(model, origin).view())


def render_package(modules: Iterable[str]) -> str:
    """Return the text of a package's `__init__.py` that lists its probe modules."""
    return template("package.py.j2").render(view={"names": docstring(", ".join(sorted(modules)))})


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


def template(name: str) -> Template:
    """Return a template by its path below the folder of templates."""
    return _environment().get_template(name)


class _Taken:
    """Names that attributes of one class may not have: its own, and those of the module, which all classes share."""

    def __init__(self, own: Iterable[str], shared: Container[str]) -> None:
        self.own = set(own)
        self.shared = shared

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.shared


class _Module:
    """Turns one model into strings; collects the imports on the way."""

    def __init__(self, model: ObjectModel, origin: Origin) -> None:
        self.model = model
        self.origin = origin
        self.used: set[str] = {"Links", "Maps", "ObjectSpec", "OpenProbe", "Probe", "Programs"}
        self.typing_used: set[str] = {"ProbeConfig"}
        self.standard_used: set[str] = set()
        self.names: dict[tuple[str, str], str] = {}
        self.shown = set(_ANNOTATIONS)  # what annotations are made of
        taken = {*_SPECIFIERS, *_STREAM_SPECIFIERS, *FUNCTIONS, *STANDARD, *_BASES, *_RUNTIME_CLASSES, "TYPE_CHECKING"}
        self.taken = taken
        self.named: dict[tuple[object, ...], list[tuple[str, Any]]] = {}
        self.places: dict[str, str] = {}
        places = set(_PROBE_NAMES)
        for section in (*model.sections, *(item.section for item in model.metadata)):
            place = "arena" if section.name == ".addr_space.1" else section.name.lstrip(".")
            self.places[section.name] = identifier(place, places)
            places.add(self.places[section.name])
        taken |= places
        self.probe = self.claim("probe", model.name, class_name(model.name, taken), taken)
        self.open_probe = self.claim_class("open", model.name, f"Open{self.probe}", taken)
        self.maps = self.claim_class("maps", model.name, f"{self.probe}Maps", taken)
        self.programs = self.claim_class("programs", model.name, f"{self.probe}Programs", taken)
        self.links = self.claim_class("links", model.name, f"{self.probe}Links", taken)
        for name, place in self.places.items():
            self.claim_class("section", name, f"{self.probe}{class_name(place)}", taken)
        for enum in model.enums:
            self.claim("enum", enum.name, class_name(enum.name, taken), taken)
        for record in model.records:
            self.claim("record", record.name, class_name(record.name, taken), taken)

    def claim_class(self, kind: str, c_name: str, name: str, taken: set[str]) -> str:
        return self.claim(kind, c_name, identifier(name, taken, MAX_CLASS_NAME), taken)

    def claim(self, kind: str, c_name: str, name: str, taken: set[str]) -> str:
        taken.add(name)
        self.shown.add(name)
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
        classes += [self.metadata(item) for item in model.metadata]
        spec = self.spec()
        opened = self.opened()
        loaded = self.loaded()
        constants = self.constants()
        return _View(
            constants=constants,
            tool=self.origin.tool,
            source=printable(self.origin.source),
            digest=self.origin.digest,
            target=f"{'bpfel' if model.byte_order == 'little' else 'bpfeb'}, 64-bit",
            command=printable(self.origin.command),
            doc=_docstring(model.doc or f"The eBPF object {model.name}.", 0, self.census()),
            imports=_imports(self.used),
            typing_imports=_typing_imports(self.standard_used, self.typing_used),
            exports=sorted(self.names.values(), key=_import_order),
            classes=classes,
            spec=spec,
            probe=self.probe,
            open_probe=self.open_probe,
            opened=opened,
            loaded=loaded,
        )

    def constants(self) -> list[str]:
        """Return the constants of C as lines, each with its documentation below it."""
        lines = []
        for constant in self.model.constants:
            value = literal(constant.value) if isinstance(constant.value, str) else str(constant.value)
            name = identifier(constant.name, self.taken)
            line = f"{name}: Final = {value}"
            if len(line) > LINE_LENGTH:
                continue
            self.claim("constant", constant.name, name, self.taken)
            self.standard_used.add("Final")
            lines += [line, *(_docstring(constant.doc, 0) if constant.doc else [])]
        return ["", *lines] if lines else []

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
        spelled = _one_line(enum.c_name or f"enum {enum.name}")
        body = [""]
        items = []
        for name, c_name, value, doc in _enumerators(enum):
            body.append(f"    {name} = {value}")
            items.append((name, doc, c_name if _is_prefixed(enum) else ""))
        return _Class(
            f"{self.names['enum', enum.name]}(CEnum)",
            _docstring(
                enum.doc or f"Values of {spelled}.",
                4,
                [f"C: {spelled}, {count(enum.size, 'byte')}."],
                _items("Attributes:", items, 4),
            ),
            body,
        )

    def record(self, record: RecordType) -> _Class:
        self.used.add("Record")
        meant = any(tag.startswith("as:") for member in record.members for tag in member.tags)
        reserved = (*_RECORD_NAMES, *STANDARD, "property") if meant else _RECORD_NAMES
        body, items = self.fields(record.members, reserved)
        for accessor in self.meanings(record, reserved):
            body += [""] if body else []
            body += ["    @property", f"    def {accessor.name}(self) -> {accessor.annotation}:"]
            body += [f'        """{accessor.doc}"""', f"        return {accessor.function}({accessor.argument})"]
            items.append((accessor.name, accessor.doc, accessor.annotation))
        arguments = ["Record", _text("c_name=", record.c_name, 4), f"size={record.size}", *self.byte_order()]
        spelled = _one_line(record.c_name)
        about = "Of its members, which share their bytes, one is given." if record.is_union else ""
        return _Class(
            _head(self.names["record", record.name], arguments),
            _docstring(
                record.doc or f"A record of type {spelled}.",
                4,
                [f"C: {spelled}, {count(record.size, 'byte')}. {about}".rstrip()],
                _items("Attributes:", items, 4),
            ),
            ["", "    __slots__ = ()", *([""] if body else []), *body],
        )

    def meanings(self, record: RecordType, reserved: tuple[str, ...]) -> list[Accessor]:
        """Return what the tags of a record's members make of them."""
        try:
            found = accessors(self.attributes(record.members, reserved), _Taken(reserved, self.shown))
        except Misplaced as error:
            raise UnsupportedError(f"{record.c_name}, {error}. Correct the tag or the type.") from error
        self.used.update(accessor.function for accessor in found)
        self.standard_used.update(accessor.annotation for accessor in found if accessor.annotation in STANDARD)
        return found

    def byte_order(self) -> list[str]:
        return [f"byte_order={literal(self.model.byte_order)}"] if self.model.byte_order != "little" else []

    def fields(
        self, members: tuple[Member, ...], reserved: tuple[str, ...]
    ) -> tuple[list[str], list[tuple[str, str, str]]]:
        """Return the lines of fields, and what their documentation says of each."""
        body: list[str] = []
        items = []
        for name, member in self.attributes(members, reserved):
            body += self.field(name, member)
            if not isinstance(member.type, Padding):
                place = f"bit {member.type.first}" if isinstance(member.type, Bits) else f"offset {member.offset}"
                measure = f", in {unit(member)}" if unit(member) else ""
                items.append((name, member.doc, f"{member.type.c_type}, {place}{measure}"))
        return body, items

    def section(self, section: SectionModel) -> _Class:
        self.used.add("Variables")
        if section.name == ".kconfig":
            when = "the running kernel's configuration, known once loaded"
        elif section.name.startswith(".rodata"):
            when = "to be set before load"
            if any(variable.type.c_type.startswith("const ") for variable in section.variables):
                when += "; those that are const, not volatile, may be compiled in as they are"
        else:
            when = "readable and writable also after load"
        return self.variables("Variables", section, f"The {section.name} variables of {self.model.name}, {when}.", [])

    def metadata(self, item: Metadata) -> _Class:
        self.used.add("Metadata")
        about = f"What {self.model.name} says of itself in its section {item.section.name}; no program reads it."
        return self.variables("Metadata", item.section, about, [_pieces("data=", item.data.rstrip(b"\0"))])

    def variables(self, base: str, section: SectionModel, about: str, more: list[_Argument]) -> _Class:
        body, items = self.fields(section.variables, _SECTION_NAMES)
        arguments: list[_Argument] = [
            base,
            _text("section=", section.name, 4),
            f"size={section.size}",
            *self.byte_order(),
        ]
        if self.places[section.name] != section.name.lstrip("."):
            arguments.append(f"attribute={literal(self.places[section.name])}")
        return _Class(
            _head(self.names["section", section.name], arguments + more),
            _docstring(_one_line(about), 4, [], _items("Attributes:", items, 4)),
            ["", *body],
        )

    def map_namespace(self) -> _Class:
        items = []
        body = [""]
        for name, item in self.attributes(self.model.maps, _NAMESPACE_NAMES):
            annotation = self.map_annotation(item)
            body += _annotated(name, annotation)
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
            body += _annotated(name, self.program_annotation(item))
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
            (self.places[section.name], self.names["section", section.name], f"{section.name} variables")
            for section in self.model.sections
        ]
        sections += [
            (self.places[item.section.name], self.names["section", item.section.name], f"section {item.section.name}")
            for item in self.model.metadata
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
        items, body = [], [""]
        for section in self.model.sections:
            place, cls = self.places[section.name], self.names["section", section.name]
            if section.name != ".kconfig":
                items.append((place, f"The {section.name} variables, all to be set now; see {cls}.", ""))
                body.append(f"    {place}: {cls}")
        for item in self.model.metadata:
            place, cls = self.places[item.section.name], self.names["section", item.section.name]
            items.append((place, f"What the object says of itself; see {cls}.", ""))
            body.append(f"    {place}: {cls}")
        return _Class(
            f"{self.open_probe}(OpenProbe)",
            _docstring(
                f"The object {self.model.name}, opened: set variables, resize maps, choose a variant, then `load`.",
                4,
                [],
                _items("Attributes:", items, 4),
            ),
            body if items else [],
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
            (f"{self.places[section.name]}.{name}", item.doc, self.annotation(item.type))
            for section in (*self.model.sections, *(item.section for item in self.model.metadata))
            for name, item in self.attributes(section.variables, _SECTION_NAMES)
        ]
        symbols = [(_one_line(docstring(s.name)) or "?", s.doc, s.c_type) for s in self.model.kernel_symbols]
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
            _items("Kernel symbols:", symbols, 4),
        )
        return _Class(
            f"{self.probe}(Probe)",
            lines,
            ["", *(f"    {name}: {cls}" for name, cls, _ in namespaces)],
        )

    # The object's description

    def spec(self) -> list[str]:
        model = self.model
        maps = self.attributes(model.maps, _NAMESPACE_NAMES)
        programs = self.attributes(model.programs, _NAMESPACE_NAMES)
        arguments: list[_Argument] = [
            f"name={literal(model.name)}",
            "module=__name__",
            _Call("maps=", "", tuple(self.map_spec(name, item) for name, item in maps), rows=True),
            _Call("programs=", "", tuple(self.program_spec(name, item) for name, item in programs), rows=True),
        ]
        if model.variants:
            arguments.append(_strings("variants=", model.variants))
        arguments += [f"maps_type={self.maps}", f"programs_type={self.programs}", f"links_type={self.links}"]
        for keyword, names in (
            ("section_types=", [section.name for section in model.sections]),
            ("metadata_types=", [item.section.name for item in model.metadata]),
        ):
            if names:
                arguments.append(_Call(keyword, "", tuple(self.names["section", name] for name in names)))
        arguments += self.byte_order()
        if model.kernel_symbols:
            arguments.append(_strings("kernel_symbols=", [symbol.name for symbol in model.kernel_symbols]))
        return [line for argument in arguments for line in _lines(argument, "", ",", 4)]

    def map_spec(self, name: str, item: Map, prefix: str = "") -> _Call:
        self.used.add("MapSpec")
        arguments: list[_Argument] = [literal(name), literal(item.type)]
        if name != item.name:
            arguments.append(_text("c_name=", item.name, 12))
        for keyword, kind in (("key=", item.key), ("value=", item.value), ("initial=", item.initial)):
            if kind is not None:
                arguments.append(self.specifier(kind, 0, keyword))
        for keyword, number in (
            ("max_entries=", item.max_entries),
            ("flags=", item.flags),
            ("map_extra=", item.map_extra),
            ("numa_node=", item.numa_node),
            ("pinning=", item.pinning),
        ):
            if number:
                arguments.append(f"{keyword}{number}")
        if item.inner is not None:
            arguments.append(self.map_spec(identifier(item.inner.name), item.inner, "inner="))
        if item.values:
            pairs = tuple(_Call("", "", (str(slot), literal(target))) for slot, target in item.values)
            arguments.append(_Call("values=", "", pairs))
        return _Call(prefix, "MapSpec", tuple(arguments))

    def program_spec(self, name: str, program: Program) -> _Call:
        self.used.add("ProgramSpec")
        arguments: list[_Argument] = [literal(name), _text("", program.section, 12)]
        if name != program.name:
            arguments.append(_text("c_name=", program.name, 12))
        if program.variants:
            arguments.append(_strings("variants=", program.variants))
        elif not program.autoload:
            arguments.append("autoload=False")
        if program.row is not None:
            arguments.append(self.specifier(program.row, 0, "row="))
        return _Call("", "ProgramSpec", tuple(arguments))

    # Values

    def program_annotation(self, program: Program) -> str:
        cls = program_class(program.section, program.row is not None)
        self.typing_used.add(cls)
        return cls if program.row is None else f"{cls}[{self.annotation(program.row)}]"

    def map_annotation(self, item: Map) -> str:
        cls, parameters = MAP_CLASSES.get(item.type, OTHER_MAP)
        self.typing_used.add(cls)
        arguments = [self.map_argument(item, parameter) for parameter in parameters]
        return f"{cls}[{', '.join(arguments)}]" if arguments else cls

    def map_argument(self, item: Map, parameter: str) -> str:
        """Return a type parameter of a map's class; see MAP_CLASSES."""
        if parameter == "m":
            return self.map_annotation(item.inner) if item.inner is not None else self.other_map()
        kind = item.key if parameter == "k" else item.value
        return self.annotation(kind) if kind is not None else "bytes"

    def other_map(self) -> str:
        self.typing_used.add(OTHER_MAP[0])
        return OTHER_MAP[0]

    def field(self, name: str, member: Member) -> list[str]:
        value = self.specifier(member.type, member.offset)
        if member.shared:
            self.used.add("either")
            value = _Call("", "either", (value, "default=None"))
        return _assigned(name, self.annotation(member.type), value)

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
            case Padding() | Opaque() | ArrayOf(element=Scalar(kind="u8")):
                return "bytes"
            case Bits():
                return self.annotation(kind.base)
            case ArrayOf():
                return f"tuple[{self.annotation(kind.element)}, ...]"
            case OneOf():
                return " | ".join(self.annotation(arm.type) for arm in kind.arms)

    def specifier(self, kind: ValueType, offset: int, prefix: str = "") -> _Call:
        arguments: list[_Argument] = [str(offset)]
        match kind:
            case OneOf():
                return self.alternatives(kind, prefix)
            case Scalar():
                name = kind.kind
            case EnumRef():
                name = "enumeration"
                arguments += [str(kind.size), self.names["enum", kind.name], *(["signed=True"] if kind.signed else [])]
            case RecordRef():
                name = "nested"
                arguments.append(self.names["record", kind.name])
            case Text():
                name = "text"
                arguments.append(str(kind.size))
            case Padding():
                name = "padding"
                arguments.append(str(kind.size))
            case Opaque() | ArrayOf(element=Scalar(kind="u8")):
                name = "raw"
                arguments.append(str(kind.size))
            case ArrayOf():
                name = "array"
                arguments += [self.specifier(kind.element, 0), str(kind.count)]
            case Bits():
                name = "bitfield"
                arguments = [str(kind.first), str(kind.width), *self.bit_arguments(kind.base)]
        self.used.add(name)
        return _Call(prefix, name, tuple(arguments))

    def alternatives(self, kind: OneOf, prefix: str) -> _Call:
        """Return the field of records of several types."""
        arms = [self.specifier(arm.type, 0) for arm in kind.arms]
        if kind.tag is None or not isinstance(kind.tag.type, EnumRef):
            self.used.add("one_of")
            return _Call(prefix, "one_of", tuple(arms), rows=True)
        self.used.add("tagged")
        name = kind.tag.type.name
        enum = next(enum for enum in self.model.enums if enum.name == name)
        members = {c_name: member for member, c_name, _, _ in _enumerators(enum)}
        pairs = [
            _Call("", "", (f"{self.names['enum', name]}.{members[arm.enumerator]}", field))
            for arm, field in zip(kind.arms, arms, strict=True)
        ]
        return _Call(prefix, "tagged", (self.specifier(kind.tag.type, kind.tag.offset), *pairs), rows=True)

    def bit_arguments(self, base: Scalar | EnumRef) -> list[str]:
        if isinstance(base, EnumRef):
            enum = next(enum for enum in self.model.enums if enum.name == base.name)
            return [*(["signed=True"] if enum.signed else []), f"kind={self.names['enum', base.name]}"]
        if base.kind == "boolean":
            return ["kind=bool"]
        return ["signed=True"] if base.kind[0] == "s" else []

    def attributes(self, items: Sequence[_Named], reserved: tuple[str, ...]) -> list[tuple[str, _Named]]:
        """Return each item with its Python name, unique among them, not in *reserved* and in no annotation."""
        key = (id(items), reserved)
        if key not in self.named:
            taken = _Taken(reserved, self.shown)
            named = []
            for item in items:
                name = identifier(item.name, taken)
                taken.own.add(name)
                named.append((name, item))
            self.named[key] = named
        return self.named[key]


def _enumerators(enum: EnumType) -> list[tuple[str, str, int, str]]:
    """Return each enumerator's Python name, C name, value and documentation; a common prefix is left out."""
    taken = set(_ENUM_NAMES)
    is_prefixed = _is_prefixed(enum)
    found = []
    for c_name, value, doc in enum.values:
        name = identifier(c_name[len(enum.name) + 1 :] if is_prefixed else c_name, taken)
        if name[0] == name[-1] == "_":  # of such names Python's enums make no members
            name = identifier(f"e{name}", taken)
        taken.add(name)
        found.append((name, c_name, value, doc))
    return found


def _is_prefixed(enum: EnumType) -> bool:
    """Return whether all enumerators begin with the name of the enum."""
    prefix = f"{enum.name.upper()}_"
    return all(name.startswith(prefix) and name[len(prefix) :].isidentifier() for name, _, _ in enum.values)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call, or where *function* is empty a tuple, behind `keyword=`; with *rows* several items stand in rows.

    With *glued* it is one literal in pieces, or in brackets.
    """

    prefix: str
    function: str
    arguments: tuple[_Argument, ...]
    rows: bool = False
    glued: bool = False

    def __str__(self) -> str:
        comma = "," if not self.function and len(self.arguments) == 1 else ""
        return f"{self.prefix}{self.function}({', '.join(map(str, self.arguments))}{comma})"

    def is_broken(self) -> bool:
        """Return whether it takes several lines even where it would fit on one."""
        if self.glued or (self.rows and len(self.arguments) > 1):
            return True
        return any(isinstance(argument, _Call) and argument.is_broken() for argument in self.arguments)


_Argument = str | _Call


def _lines(argument: _Argument, before: str, after: str, around: int, indent: int = 0) -> list[str]:
    """Return an expression as ruff lays it out: on one line where it fits, else with an argument a line.

    Args:
        argument: The expression.
        before: What stands before it on its first line.
        after: What stands behind it on its last.
        around: Columns that the template adds.
        indent: Columns at which the statement begins; *before* has them.
    """
    text = f"{before}{argument}{after}"
    if isinstance(argument, str):
        return [text]
    if len(text) + around <= LINE_LENGTH and not argument.is_broken():
        return [text]
    pad = " " * (indent + 4)
    lines = [f"{before}{argument.prefix}{argument.function}("]
    for part in argument.arguments:
        lines += _lines(part, pad, "" if argument.glued else ",", around, indent + 4)
    return [*lines, f"{' ' * indent}){after}"]


def _annotated(name: str, annotation: str) -> list[str]:
    """Return the declaration of an attribute; parameters that do not fit stand on a line of their own."""
    line = f"    {name}: {annotation}"
    return [line] if len(line) <= LINE_LENGTH else _type_lines(f"    {name}: ", annotation, "", 4)


def _assigned(name: str, annotation: str, value: _Call) -> list[str]:
    """Return the declaration of an attribute with its value.

    The value is broken first; where not even its first line fits, it stands in brackets; else the type is broken.
    """
    head = f"    {name}: {annotation} = "
    lines = _lines(value, head, "", 0, 4)
    if len(lines[0]) <= LINE_LENGTH:
        return lines
    if len(head) < LINE_LENGTH:
        return [f"{head}(", *_lines(value, " " * 8, "", 0, 8), "    )"]
    *lines, last = _type_lines(f"    {name}: ", annotation, "", 4)
    return [*lines, *_lines(value, f"{last} = ", "", 0, 4)]


def _type_lines(before: str, annotation: str, after: str, indent: int) -> list[str]:
    """Return a type whose parameters stand on lines of their own: on one where they fit, else on one each."""
    cls, bracket, parameters = annotation.removesuffix("]").partition("[")
    pad = " " * (indent + 4)
    if not bracket:
        return [f"{before}{annotation}{after}"]
    if len(pad) + len(parameters) <= LINE_LENGTH:
        inner = [pad + parameters]
    elif alternatives := _split(parameters, " | "):
        inner = [pad + alternatives[0], *(f"{pad}| {part}" for part in alternatives[1:])]
    else:
        inner = []
        for part in _split(parameters, ", ") or [parameters]:
            line = f"{pad}{part},"
            inner += [line] if len(line) <= LINE_LENGTH else _type_lines(pad, part, ",", indent + 4)
    return [f"{before}{cls}[", *inner, f"{' ' * indent}]{after}"]


def _split(parameters: str, separator: str) -> list[str]:
    """Return what stands between separators outside of brackets; nothing where there is none."""
    parts = [""]
    for part in parameters.split(separator):
        open_brackets = parts[-1].count("[") - parts[-1].count("]")
        if open_brackets or not parts[-1]:
            parts[-1] += f"{separator if parts[-1] else ''}{part}"
        else:
            parts.append(part)
    return parts if parts[1:] else []


def _pieces(prefix: str, data: bytes) -> _Argument:
    """Return a bytes literal, in pieces where it is long."""
    if len(data) <= 16:
        return f"{prefix}{byte_literal(data)}"
    parts = (byte_literal(data[start : start + 24]) for start in range(0, len(data), 24))
    return _Call(prefix, "", tuple(parts), glued=True)


def _text(prefix: str, text: str, indent: int) -> _Argument:
    """Return a string literal, in brackets or in pieces where it does not fit on a line."""
    whole = literal(text)
    if indent + len(prefix) + len(whole) < LINE_LENGTH:
        return f"{prefix}{whole}"
    step = 80 if len(whole) == len(text) + 2 else 8
    parts = [literal(text[start : start + step]) for start in range(0, len(text), step)]
    return _Call(prefix, "", tuple(parts if indent + 4 + len(whole) > LINE_LENGTH else [whole]), glued=True)


def _strings(prefix: str, texts: Sequence[str]) -> _Call:
    return _Call(prefix, "", tuple(_text("", text, 8) for text in texts))


def _unit(item: Map) -> str:
    return "bytes" if item.type in ("RINGBUF", "USER_RINGBUF") else "entry" if item.max_entries == 1 else "entries"


def _hook(program: Program) -> str:
    if not program.variants:
        return program.section
    return f"{program.section}; variant {' and '.join(program.variants)}"


def _head(name: str, arguments: Sequence[_Argument]) -> str:
    """Return what stands between `class` and its colon, with one argument a line where it is too long."""
    return "\n".join(_lines(_Call("", name, tuple(arguments)), "", "", len("class :")))


def _imports(names: Iterable[str], indent: int = 0) -> list[str]:
    """Return one import of ebpf_runtime, in isort's order."""
    ordered = sorted(names, key=lambda name: _import_order(name, str.lower))
    line = f"from ebpf_runtime import {', '.join(ordered)}"
    if len(line) + indent <= LINE_LENGTH:
        return [line]
    return ["from ebpf_runtime import (", *(f"    {name}," for name in ordered), ")"]


def _typing_imports(standard: Iterable[str], runtime: Iterable[str]) -> list[str]:
    """Return the imports that only type checkers make, indented."""
    modules: dict[str, list[str]] = {}
    for name in sorted(standard):
        modules.setdefault(STANDARD[name], []).append(name)
    lines = [f"from {module} import {', '.join(names)}" for module, names in sorted(modules.items())]
    return [f"    {line}" if line else "" for line in [*lines, *([""] if lines else []), *_imports(runtime, indent=4)]]


def _import_order(name: str, fold: Callable[[str], str] = str) -> tuple[bool, bool, list[_Part], str]:
    """Return isort's key: constants, then classes, then the rest, and in each the numbers in names by value."""
    parts = [_number_order(part) if part.isdigit() else part for part in re.split(r"(\d+)", fold(name))]
    return not (name.isupper() and len(name) > 1), not name[0].isupper(), parts, name


def _number_order(digits: str) -> tuple[bool, int, str]:
    """Return the key of a number in a name: with a zero in front it is compared like a fraction, and comes first."""
    return digits[0] != "0", len(digits) if digits[0] != "0" else 0, digits


def _items(title: str, items: Sequence[tuple[str, str, str]], indent: int) -> list[str]:
    """Return a docstring section: each name with its text and, in brackets, what C says of it."""
    if not items:
        return []
    lines = [title]
    for name, doc, detail in items:
        text = _one_line(doc)
        if detail:
            text = f"{text} ({_one_line(detail)})" if text else _one_line(detail)
        if text:
            lines += ["    " + line for line in wrap(docstring(text), indent + 4, 4, f"{name}: ")]
        else:
            lines.append(f"    {name}")
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _docstring(summary: str, indent: int, *sections: list[str]) -> list[str]:
    """Return a docstring as indented lines: the summary, then sections set apart by blank lines.

    Section lines that are already laid out (indented or from `_items`) are kept; others are wrapped.
    """
    lines = wrap(docstring(summary), indent + 3)
    # Else ruff would put the quotes behind it all the same.
    if len(lines) == 1 and indent + width(lines[0]) + 6 > LINE_LENGTH:
        lines = wrap(docstring(summary), indent + 6)
    for section in sections:
        if not section:
            continue
        lines.append("")
        laid_out = len(section) > 1
        for line in section:
            lines += [line] if laid_out else wrap(docstring(line), indent)
    pad = " " * indent
    if len(lines) == 1 and len(pad) + width(lines[0]) + 6 <= LINE_LENGTH:
        return [f'{pad}"""{lines[0]}"""']
    return [f'{pad}"""{lines[0]}', *(pad + line if line else "" for line in lines[1:]), f'{pad}"""']
