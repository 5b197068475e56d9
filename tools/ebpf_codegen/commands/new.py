# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen new`: a package to begin with."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ebpf_codegen.scaffold import scaffold

from .arguments import Commands, add_command, say

__all__ = ["add"]

_EPILOG = """\
examples:
  ebpf-codegen new tcp_connect                     into ./tcp_connect
  ebpf-codegen new tcp_connect --directory src/tcp

What it writes builds and runs as it is: a probe that reports each program that starts.

exit codes: 0 done, 1 the name is no module's, or the directory is not empty, 2 usage
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "new",
        _new,
        help="write a package with one probe to begin with",
        description="Write a Python package with one probe: its BPF C, build files, a test and a README.",
        epilog=_EPILOG,
    )
    parser.add_argument("name", metavar="NAME", help="the probe's name, a module of Python: tcp_connect")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to write, empty or not there; ./NAME")


def _new(options: argparse.Namespace) -> int:
    directory = options.directory or Path(options.name)
    for path in scaffold(options.name, directory):
        say(f"wrote {path}\n")
    place = shlex.quote(str(directory))
    say(
        f"\nnext:\n  ebpf-codegen run {place}/bpf/{options.name}.bpf.c    # needs root; prints its events\n"
        f"  pip wheel --no-deps {place}\n"
    )
    return 0
