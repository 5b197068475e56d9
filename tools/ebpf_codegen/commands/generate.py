# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen generate`: bindings of BPF objects, also of many at once."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from ebpf_codegen.errors import CodegenError
from ebpf_codegen.files import write_file
from ebpf_codegen.generate import generate, module_name

from .arguments import Commands, add_command, gathered, pair, say

__all__ = ["add"]

_EPILOG = """\
examples:
  ebpf-codegen generate tcpconnect.bpf.o -o tcpconnect.py
  ebpf-codegen generate tcpconnect.bpf.o --record events=event -o tcpconnect.py
  ebpf-codegen generate build/*.o -d bindings --jobs 4 --json | jq '.refused[]'

Each object that is refused is named with its reason, and the others are written all the same.
The schema of the JSON is ebpf_codegen/schema/generate.schema.json.

exit codes: 0 all written, 1 some refused, 2 usage
"""
# Fewer objects are done before other processes have started.
_WORTH_A_POOL: Final = 16
_CHUNK: Final = 4


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one object: its module, or why there is none."""

    object: Path
    module: Path
    error: str
    warnings: tuple[str, ...] = ()


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "generate",
        _generate,
        help="write the bindings of BPF objects",
        description="Write the typed bindings of any BPF object; what it says of itself is all that is needed.",
        epilog=_EPILOG,
    )
    parser.add_argument("objects", type=Path, nargs="+", metavar="OBJECT", help="a BPF object file with BTF")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("-o", dest="file", type=Path, metavar="FILE", help="write the one module here")
    output.add_argument("-d", dest="directory", type=Path, metavar="DIR", help="write a module for each object here")
    parser.add_argument("--all-types", action="store_true", help="emit every named struct and union, used or not")
    parser.add_argument(
        "--record",
        type=partial(pair, form="MAP=STRUCT"),
        action="append",
        default=[],
        metavar="MAP=STRUCT",
        help="what the events of a ring or perf buffer are, where the object does not say it; repeatable, "
        "also for one MAP",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help=f"processes to use (default: one for each CPU from {_WORTH_A_POOL} objects on, else 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object that says what was written")


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _generate(options: argparse.Namespace) -> int:
    if options.file is not None and len(options.objects) > 1:
        raise CodegenError("generate: -o takes one object. Use -d DIR for several.")
    targets = [options.file or options.directory / f"{module_name(path)}.py" for path in options.objects]
    make = partial(_make, gathered(options.record), options.all_types)
    refused = 0
    outcomes = []
    for outcome in _progress(_outcomes(make, options.objects, targets, options.jobs), len(targets)):
        outcomes.append(outcome)
        refused += bool(outcome.error)
        for line in (outcome.error, *outcome.warnings):
            if line:
                print(f"ebpf-codegen: {line}", file=sys.stderr)
    if options.json:
        say(json.dumps(_summary(outcomes), indent=2) + "\n")
    elif refused and len(outcomes) > 1:
        print(f"ebpf-codegen: {len(outcomes) - refused} of {len(outcomes)} objects generated.", file=sys.stderr)
    return 1 if refused else 0


def _make(records: dict[str, list[str]], all_types: bool, task: tuple[Path, Path, Path | None]) -> _Outcome:
    """Write the module of one object; *task* is (object, module, an earlier object with the same module)."""
    path, target, earlier = task
    try:
        if earlier is not None:
            raise CodegenError(f"generate {path}: {earlier} is {target}, too. Rename one of the objects.")
        made = generate(path, records=records, all_types=all_types)
        write_file(target, made.module.encode())
    except CodegenError as error:
        return _Outcome(path, target, str(error))
    except Exception as error:  # a fault of ours, and one object's alone: the others are still to be made
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return _Outcome(path, target, f"generate {path}: internal error, {reason}. Please report it with the object.")
    return _Outcome(path, target, "", made.warnings)


def _outcomes(
    make: partial[_Outcome], objects: Sequence[Path], targets: Sequence[Path], jobs: int | None
) -> Iterator[_Outcome]:
    """Yield what became of each object, in the order given."""
    first: dict[Path, Path] = {}
    tasks = []
    for path, target in zip(objects, targets, strict=True):
        tasks.append((path, target, first.get(target)))
        first.setdefault(target, path)
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if len(tasks) >= _WORTH_A_POOL else 1
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        yield from map(make, tasks)
        return
    fork = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(jobs, mp_context=fork, initializer=_ignore_interrupts)
    try:
        yield from pool.map(make, tasks, chunksize=_CHUNK)
    except BrokenProcessPool:
        raise CodegenError(
            "generate: a process was killed before it was done, perhaps for want of memory. Use fewer --jobs."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that gives out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _progress(outcomes: Iterator[_Outcome], total: int) -> Iterator[_Outcome]:
    """Pass outcomes on, with a line that counts them where somebody watches."""
    visible = total > 1 and sys.stderr.isatty()
    for number, outcome in enumerate(outcomes, 1):
        if visible:
            print(f"\r\x1b[K{number} of {total}  {outcome.object.name}", end="", file=sys.stderr, flush=True)
            if outcome.error or outcome.warnings or number == total:
                print("\r\x1b[K", end="", file=sys.stderr)
        yield outcome


def _summary(outcomes: Sequence[_Outcome]) -> dict[str, list[dict[str, object]]]:
    return {
        "generated": [
            {"object": str(item.object), "module": str(item.module), "warnings": list(item.warnings)}
            for item in outcomes
            if not item.error
        ],
        "refused": [{"object": str(item.object), "error": item.error} for item in outcomes if item.error],
    }
