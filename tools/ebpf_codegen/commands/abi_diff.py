# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen abi-diff`: what a change of an object breaks."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Final

from ebpf_codegen import abi, elf
from ebpf_codegen.errors import CodegenError

from .arguments import Commands, add_command, say

__all__ = ["add"]

_EPILOG = """\
OLD and NEW are objects, or generated modules that have their objects beside them, as installed ones do.

A change breaks where code written against OLD is wrong with NEW: a member moved or changed its type or size, a map's
type, key or value changed, an enumerator changed its value, a map, program, variable, member or enumerator is gone.

examples:
  ebpf-codegen abi-diff released/flows.bpf.o build/flows.bpf.o
  ebpf-codegen abi-diff old/flows.py new/flows.py --json | jq '.changes[] | select(.breaking)'

The schema of the JSON is ebpf_codegen/schema/abi-diff.schema.json.

exit codes: 0 nothing breaks, 1 something breaks or a file cannot be read, 2 usage
"""
_ARCHITECTURES: Final = {"aarch64": "arm64"}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "abi-diff",
        _abi_diff,
        help="show what a change of an object breaks for those who read it",
        description="Compare the maps, programs, variables, records and enums that two objects show to others.",
        epilog=_EPILOG,
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="a BPF object, or a generated module beside its object")
    parser.add_argument("new", type=Path, metavar="NEW", help="the same, as it is now")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _abi_diff(options: argparse.Namespace) -> int:
    changes = abi.compare(elf.read(_object(options.old)), elf.read(_object(options.new)))
    breaking = any(change.breaking for change in changes)
    if options.json:
        rows = [{"breaking": c.breaking, "subject": c.subject, "what": c.what} for c in changes]
        report = {"old": str(options.old), "new": str(options.new), "breaking": breaking, "changes": rows}
        say(json.dumps(report, indent=2) + "\n")
    else:
        say(abi.text(changes))
    return 1 if breaking else 0


def _object(path: Path) -> Path:
    """Return the object of a generated module, or the path itself."""
    if path.suffix != ".py":
        return path
    machine = os.uname().machine
    found = path.with_name(f"{path.stem}.{_ARCHITECTURES.get(machine, machine)}.bpf.o")
    if not found.is_file():
        raise CodegenError(
            f"read {path}: its object {found.name} is not beside it. Name the object, or an installed module."
        )
    return found
