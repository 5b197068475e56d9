# SPDX-License-Identifier: Apache-2.0
"""Objects that nobody here built: bindings of each, which import, type-check and agree with bpftool in every layout.

`make corpus` downloads them; nothing here runs otherwise.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_codegen.generate import module_name
from ebpf_runtime import Record, dtype, fields, sizeof

from .bpftool import Types, opens

pytestmark = pytest.mark.corpus

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = Path(os.environ.get("EBPF_CORPUS", ROOT / "build" / "corpus" / "objects"))
PATHS = sorted(OBJECTS.glob("*.o"))
WITHOUT_BTF = sorted((OBJECTS / "without").glob("*.o"))


@dataclass(frozen=True)
class Bindings:
    """The modules of all objects: where they are, and the summary that the command printed."""

    directory: Path
    summary: dict[str, list[dict[str, Any]]]

    def module(self, path: Path) -> ModuleType | None:
        """Import the module of an object; None if it was refused."""
        file = self.directory / f"{module_name(path)}.py"
        if not file.is_file():
            return None
        spec = importlib.util.spec_from_file_location(f"corpus_{self.directory.name}_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def generate(directory: Path, *words: str) -> Bindings:
    command = [sys.executable, "-P", "-m", "ebpf_codegen", "generate", *map(str, PATHS), "-d", str(directory), "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return Bindings(directory, json.loads(done.stdout))


@pytest.fixture(scope="module", params=["public", "all"])
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    words = ["--all-types"] if request.param == "all" else []
    return generate(tmp_path_factory.mktemp("bindings") / request.param, *words)


@pytest.fixture(scope="module")
def types() -> dict[Path, Types]:
    return {path: Types.of(path) for path in PATHS if opens(path)}


def test_there_is_a_corpus() -> None:
    """Without objects all of the rest would pass."""
    packages = Counter(path.name.split("-")[0] for path in PATHS)
    assert min(packages["libbpf"], packages["libxdp1"], packages["xdp"]) >= 10, "run tools/fetch-corpus"
    assert WITHOUT_BTF


def test_all_that_libbpf_opens_is_generated(bindings: Bindings) -> None:
    refused = {Path(item["object"]): item["error"] for item in bindings.summary["refused"]}
    assert {path: error for path, error in refused.items() if opens(path)} == {}
    for path, error in refused.items():
        assert error.startswith((f"read {path}: ", f"{path}: ")), error
        assert "\n" not in error


def test_objects_without_btf_are_refused_by_name(tmp_path: Path) -> None:
    for path in WITHOUT_BTF:
        command = [sys.executable, "-P", "-m", "ebpf_codegen", "generate", str(path), "-o", str(tmp_path / "x.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"ebpf-codegen: read {path}: it has no .BTF section. Compile with clang -g.\n"
        assert not (tmp_path / "x.py").exists()


def test_tools_have_nothing_to_say(bindings: Bindings) -> None:
    for tool in (
        ("ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml")),
        ("ruff", "format", "--check", "--no-cache", "--config", str(ROOT / "pyproject.toml")),
        ("mypy", "--strict", "--cache-dir", os.devnull),
    ):
        command = [sys.executable, "-m", *tool, str(bindings.directory)]
        done = subprocess.run(command, cwd=bindings.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def records(module: ModuleType) -> Iterator[type[Record]]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Record) and value is not Record:
            yield value


def flat(cls: type[Record], prefix: str = "", base: int = 0) -> Iterator[tuple[str, Any, int]]:
    """Yield (path, field, bits from the start of the whole) of fields and those of records within."""
    for field in fields(cls):
        yield f"{prefix}{field.name}", field, base + field.bit_offset
        inner = getattr(field, "type", None)
        if isinstance(inner, type) and issubclass(inner, Record):
            yield from flat(inner, f"{prefix}{field.name}.", base + 8 * field.offset)


def attribute(name: str) -> str:
    """Return a member's name as Python has it: no keyword, and nothing that classes would mangle."""
    name = re.sub("^__+", "_", name)
    return f"{name}_" if keyword.iskeyword(name) else name


def differences(cls: type[Record], types: Types, item: dict[str, Any]) -> list[str]:
    """Return what is not as bpftool says, member by member."""
    found = {path: (bit, field.bits, field.size) for path, field, bit in flat(cls)}
    wrong = [] if sizeof(cls) == item["size"] else [f"{cls.c_name}: {sizeof(cls)} bytes, not {item['size']}"]
    for path, (first, width, size) in types.places(item):
        names = ".".join(attribute(name) for name in path.split("."))
        place = found.get(names) or found.get(f"{names}_")
        if place is None:
            wrong.append(f"{cls.c_name}: {path} is missing")
        elif place[:2] != (first, width) or (not width and place[2] != size):
            wrong.append(f"{cls.c_name}: {path} is at {place}, not {(first, width, size)}")
    return wrong


def test_every_layout_is_bpftools(bindings: Bindings, types: dict[Path, Types]) -> None:
    compared = 0
    for path in PATHS:
        module = bindings.module(path)
        if module is None or path not in types:
            continue
        named = types[path].named()
        for cls in records(module):
            if cls.c_name not in named:
                continue  # of a typedef, or without a name: compared as part of what holds it
            compared += 1
            attempts = [differences(cls, types[path], item) for item in named[cls.c_name]]
            assert [] in attempts, (path.name, attempts[0])
    assert compared > len(PATHS)


def test_every_type_is_there(bindings: Bindings, types: dict[Path, Types]) -> None:
    for path in PATHS:
        module = bindings.module(path)
        if module is None or path not in types:
            continue
        emitted = {cls.c_name for cls in records(module)}
        wanted = set(types[path].named()) if bindings.directory.name == "all" else types[path].reachable()
        assert wanted - emitted == set(), path.name


def test_nothing_is_bytes_that_has_a_type(bindings: Bindings, types: dict[Path, Types]) -> None:
    """Bytes are what C declares as bytes, and numbers of sizes that Python has no number for."""
    for path in PATHS:
        module = bindings.module(path)
        if module is None or path not in types:
            continue
        for cls in records(module):
            for item in types[path].named().get(cls.c_name, []):
                members = {attribute(member["name"]): member["type_id"] for member in item["members"]}
                for field in fields(cls):
                    if field.kind == "raw" and field.name in members:
                        kind = types[path].resolve(members[field.name])
                        assert kind["kind"] == "ARRAY", (path.name, cls.c_name, field)
                        assert types[path].size(kind["type_id"]) == 1, (path.name, cls.c_name, field)


def test_numpy_has_the_same_layouts(bindings: Bindings) -> None:
    for path in PATHS:
        module = bindings.module(path)
        for cls in records(module) if module is not None else ():
            made = dtype(cls)
            assert made.itemsize == sizeof(cls), (path.name, cls.c_name)
            offsets = {name: place[1] for name, place in (made.fields or {}).items()}
            expected = {field.name: field.offset for field in fields(cls) if not field.bits}
            assert offsets.items() >= expected.items(), (path.name, cls.c_name)


def test_zeroed_records_are_zeros(bindings: Bindings) -> None:
    """Each member can be read, and what is read can be written again."""
    for path in PATHS:
        module = bindings.module(path)
        for cls in records(module) if module is not None else ():
            record = cls.zeroed()
            assert bytes(record) == bytes(sizeof(cls)), (path.name, cls.c_name)
            for field in fields(cls):
                getattr(record, field.name)
            assert cls.from_bytes(bytes(record)) == record
