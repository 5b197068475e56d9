# SPDX-License-Identifier: Apache-2.0
"""The command `ebpf-codegen`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run by path, as CMake does: no PYTHONPATH may be set there, it is pip's build isolation
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "ebpf_codegen"

from ebpf_codegen.compiler import find_compiler
from ebpf_codegen.errors import CodegenError, DriftError
from ebpf_codegen.pipeline import build_probe, compare, write_file, write_probe

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 refused, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        return _build(options)
    except DriftError as error:
        print(error.diff, end="", file=sys.stderr)
        print(f"ebpf-codegen: {error}", file=sys.stderr)
    except CodegenError as error:
        print(f"ebpf-codegen: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ebpf-codegen", description="Typed Python bindings for BPF C.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build",
        help="compile a probe and write its bindings, objects, flattened source and digests",
        description="Compile SOURCE for x86_64 and arm64 and write what a wheel carries of it into DIR.",
        epilog="example: ebpf-codegen build bpf/oom_kill.bpf.c --output build/ebpf_probes",
    )
    build.add_argument("source", type=Path, metavar="SOURCE", help="a .bpf.c file; its stem names the probe")
    build.add_argument("--output", type=Path, required=True, metavar="DIR", help="where to write")
    build.add_argument("--generated", type=Path, metavar="DIR", help="checked-in bindings that must not differ")
    build.add_argument(
        "--include", type=Path, action="append", default=[], metavar="DIR", help="directory of headers, repeatable"
    )
    build.add_argument("--depfile", type=Path, metavar="FILE", help="write make-style dependencies")
    return parser


def _build(options: argparse.Namespace) -> int:
    built = build_probe(options.source, find_compiler(), options.include)
    if options.generated is not None:
        compare(built, options.generated)
    write_probe(built, options.output, embedded=True)
    if options.depfile is not None:
        target = options.output / f"{built.name}.py"
        names = " ".join(str(path.resolve()).replace(" ", "\\ ") for path in built.dependencies)
        write_file(options.depfile, f"{target}: {names}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
