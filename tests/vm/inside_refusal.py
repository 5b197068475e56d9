# SPDX-License-Identifier: Apache-2.0
"""Where nothing can make a probe fit the kernel it says so; run inside a guest, whose compilers it deletes."""

from __future__ import annotations

import os
import subprocess
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from ebpf_runtime import EbpfError
from tests.vm.inside_matrix import PROBES, refusal
from tests.vm.matrix import write

pytestmark = pytest.mark.kernel

NO_COMPILER = (
    "find a BPF compiler: no clang of 16 or newer on PATH or in /usr/lib/llvm-*. Install one (apt install clang-16, "
    "dnf install clang) or run pip install 'ziglang==0.15.2', or set EBPF_CLANG."
)
REASONS = {
    "ebpf_inventory": "its programs attach by the kernel's BTF, and /sys/kernel/btf/vmlinux is missing. Mount sysfs on "
    "/sys, or take a kernel with BTF (CONFIG_DEBUG_INFO_BTF): a BTF file serves relocations alone, not programs that "
    "attach by BTF."
}


@pytest.fixture
def no_compiler() -> None:
    """Take the compilers away, in the scratch layer of the guest."""
    assert Path("/run/vmtest/settings").exists(), "this is no guest"
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    for folder in [*folders, *Path("/usr/lib").glob("llvm-*/bin")]:
        for path in folder.glob("clang*"):
            path.unlink()
    spec = find_spec("ziglang")
    if spec is not None and spec.origin is not None:
        (Path(spec.origin).parent / "zig").unlink()
    # Headers that are installed on the machine itself.
    subprocess.run(["mount", "-t", "tmpfs", "hidden", "/usr/src"], check=True)


@pytest.mark.usefixtures("no_compiler")
def test_without_types_headers_and_compiler_the_refusal_is_clear() -> None:
    """One line that names the probe and what to do, and nothing loaded."""
    answers: dict[str, dict[str, str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in PROBES.items():
            with pytest.raises(EbpfError) as caught:
                cls.open_and_load()
            assert str(caught.value) == f"compile {name!r} on this host: {REASONS.get(name, NO_COMPILER)}"
            answers[name] = {"loads": refusal(caught.value)}
    write("default", answers)
