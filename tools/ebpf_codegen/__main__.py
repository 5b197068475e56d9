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
from ebpf_codegen.generate import generate, module_name
from ebpf_codegen.pipeline import build_probe, compare, write_file, write_probe

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 refused, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        return {"build": _build, "generate": _generate}[options.command](options)
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
    bindings = commands.add_parser(
        "generate",
        help="write the bindings of BPF objects",
        description="Write the typed bindings of any BPF object; what it says of itself is all that is needed.",
        epilog="example: ebpf-codegen generate tcpconnect.bpf.o --record events=event -o tcpconnect.py",
    )
    bindings.add_argument("objects", type=Path, nargs="+", metavar="OBJECT", help="a BPF object file with BTF")
    output = bindings.add_mutually_exclusive_group(required=True)
    output.add_argument("-o", dest="file", type=Path, metavar="FILE", help="write the one module here")
    output.add_argument("-d", dest="directory", type=Path, metavar="DIR", help="write a module for each object here")
    bindings.add_argument("--all-types", action="store_true", help="emit every named struct and union, used or not")
    bindings.add_argument(
        "--record",
        type=_record,
        action="append",
        default=[],
        metavar="MAP=STRUCT",
        help="what the events of a ring or perf buffer are, where the object does not say it; repeatable",
    )
    return parser


def _record(text: str) -> tuple[str, str]:
    name, _, struct = text.partition("=")
    if not name or not struct:
        raise argparse.ArgumentTypeError(f"{text!r} is not MAP=STRUCT")
    return name, struct


def _generate(options: argparse.Namespace) -> int:
    if options.file is not None and len(options.objects) > 1:
        raise CodegenError("generate: -o takes one object. Use -d DIR for several.")
    targets: dict[Path, Path] = {}
    failed = False
    for path in options.objects:
        target = options.file or options.directory / f"{module_name(path)}.py"
        try:
            if target in targets:
                raise CodegenError(f"generate {path}: {targets[target]} is {target}, too. Rename one of the objects.")
            targets[target] = path
            made = generate(path, records=dict(options.record), all_types=options.all_types)
            write_file(target, made.module.encode())
        except CodegenError as error:
            failed = True
            print(f"ebpf-codegen: {error}", file=sys.stderr)
            continue
        for warning in made.warnings:
            print(f"ebpf-codegen: {warning}", file=sys.stderr)
    return 1 if failed else 0


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
