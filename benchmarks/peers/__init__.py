# SPDX-License-Identifier: Apache-2.0
"""The peers: C over libbpf, compiled with -O2 by the machine's compiler, and bcc under the distribution's Python."""

from __future__ import annotations

import atexit
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.workers import Worker, worker

__all__ = ["HERE", "SYSTEM_PYTHON", "bcc_environment", "bcc_notes", "bcc_refusal", "bcc_worker", "c_worker", "compiled"]

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"


@cache
def _scratch() -> Path:
    made = Path(mkdtemp(prefix="ebpf-benchmarks-"))
    atexit.register(shutil.rmtree, made)
    return made


@cache
def compiled(name: str, include: Path | None = None) -> Path:
    """Return `peers/<name>.c` as a program; *include* is a folder of headers made for it.

    Raises:
        RuntimeError: There is no compiler, or no libbpf to link with.
    """
    program = _scratch() / name
    try:
        subprocess.run(
            [os.environ.get("CC", "gcc"), "-O2", "-Wall", "-Werror", "-o", program, HERE / f"{name}.c", "-lbpf",
             *([f"-I{include}"] if include else [])],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except OSError as error:
        raise RuntimeError(f"compile peer {name}: {error}. Install gcc and libbpf-dev.") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"compile peer {name}: {error.stderr} Install gcc and libbpf-dev.") from error
    return program


@contextmanager
def c_worker(name: str, *arguments: int | str, files: Sequence[int] = ()) -> Iterator[Worker]:
    """Start `peers/<name>.c`."""
    with worker([str(compiled(name)), *map(str, arguments)], files) as started:
        yield started


@cache
def _kernel_headers() -> str:
    """Return kernel headers that bcc can compile with: the running kernel's, else the newest installed; empty if none.

    Debian splits them over two folders, one of the machine's and a common one, which bcc wants as one.
    """
    own = Path("/lib/modules", os.uname().release, "build")
    if own.exists():
        return str(own)
    flavour = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    found = sorted(Path("/usr/src").glob(f"linux-headers-*-{flavour}"))
    if not found:
        return ""
    merged = _scratch() / "kernel"
    common = found[-1].with_name(found[-1].name.replace(f"-{flavour}", "-common"))
    for part in ("include", f"arch/{'x86' if flavour == 'amd64' else flavour}"):
        for half in (common, found[-1]):
            shutil.copytree(half / part, merged / part, dirs_exist_ok=True, copy_function=os.symlink)
    return str(merged)


@cache
def bcc_refusal() -> str:
    """Return why bcc cannot be raced; empty if it can."""
    headers = _kernel_headers()
    if not headers:
        return "bcc is not raced: there are no kernel headers (apt-get install linux-headers-amd64)"
    try:
        tried = subprocess.run([SYSTEM_PYTHON, "-c", "import bcc"], capture_output=True, text=True)
    except OSError as error:
        return f"bcc is not raced: {error}"
    return "" if not tried.returncode else "bcc is not raced: there is none (apt-get install python3-bpfcc)"


def bcc_notes() -> list[str]:
    """Return what a table of warm processes must say of bcc: that it is missing, or runs another Python."""
    if refusal := bcc_refusal():
        return [refusal]
    said = subprocess.run([SYSTEM_PYTHON, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]
    if said == platform.python_version():
        return []
    return [f"bcc runs Python {said}; make PYTHON={SYSTEM_PYTHON} bench in a fresh checkout races all under one"]


def bcc_environment() -> dict[str, str]:
    """Return the environment in which bcc finds kernel headers."""
    environment = {**os.environ, "BCC_KERNEL_SOURCE": _kernel_headers()}
    environment.pop("PYTHONPATH", None)
    return environment


@contextmanager
def bcc_worker(name: str, *arguments: int | str) -> Iterator[Worker | None]:
    """Start `peers/<name>.py` under the distribution's Python; None where bcc cannot run."""
    if bcc_refusal():
        yield None
        return
    command = [SYSTEM_PYTHON, str(HERE / f"{name}.py"), *map(str, arguments)]
    with worker(command, environment=bcc_environment()) as started:
        yield started
