# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen inspect`: what is in a BPF object."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ebpf_codegen import elf, inspection

from .arguments import Commands, add_command, say

__all__ = ["add"]

_EPILOG = """\
examples:
  ebpf-codegen inspect build/ebpf_probes/oom_kill.x86_64.bpf.o
  ebpf-codegen inspect probe.o --json | jq -r '.maps[].name'

The schema of the JSON is ebpf_codegen/schema/inspect.schema.json.

exit codes: 0 done, 1 the file is no intact BPF object, 2 usage
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "inspect",
        _inspect,
        help="show what is in a BPF object: programs, maps, variables, relocations, types",
        description="Show programs, maps, variables, CO-RE relocations, sections and types of a BPF object.",
        epilog=_EPILOG,
    )
    parser.add_argument("object", type=Path, metavar="OBJECT", help="a BPF object file with BTF")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the members of all types")


def _inspect(options: argparse.Namespace) -> int:
    found = inspection.inspect(elf.read(options.object))
    say(json.dumps(found, indent=2) + "\n" if options.json else inspection.text(found))
    return 0
