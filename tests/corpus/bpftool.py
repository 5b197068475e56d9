# SPDX-License-Identifier: Apache-2.0
"""What bpftool, which shares no code with this project, says of an object: whether libbpf opens it, and its types."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Types", "opens"]

_ENVIRONMENT: Final = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
_MODIFIERS: Final = ("CONST", "VOLATILE", "RESTRICT", "TYPE_TAG")
_VARIABLES: Final = re.compile(r"\.(rodata|data|bss)(\..+)?")
Place = tuple[int, int, int]  # first bit, width or 0, size in bytes


def opens(path: Path) -> bool:
    """Return whether libbpf opens an object: only then can bpftool make a skeleton of it."""
    command = ["bpftool", "gen", "skeleton", str(path), "name", "any"]
    return subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Types:
    """The types of an object by id, as `bpftool btf dump -j` prints them."""

    types: dict[int, dict[str, Any]]

    @classmethod
    def of(cls, path: Path) -> Types:
        command = ["bpftool", "btf", "dump", "file", str(path), "--json"]
        done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=False)
        said = json.loads(done.stdout)
        if "No such file or directory" in said.get("error", ""):
            return cls({})  # an object without BTF, which needs none
        return cls({item["id"]: item for item in said["types"]})

    def resolve(self, type_id: int) -> dict[str, Any]:
        """Return the type behind modifiers and typedefs; void is a type of kind VOID."""
        while type_id:
            item = self.types[type_id]
            if item["kind"] not in (*_MODIFIERS, "TYPEDEF"):
                return item
            type_id = item["type_id"]
        return {"id": 0, "kind": "VOID"}

    def size(self, type_id: int) -> int:
        item = self.resolve(type_id)
        if item["kind"] == "ARRAY":
            return int(item["nr_elems"]) * self.size(item["type_id"])
        return 8 if item["kind"] == "PTR" else int(item.get("size", 0))

    def named(self) -> dict[str, list[dict[str, Any]]]:
        """Return all structs and unions with a tag, by `struct x`."""
        found: dict[str, list[dict[str, Any]]] = {}
        for item in self.types.values():
            if item["kind"] in ("STRUCT", "UNION") and item["name"] != "(anon)":
                found.setdefault(f"{item['kind'].lower()} {item['name']}", []).append(item)
        return found

    def places(self, item: dict[str, Any], prefix: str = "", base: int = 0) -> Iterator[tuple[str, Place]]:
        """Yield (path, place) of all members with a name, also of those in types without a tag."""
        for member in item["members"]:
            inner = self.resolve(member["type_id"])
            name = "" if member["name"] == "(anon)" else member["name"]
            first, width = base + member["bits_offset"], member.get("bitfield_size", 0)
            if not width and inner["kind"] == "INT" and inner["nr_bits"] < 8 * inner["size"]:
                first, width = first + inner["bits_offset"], inner["nr_bits"]
            if name:
                yield f"{prefix}{name}", (first, width, self.size(member["type_id"]))
            if inner["kind"] in ("STRUCT", "UNION") and (not name or inner["name"] == "(anon)"):
                yield from self.places(inner, f"{prefix}{name}." if name else prefix, first)

    def reachable(self) -> set[str]:
        """Return the names of structs and unions that keys, values and global variables hold, as `struct x`."""
        waiting: list[int] = []
        for section in (item for item in self.types.values() if item["kind"] == "DATASEC"):
            for variable in section["vars"]:
                var = self.types[variable["type_id"]]
                if section["name"] == ".maps":
                    for member in self.resolve(var["type_id"])["members"]:
                        if member["name"] in ("key", "value"):
                            waiting.append(self.resolve(member["type_id"])["type_id"])
                elif _VARIABLES.fullmatch(section["name"]) and var["linkage"] == "global":
                    waiting.append(var["type_id"])
        found: set[str] = set()
        seen: set[int] = set()
        while waiting:
            item = self.resolve(waiting.pop())
            if item["id"] in seen:
                continue
            seen.add(item["id"])
            if item["kind"] == "ARRAY":
                waiting.append(item["type_id"])
            elif item["kind"] in ("STRUCT", "UNION"):
                waiting += (member["type_id"] for member in item["members"])
                if item["name"] != "(anon)":
                    found.add(f"{item['kind'].lower()} {item['name']}")
        return found
