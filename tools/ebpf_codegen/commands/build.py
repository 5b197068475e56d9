# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen build`: what a wheel carries of one probe."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ebpf_codegen.compiler import find_compiler
from ebpf_codegen.files import write_file
from ebpf_codegen.pipeline import build_probe, compare, write_probe

from .arguments import Commands, add_command, gathered, pair

__all__ = ["add"]

_EPILOG = """\
example:
  ebpf-codegen build bpf/oom_kill.bpf.c --output build/ebpf_probes
  ebpf-codegen build trace.bpf.c --output build --record events=exec_event --record events=exit_event

exit codes: 0 done, 1 refused or different from --generated, 2 usage
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "build",
        _build,
        help="compile a probe and write its bindings, objects, flattened source and digests",
        description="Compile SOURCE for x86_64 and arm64 and write what a wheel carries of it into DIR.",
        epilog=_EPILOG,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a .bpf.c file; its stem names the probe")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--generated", type=Path, metavar="DIR", help="checked-in bindings that must not differ")
    parser.add_argument(
        "--include", type=Path, action="append", default=[], metavar="DIR", help="directory of headers, repeatable"
    )
    parser.add_argument(
        "--record",
        type=partial(pair, form="NAME=TYPE"),
        action="append",
        default=[],
        metavar="NAME=TYPE",
        help="struct or typedef that the records of a ring buffer, perf buffer or iterator program are, where the "
        "source does not tell; repeatable, also for one NAME",
    )
    parser.add_argument("--depfile", type=Path, metavar="FILE", help="write make-style dependencies")


def _build(options: argparse.Namespace) -> int:
    built = build_probe(options.source, find_compiler(), options.include, records=gathered(options.record))
    for warning in built.warnings:
        print(f"ebpf-codegen: warning: {warning}", file=sys.stderr)
    if options.generated is not None:
        compare(built, options.generated)
    write_probe(built, options.output, embedded=True)
    if options.depfile is not None:
        target = options.output / f"{built.name}.py"
        names = " ".join(str(path.resolve()).replace(" ", "\\ ") for path in built.dependencies)
        write_file(options.depfile, f"{target}: {names}\n".encode())
    return 0
