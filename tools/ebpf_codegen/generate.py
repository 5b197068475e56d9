# SPDX-License-Identifier: Apache-2.0
"""From any BPF object, also one that nobody here built, to the text of its bindings: `ebpf-codegen generate`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import elf, model
from .names import identifier
from .render import Origin, render
from .source import Documentation

__all__ = ["Generated", "generate", "module_name"]

_SUFFIXES: Final = (".o", ".bpf", ".elf", ".skel")


@dataclass(frozen=True, slots=True)
class Generated:
    """The bindings of one object: their module's *name* and text, and what the user should know, a line each."""

    name: str
    module: str
    warnings: tuple[str, ...]


def module_name(path: Path) -> str:
    """Return the module's name for an object file: `proc-events.bpf.o` gives `proc_events`."""
    stem = path.name
    while Path(stem).suffix in _SUFFIXES:
        stem = Path(stem).stem
    return identifier(stem)


def generate(path: Path, *, records: Mapping[str, Sequence[str]] | None = None, all_types: bool = False) -> Generated:
    """Make the bindings of one object file.

    Args:
        path: The object.
        records: Ring or perf buffer -> names of the structs that its events are, where the object does not say it.
        all_types: Also emit every named struct and union, not only those that maps, variables and events reach.
    Raises:
        ElfError: The file cannot be read, or is no intact BPF object.
        BtfError: Its type information is damaged.
        UnsupportedError: It uses what has no Python form; names file, type and remedy.
    """
    read = elf.read(path)
    name = module_name(path)
    found = model.build(read, name, Documentation(), model.Options(dict(records or {}), all_types, foreign=True))
    digest = hashlib.sha256(read.image).hexdigest()
    origin = Origin(path.name, digest, f"ebpf-codegen generate {path.name}", "ebpf-codegen")
    return Generated(name, render(found, origin), found.warnings)
