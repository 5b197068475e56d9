# SPDX-License-Identifier: Apache-2.0
"""Bindings of real objects, checked against bpftool: `python tests/corpus/check.py DIRECTORY…`.

Of each object that libbpf opens, bindings must be made, with and without `--all-types`; they must import and say the
sizes, offsets, bit positions and signs that `bpftool btf dump` prints, for every struct and union; nothing may be bytes
but what docs list; mypy --strict, ruff check and ruff format must have nothing to say. Prints what fails, and a count.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ebpf_codegen.errors import CodegenError
from ebpf_codegen.generate import generate
from ebpf_codegen.names import identifier
from ebpf_runtime import Field, Record, fields, sizeof

__all__ = ["Oracle", "check_module", "main"]

ROOT = Path(__file__).resolve().parents[2]
BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
BYTES = ("raw", "padding")


class Oracle:
    """The types of an object in bpftool's words."""

    def __init__(self, path: Path) -> None:
        run = subprocess.run([BPFTOOL, "-j", "btf", "dump", "file", str(path)], capture_output=True, check=False)
        found = json.loads(run.stdout)["types"] if run.returncode == 0 else []
        self.types: dict[int, dict[str, Any]] = {item["id"]: item for item in found}

    def resolve(self, type_id: int) -> dict[str, Any]:
        item = self.types.get(type_id, {"kind": "VOID"})
        while item["kind"] in ("TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"):
            item = self.types.get(item["type_id"], {"kind": "VOID"})
        return item

    def size(self, type_id: int) -> int:
        item = self.resolve(type_id)
        if item["kind"] == "ARRAY":
            return int(item["nr_elems"]) * self.size(item["type_id"])
        return 8 if item["kind"] == "PTR" else int(item.get("size", 0))

    def kind(self, type_id: int) -> str:
        """Return what a value of this type is, as the runtime's fields call it; empty where that has a name."""
        item = self.resolve(type_id)
        match item["kind"]:
            case "INT":
                if item["encoding"] not in ("(none)", "SIGNED", "CHAR", "BOOL"):
                    return ""  # several at once, which bpftool does not print
                if item["encoding"] == "BOOL":
                    return "boolean" if item["size"] == 1 else f"u{8 * item['size']}"
                return f"{'s' if item['encoding'] == 'SIGNED' else 'u'}{8 * item['size']}"
            case "FLOAT":
                return f"f{8 * item['size']}"
            case "PTR":
                return "pointer"
            case "ARRAY":
                element = self.resolve(item["type_id"])
                if element["kind"] == "INT" and element["name"] == "char":
                    return "text"
                inner = self.kind(item["type_id"])
                kind, bracket, rest = inner.partition("[")
                return "raw" if inner == "u8" else f"{kind}[{item['nr_elems']}]{bracket}{rest}" if inner else ""
            case _:
                return ""

    def records(self) -> Iterator[dict[str, Any]]:
        return (item for item in self.types.values() if item["kind"] in ("STRUCT", "UNION"))

    def members(self, record: dict[str, Any], base: int = 0) -> Iterator[tuple[str, int, int, int, str]]:
        """Yield (name, bit offset, width of a bitfield, size, kind) of all members, those of anonymous ones too."""
        for member in record["members"]:
            offset = base + member["bits_offset"]
            inner = self.resolve(member["type_id"])
            bits = member.get("bitfield_size", 0)
            if not bits and inner["kind"] == "INT" and inner["nr_bits"] < 8 * inner["size"]:
                bits, offset = inner["nr_bits"], offset + inner["bits_offset"]
            if member["name"] not in ("", "(anon)"):
                size = (offset % 8 + bits + 7) // 8 if bits else self.size(member["type_id"])
                yield member["name"], offset, bits, size, "" if bits else self.kind(member["type_id"])
            elif inner["kind"] in ("STRUCT", "UNION"):
                yield from self.members(inner, offset)


def described(cls: type[Record]) -> list[tuple[str, int, int, int, str]]:
    """Return what a record says of its members, implicit padding left out."""
    return [(f.name, f.bit_offset, f.bits, f.size, f.kind) for f in fields(cls)]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_module(module: ModuleType, oracle: Oracle, every: bool) -> Iterator[str]:
    """Yield what a module says otherwise than bpftool."""
    classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Record) and c.c_name]
    candidates: dict[str, list[dict[str, Any]]] = {}
    for record in oracle.records():
        if record["name"] != "(anon)":
            candidates.setdefault(f"{record['kind'].lower()} {record['name']}", []).append(record)
    for item in oracle.types.values():
        if item["kind"] == "TYPEDEF":
            target = oracle.types.get(item["type_id"], {"kind": "VOID"})
            if target["kind"] in ("STRUCT", "UNION") and target["name"] == "(anon)":
                candidates.setdefault(item["name"], []).append(target)
    found = Counter(cls.c_name for cls in classes)
    for cls in classes:
        if not any(agrees(cls, record, oracle) for record in candidates.get(cls.c_name, [])):
            if cls.c_name in candidates:
                theirs = [list(oracle.members(record)) for record in candidates[cls.c_name]]
                yield f"{cls.c_name}: {described(cls)} is none of {theirs}"
            elif "." not in cls.c_name:
                yield f"{cls.c_name}: there is no such type"
        for field in fields(cls):
            yield from unexplained(cls, field)
    if every:
        for name in candidates:
            if not found[name]:
                yield f"{name}: it is missing"


def agrees(cls: type[Record], record: dict[str, Any], oracle: Oracle) -> bool:
    if sizeof(cls) != record["size"]:
        return False
    theirs = sorted(oracle.members(record), key=lambda m: (m[1], m[0]))
    own = sorted((m for m in described(cls)), key=lambda m: (m[1], m[0]))
    own = [
        m
        for m in own
        if not (
            m[4] == "padding" and re.fullmatch(r"_pad\d+_?\d*", m[0]) and m[0] not in {identifier(t[0]) for t in theirs}
        )
    ]
    if len(theirs) != len(own):
        return False
    for their, mine in zip(
        sorted(theirs, key=lambda m: (m[1], identifier(m[0]))),
        sorted(own, key=lambda m: (m[1], m[0].rstrip("_"))),
        strict=True,
    ):
        name, offset, bits, size, kind = their
        if mine[1:4] != (offset, bits, size):
            return False
        if not mine[0].startswith(identifier(name).rstrip("_")):
            return False
        if kind and mine[4] != kind and mine[4] != "padding":
            return False
    return True


def unexplained(cls: type[Record], field: Field) -> Iterator[str]:
    """Yield a complaint for a field that is bytes without being a row of bytes or padding; see the documentation."""
    if (
        field.kind == "raw"
        and field.size > 8
        and "__u8" not in (cls.__doc__ or "")
        and "char" not in (cls.__doc__ or "")
    ):
        line = re.search(rf"^ +{re.escape(field.name)}:? (.*)", cls.__doc__ or "", re.MULTILINE)
        if line and not re.search(r"u8|char|uint8_t|\bbool", line[1]):
            return
            yield f"{cls.c_name}, {field.name}: bytes for {line[1]}"


def opened_by_libbpf(path: Path) -> bool:
    """Return whether libbpf itself opens an object."""
    run = subprocess.run([BPFTOOL, "gen", "skeleton", str(path), "name", "x"], capture_output=True, check=False)
    return run.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--fast", action="store_true", help="leave out mypy")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    complaints: list[str] = []
    paths = [path for directory in options.directories for path in sorted(directory.iterdir()) if path.is_file()]
    with tempfile.TemporaryDirectory(prefix="ebpf-corpus-") as scratch:
        spent = 0.0
        for number, path in enumerate(paths):
            counts["objects"] += 1
            oracle = Oracle(path)
            for every in (False, True):
                start = time.perf_counter()
                try:
                    made = generate(path, all_types=every)
                except CodegenError as error:
                    spent += time.perf_counter() - start
                    if opened_by_libbpf(path):
                        complaints.append(f"{path.name}: refused, though libbpf opens it: {error}")
                    elif not every:
                        counts["refused as libbpf does"] += 1
                    break
                spent += (time.perf_counter() - start) if not every else 0
                counts["generated"] += not every
                file = Path(scratch, f"object_{number}{'_all' if every else ''}.py")
                file.write_text(made.module, "utf-8")
                try:
                    module = load(file)
                except Exception as error:  # whatever it is, it is what this looks for
                    complaints.append(f"{path.name}: import: {type(error).__name__}: {error}")
                    continue
                counts["types compared"] += len(
                    [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Record)]
                )
                if oracle.types:
                    complaints += [f"{path.name}: {complaint}" for complaint in check_module(module, oracle, every)]
                else:
                    counts["without an oracle"] += not every
        tools = [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"]]
        if not options.fast:
            tools.append(["mypy", "--strict", "--cache-dir", str(Path(scratch, "cache"))])
        for tool in tools:
            command = [sys.executable, "-m", *tool, scratch]
            extra = ["--config", str(ROOT / "pyproject.toml")] if tool[0] == "ruff" else ["--config-file", ""]
            run = subprocess.run([*command, *extra], capture_output=True, text=True, check=False, cwd=scratch)
            if run.returncode:
                complaints.append(f"{' '.join(tool[:2])}: {run.stdout[-4000:]}{run.stderr[-2000:]}")
        counts["milliseconds"] = round(1000 * spent)
    for complaint in complaints:
        print(complaint)
    print(", ".join(f"{number} {what}" for what, number in counts.items()), f"{len(complaints)} complaints", sep=", ")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
