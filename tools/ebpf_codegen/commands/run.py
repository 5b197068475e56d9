# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen run`: compile one file of BPF C, load it, and print its events.

Compiling is done here; loading is the runtime's work, in a process of its own: the generator never imports it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from ebpf_codegen.compiler import ARCHITECTURES, find_compiler
from ebpf_codegen.errors import CodegenError
from ebpf_codegen.pipeline import build_probe, write_probe

from .arguments import Commands, add_command

__all__ = ["add"]

_EPILOG = """\
examples:
  ebpf-codegen run hello.bpf.c
  ebpf-codegen run hello.bpf.c --set wanted_pid=123 --count 10
  ebpf-codegen run hello.bpf.c --json | jq .fields.comm

Programs are attached where their section says. Events of all ring and perf buffers are printed as they come; an
object that has only iterators has their rows printed once. Needs root, or CAP_BPF and CAP_PERFMON.

exit codes: 0 done, also by Ctrl-C; 1 refused by the compiler or the kernel, 2 usage, 3 not permitted
"""
_MACHINES: Final = {"aarch64": "arm64"}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "run",
        _run,
        help="compile a probe, load and attach it, and print its events until Ctrl-C",
        description="Compile SOURCE for this machine, load and attach its programs, and print their events.",
        epilog=_EPILOG,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a .bpf.c file")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--count", type=_count, metavar="N", help="end after N events (default: at Ctrl-C)")
    parser.add_argument(
        "--set",
        dest="variables",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="set a variable before loading: a number, a text, True or False; repeatable",
    )
    parser.add_argument(
        "--include", type=Path, action="append", default=[], metavar="DIR", help="directory of headers, repeatable"
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _assignment(text: str) -> str:
    name, sign, _ = text.partition("=")
    if not sign or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


def _run(options: argparse.Namespace) -> int:
    machine = os.uname().machine
    architecture = _MACHINES.get(machine, machine)
    if architecture not in ARCHITECTURES:
        raise CodegenError(f"run {options.source}: there is no support for {machine}.")
    if importlib.util.find_spec("ebpf_runtime") is None:
        raise CodegenError(f"run {options.source}: ebpf_runtime is not installed. Run pip install ebpf-runtime.")
    built = build_probe(
        options.source, find_compiler(), [*options.include, *_headers()], architectures=(architecture,), holes=True
    )
    for warning in built.warnings:
        print(f"ebpf-codegen: {warning}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="ebpf-codegen-") as scratch:
        write_probe(built, Path(scratch), embedded=True)
        words = ["--json"] * options.json
        words += ["--count", str(options.count)] * bool(options.count)
        words += [word for variable in options.variables for word in ("--set", variable)]
        return _in_a_process([sys.executable, "-P", "-m", "ebpf_runtime.show", scratch, built.name, *words])


def _headers() -> list[Path]:
    """Return the directory of probe.bpf.h and vmlinux.h: in the installed runtime, or in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return [here.parent / "ebpf_runtime" / "include", here.parents[1] / "bpf" / "include"]


def _in_a_process(command: list[str]) -> int:
    """Run a command to its end and return its exit code; Ctrl-C and SIGTERM are for it, not for us."""
    signals = {signal.SIGINT, signal.SIGTERM}
    before = {number: signal.getsignal(number) for number in signals}
    # Held back until both are ready for them: the child takes the mask over, and undoes it when it can answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with subprocess.Popen(command) as child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code
