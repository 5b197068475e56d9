# SPDX-License-Identifier: Apache-2.0
"""No name and no comment of an object can become code; names of the module's own things stay usable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ebpf_runtime
from ebpf_codegen import model, render
from ebpf_codegen.names import LINE_LENGTH
from ebpf_runtime import CEnum, Maps, Record, Variables

from .test_names import ANY_TEXT, HOSTILE

ORIGIN = render.Origin("bpf/probe.bpf.c", "0" * 64, "tools/regen probe")
U32 = model.Scalar("u32", 4, "__u32")


def hostile(texts: Iterator[str]) -> model.ObjectModel:
    """Return a model in which every name and every comment is the next of *texts*; types have different ones."""

    def text() -> str:
        return next(texts)

    def member(offset: int, kind: model.ValueType) -> model.Member:
        return model.Member(text(), offset, kind, text())

    enum = model.EnumType(text(), 4, True, ((text(), -1, text()), (text(), 7, text())), text())
    inner = model.RecordType(
        f"{text()} ", text(), 8, (member(0, U32), member(4, model.Scalar("s32", 4, text()))), text()
    )
    kinds: list[model.ValueType] = [
        model.EnumRef(enum.name, 4, text()),
        model.RecordRef(inner.name, 8, text()),
        model.Text(16, text()),
        model.Padding(4, text()),
        model.ArrayOf(model.RecordRef(inner.name, 8, text()), 2, 16, text()),
        model.ArrayOf(model.Scalar("u8", 1, text()), 4, 4, text()),
        model.Scalar("f64", 8, text()),
        model.Opaque(16, text()),
    ]
    members, offset = [], 0
    for kind in kinds:
        members.append(member(offset, kind))
        offset += kind.size
    for base in (U32, model.EnumRef(enum.name, 4, text()), model.Scalar("boolean", 1, text())):
        members.append(member(offset, model.Bits(base, 8 * offset, 1, 1, text())))
        offset += 1
    arms = tuple(model.Member(text(), offset, model.Scalar("s64", 8, text()), text(), shared=True) for _ in range(2))
    members += arms
    offset += 8
    union = model.RecordType(f"{text()}  ", text(), 8, tuple(replace(arm, offset=0) for arm in arms), text(), True)
    outer = model.RecordType(text(), text(), offset, tuple(members), text())
    reference = model.RecordRef(outer.name, offset, text())
    maps = tuple(
        model.Map(text(), kind, U32, reference, 5, text()) for kind in ("HASH", "RINGBUF", "PERCPU_ARRAY", "QUEUE")
    )
    like = model.Map(text(), "HASH", U32, reference, 5, text())
    slots = ((0, text()), (3, text()))
    maps += (model.Map(text(), "ARRAY_OF_MAPS", U32, None, 5, text(), 1, 2, 3, 1, like, slots),)
    maps += (model.Map(text(), "STRUCT_OPS", U32, None, 1, text(), initial=model.RecordRef(union.name, 8, text())),)
    variants = (text(), text())
    programs = (
        model.Program(text(), text(), False, variants, None, text()),
        model.Program(text(), text(), True, (), reference, text()),
        model.Program(text(), text(), False, (), None, text()),
    )
    sections = tuple(
        model.SectionModel(name, 16, (member(0, U32), member(4, model.EnumRef(enum.name, 4, text()))))
        for name in (".rodata", ".bss", f".data.{text()}", ".kconfig", ".addr_space.1")
    )
    about = model.Metadata(model.SectionModel(f"{text()}.", 16, (member(0, U32),)), b'"\\\0\n' * 30)
    return model.ObjectModel(
        text(), "big", text(), (enum,), (inner, outer, union), maps, programs, sections, variants,
        (about,), (model.KernelSymbol(text(), text(), text()),),
    )  # fmt: skip


def check(source: str) -> None:
    """Assert that a module consists of imports, classes with annotated fields, and calls of known functions."""
    assert source.isprintable() or {c for c in source if not c.isprintable()} == {"\n"}
    tree = ast.parse(source)
    compile(tree, "probe.py", "exec")
    imports, typing, constants, conditional, exports, *rest = tree.body[1:]
    assert isinstance(tree.body[0], ast.Expr)
    assert isinstance(tree.body[0].value, ast.Constant)
    assert ast.unparse(imports) == "from __future__ import annotations"
    assert isinstance(typing, ast.ImportFrom)
    assert typing.module == "ebpf_runtime"
    imported = {alias.name for alias in typing.names}
    assert imported <= set(ebpf_runtime.__all__)
    assert ast.unparse(constants) == "TYPE_CHECKING = False"
    assert isinstance(conditional, ast.If)
    (inside,) = conditional.body
    assert isinstance(inside, ast.ImportFrom)
    assert {alias.name for alias in inside.names} <= set(ebpf_runtime.__all__)
    assert isinstance(exports, ast.Assign)
    assert isinstance(exports.value, ast.List)
    classes = [node for node in rest if isinstance(node, ast.ClassDef)]
    (specification,) = [node for node in rest if not isinstance(node, ast.ClassDef)]
    assert isinstance(specification, ast.Assign)
    assert ast.unparse(specification.targets[0]) == "_OBJECT"
    names = [item.name for item in classes]
    assert len(set(names)) == len(names)
    exported = [item.value for item in exports.value.elts if isinstance(item, ast.Constant)]
    assert sorted(str(name) for name in exported) == sorted(names)
    assert not set(names) & imported

    methods: list[str] = []
    calls = {name for name in imported if name[0].islower()} | {"MapSpec", "ProgramSpec", "ObjectSpec"}
    for item in classes:
        assert not item.decorator_list
        for keyword in item.keywords:
            assert isinstance(keyword.value, ast.Constant)
        first, *body = item.body
        assert isinstance(first, ast.Expr)
        assert isinstance(first.value, ast.Constant)
        assert isinstance(first.value.value, str)
        fields = [node.target for node in body if isinstance(node, ast.AnnAssign)]
        unique = {ast.unparse(target) for target in fields}
        assert len(unique) == len(fields)
        for node in body:
            match node:
                case ast.AnnAssign(target=ast.Name(), value=None):
                    assert {n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
                case ast.AnnAssign(target=ast.Name(), value=ast.Call() as call):
                    plain(call, calls)
                case ast.Assign(targets=[ast.Name()], value=value):
                    plain(value, set())
                case ast.FunctionDef(name=name):
                    methods.append(name)
                case _:
                    pytest.fail(f"unexpected in class {item.name}: {ast.unparse(node)}")
    assert methods == ["load", "open", "open_and_load"]
    plain(specification.value, calls)


def plain(node: ast.AST, calls: set[str]) -> None:
    """Assert that an expression is made of constants, names, tuples and calls of *calls* only."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            assert isinstance(part.func, ast.Name)
            assert part.func.id in calls
        else:
            kinds = ast.Constant | ast.Name | ast.Tuple | ast.keyword | ast.Load | ast.UnaryOp | ast.USub
            assert isinstance(part, kinds), ast.dump(part)


def cycle(texts: list[str]) -> Iterator[str]:
    while True:
        yield from texts


@pytest.mark.parametrize("shift", range(len(HOSTILE)))
def test_hostile_names_and_comments_never_become_code(shift: int) -> None:
    check(render.render(hostile(cycle(HOSTILE[shift:] + HOSTILE[:shift])), ORIGIN))


@pytest.mark.parametrize("text", HOSTILE)
def test_one_hostile_name_for_everything(text: str) -> None:
    check(render.render(hostile(cycle([text])), ORIGIN))


@given(st.lists(ANY_TEXT, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_names_and_comments_never_become_code(texts: list[str]) -> None:
    check(render.render(hostile(cycle(texts)), ORIGIN))


def test_package_names_are_text() -> None:
    tree = ast.parse(render.render_package(['x"""\nimport os\n"""', "oom_kill", "a\\"]))
    (node,) = tree.body
    assert isinstance(node, ast.Expr)
    assert render.render_package(["b", "a"]).endswith('"""Typed eBPF probes: a, b."""\n')


def one_record(*names: str, c_name: str = "s") -> model.ObjectModel:
    members = tuple(model.Member(name, 4 * i, U32, "") for i, name in enumerate(names))
    record = model.RecordType(c_name, f"struct {c_name}", 4 * len(names), members, "")
    return model.ObjectModel("thing", "little", "", (), (record,), (), (), (), ())


def run(found: model.ObjectModel) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "probe"}
    exec(render.render(found, ORIGIN), namespace)
    return namespace


def test_members_may_be_named_like_anything_of_the_runtime() -> None:
    """Of each name there is a field behind it that would no longer be there if the name hid something."""
    names = [name for name in dir(Record) if not name.startswith("__")]
    names += [name for name in ebpf_runtime.__all__ if name.islower()]
    names += ["int", "str", "bytes", "bool", "float", "tuple", "self", "cls", "values", "S", "Thing", "_OBJECT"]
    record = run(one_record(*names, "last"))["S"]
    assert isinstance(record, type)
    assert issubclass(record, Record)
    instance = record(**{field.name: i for i, field in enumerate(ebpf_runtime.fields(record))})
    assert list(instance.asdict().values()) == list(range(len(names) + 1))
    assert instance.replace(last=0).raw("last") == bytes(4)
    for name, field in zip([*names, "last"], ebpf_runtime.fields(record), strict=True):
        assert field.name.rstrip("_0123456789") == name.rstrip("_0123456789")


def test_variables_may_be_named_like_anything_of_the_runtime() -> None:
    names = [name for name in dir(Variables) if not name.startswith("__")]
    names += [name for name in ebpf_runtime.__all__ if name.islower()]
    members = tuple(model.Member(name, 4 * i, U32, "") for i, name in enumerate(names))
    section = model.SectionModel(".bss", 4 * len(names), members)
    found = model.ObjectModel("thing", "little", "", (), (), (), (), (section,), ())
    variables = run(found)["ThingBss"]
    assert isinstance(variables, type)
    memory = bytearray(4 * len(names))
    view = variables(memory)
    for number, field in enumerate(ebpf_runtime.fields(view)):
        setattr(view, field.name, number)
    assert memory == b"".join(number.to_bytes(4, "little") for number in range(len(names)))


def test_maps_may_be_named_like_anything_of_the_runtime() -> None:
    names = [name for name in dir(Maps) if not name.startswith("__")] + ["_items", "int", "RingBuffer", "Map", "Link"]
    maps = tuple(model.Map(name, "HASH", U32, U32, 1, "") for name in names)
    cls = run(model.ObjectModel("thing", "little", "", (), (), maps, (), (), ()))["ThingMaps"]
    assert not set(getattr(cls, "__annotations__", {})) & set(names)


def test_enumerators_may_be_named_like_anything_of_the_runtime() -> None:
    names = [name for name in dir(int) if not name.startswith("__")]
    names += [
        "name",
        "value",
        "mro",
        "_missing_",
        "_ignore_",
        "_",
        "__",
        "_x_",
        "None",
        "_generate_next_value_",
        "plain",
    ]
    enum = model.EnumType("e", 4, False, tuple((name, i, "") for i, name in enumerate(names)), "")
    cls = run(model.ObjectModel("thing", "little", "", (enum,), (), (), (), (), ()))["E"]
    assert isinstance(cls, type)
    assert issubclass(cls, CEnum)
    assert [int(member) for member in cls] == list(range(len(names)))
    assert cls(len(names) - 1).name == "plain"
    assert cls(999).name == "UNKNOWN_999"


def test_prefix_of_enumerators_goes_only_where_all_have_it() -> None:
    def names(*enumerators: str) -> list[str]:
        enum = model.EnumType("color", 4, False, tuple((name, i, "") for i, name in enumerate(enumerators)), "")
        cls = run(model.ObjectModel("thing", "little", "", (enum,), (), (), (), (), ()))["Color"]
        return [member.name for member in cls]  # type: ignore[attr-defined]

    assert names("COLOR_RED", "COLOR_BLUE") == ["RED", "BLUE"]
    assert names("COLOR_RED", "BLUE") == ["COLOR_RED", "BLUE"]
    assert names("COLOR_RED", "COLOR_3D") == ["COLOR_RED", "COLOR_3D"]
    assert names("COLOR_RED", "COLOR_") == ["COLOR_RED", "COLOR_"]
    assert names("COLOR_RED", "COLOR_None") == ["RED", "None_"]


def test_an_object_with_nothing_in_it() -> None:
    source = render.render(model.ObjectModel("thing", "big", "", (), (), (), (), (), ()), ORIGIN)
    check(source)
    assert '"""The eBPF object thing."""\n' in source
    assert "# Target: bpfeb, 64-bit\n" in source


def test_long_names_are_broken_where_ruff_breaks_them() -> None:
    name = "a_name_that_is_longer_than_any_other_of_all"
    record = model.RecordType(name, f"struct {name}", 4, (model.Member("n", 0, U32, ""),), "")
    reference = model.RecordRef(name, 4, "")
    maps = (model.Map(name, "HASH", U32, reference, 1, ""),)
    programs = tuple(
        model.Program(f"{name}_{i}", f"kprobe/{name}", True, (f"{name}_a", f"{name}_b"), None, "") for i in range(2)
    )
    variants = tuple(f"{name}_{letter}" for letter in "ab")
    found = model.ObjectModel("thing", "little", "", (), (record,), maps, programs, (), variants)
    source = render.render(found, ORIGIN)
    check(source)
    assert max(map(len, source.splitlines())) <= LINE_LENGTH


def test_the_same_model_gives_the_same_text() -> None:
    texts = [f"name_{i}" for i in range(97)]
    assert render.render(hostile(cycle(texts)), ORIGIN) == render.render(hostile(cycle(texts)), ORIGIN)


def test_names_with_numbers_are_in_the_order_that_ruff_wants() -> None:
    """By value, but a number with a zero in front like a fraction."""
    names = ["Ab_12", "Ab_8cf", "Ab_059", "Ab_05", "Ab", "Ab_9"]
    assert sorted(names, key=render._import_order) == ["Ab", "Ab_05", "Ab_059", "Ab_8cf", "Ab_9", "Ab_12"]
