# SPDX-License-Identifier: Apache-2.0
"""The compiled helper that walks over records, as a wheel with libbpf has it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.sources import ROOT

if TYPE_CHECKING:
    from ebpf_runtime.libbpf import Library

__all__ = ["WALKER", "compile_walker", "compiled_walker"]

# Environment variable: where it is compiled already. Emulated, the compiler takes minutes to set itself up.
WALKER = "EBPF_TEST_WALKER"


def compile_walker(library: Path, target: str = "native") -> None:
    """Compile the helper by `zig cc`, as it is for wheels.

    Args:
        target: Of zig.
    """
    source = ROOT / "ebpf_runtime" / "_walker.c"
    # Without a CPU named, zig asks the machine for its own, and an emulated one gives no name that zig knows.
    options = ("-O2", "-fPIC", "-shared", "-nostdlib", "-mcpu=baseline", "-target", target)
    command = [sys.executable, "-m", "ziglang", "cc", *options, str(source), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)


@cache
def compiled_walker() -> Library:
    """Return the helper, compiled unless it is already."""
    from ebpf_runtime.libbpf import load_walker

    known = os.environ.get(WALKER)
    library = Path(known or Path(tempfile.mkdtemp(prefix="ebpf-walker-"), "_walker.so"))
    if not known:
        compile_walker(library)
    return load_walker(str(library))
