# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen min-btf`: of kernels' BTF, what some objects need of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ebpf_codegen.btf_bundle import cut, find, write_bundle, write_files

from .arguments import Commands, add_command, say

__all__ = ["add"]

_EPILOG = """\
A folder given to --btf keeps its layout below the output. That of packages is
DISTRIBUTION/VERSION/[ARCHITECTURE/]RELEASE.btf, plain, .xz or .tar.xz: debian/12/x86_64/6.1.0-56-amd64.btf

examples:
  ebpf-codegen min-btf probe.bpf.o --btf /sys/kernel/btf/vmlinux -o cut/
  ebpf-codegen min-btf *.x86_64.bpf.o --btf archive/ -o minimal-btf.tar.xz

exit codes: 0 done, 1 refused, 2 usage
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "min-btf",
        _run,
        help="cut the BTF of kernels to what objects need, a few kB each",
        description="Write minimal BTF with which the OBJECTs load on kernels that show no BTF: the types and members "
        "that their CO-RE relocations ask for, at the offsets of each full BTF file.",
        epilog=_EPILOG,
    )
    parser.add_argument("objects", nargs="+", type=Path, metavar="OBJECT", help="a BPF object")
    parser.add_argument(
        "--btf", nargs="+", type=Path, required=True, metavar="FULL", help="a kernel's BTF, or a folder of such files"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="where to write; a name that ends in .tar.xz: one archive, and its digest beside it",
    )


def _run(options: argparse.Namespace) -> int:
    cuts = cut(options.objects, find(options.btf))
    write = write_bundle if options.output.name.endswith(".tar.xz") else write_files
    for name, size in write(options.output, cuts):
        say(f"{name}: {size} bytes\n")
    return 0
