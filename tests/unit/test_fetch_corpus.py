# SPDX-License-Identifier: Apache-2.0
"""Cutting BPF objects out of other files; what is downloaded is tried by make corpus."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from tests.unit.codegen.writers import ElfWriter, ObjectWriter

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "fetch-corpus"


@pytest.fixture(scope="module")
def tool() -> Any:
    loader = SourceFileLoader("fetch_corpus", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def image(order: str = "<", machine: int = 247) -> bytes:
    writer = ElfWriter(order, machine)
    writer.section("xdp", bytes(16), executable=True)
    writer.section(".bss", kind=8, size=1 << 40)
    return writer.build()


def test_objects_of_both_byte_orders_are_found_whole(tool: Any) -> None:
    first, second = image(), image(">")
    data = b"\x7fELF" * 3 + bytes(100) + first + second + b"\x7fELF\x02" + first
    assert list(tool.images(data)) == [first, second, first]


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF\x02", image(machine=62), image()[:-1], b"\x7fELF\x02\x01" + b"\xff" * 100, bytes(1000)]
)
def test_what_is_none_is_passed_over(data: bytes, tool: Any) -> None:
    assert list(tool.images(data)) == []


def test_btf_is_a_section_and_not_a_word(tool: Any) -> None:
    writer = ElfWriter()
    writer.section(".BTF.ext")
    writer.section(".rel.BTF")
    assert not tool.has_btf(writer.build())
    assert tool.has_btf(ObjectWriter().build())


def test_each_object_is_written_once(tool: Any, tmp_path: Path) -> None:
    tree, objects = tmp_path / "tree", tmp_path / "objects"
    (tree / "bin").mkdir(parents=True)
    (objects / "without").mkdir(parents=True)
    with_types = ObjectWriter().build()
    (tree / "bin" / "tool").write_bytes(b"code" + with_types + image() + with_types)
    (tree / "probe.bpf.o").write_bytes(with_types)
    (tree / "other.o").write_bytes(image(">"))
    (tree / "link.o").symlink_to(tree / "other.o")
    written = list(tool.unpack("package", tree, objects, set()))
    assert [str(path.relative_to(objects)) for path in written] == [
        "package-tool.o",
        "without/package-tool-1.o",
        "without/package-other.o",
    ]
    assert (objects / "package-tool.o").read_bytes() == with_types


def test_a_system_without_apt_is_told_so(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(tool.FetchError) as caught:
        tool.run("apt-get", "download", "x")
    assert str(caught.value) == "run apt-get: it is not here. This needs Debian, or a system with its tools."
