# SPDX-License-Identifier: Apache-2.0
"""Probe modules that another process builds: the machine does it for its guests, in which a compiler takes seconds.

Both see one directory. A request is a folder with a source and what stands beside it, named by the digest of its
content; the answer is that name with the suffix `.built`, a package, or `.refused`. Each appears whole. Nothing of it
depends on the kernel, and a source that is refused is built again by who asked, where its errors belong.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebpf_codegen.compiler import find_compiler
from ebpf_codegen.errors import CodegenError
from ebpf_codegen.pipeline import build_probe, write_probe

__all__ = ["BUILDS", "build_elsewhere", "serve_builds"]

# Environment variable: the directory of requests.
BUILDS = "EBPF_TEST_BUILDS"
_BUILT = ".built"
_REFUSED = ".refused"
_PATIENCE_S = 300
_LOOK_S = 0.02
_building = threading.Lock()  # guests that ask for the same get the same


def build_elsewhere(source: Path, package: Path) -> bool:
    """Fill an empty package with what was built of a source; return False if nobody does, or the source is refused.

    Raises:
        TimeoutError: The other process does not answer.
    """
    named = os.environ.get(BUILDS)
    if not named:
        return False
    files = {path.name: path.read_bytes() for path in sorted(source.parent.glob("*.[ch]"))}
    digest = hashlib.sha256(repr((source.name, files)).encode()).hexdigest()
    request = Path(named, digest)
    built, refused = request.with_suffix(_BUILT), request.with_suffix(_REFUSED)
    if not request.exists():
        new = Path(tempfile.mkdtemp(prefix=".", dir=named))
        for name, data in files.items():
            (new / name).write_bytes(data)
        (new / "source").write_text(source.name)
        new.rename(request)
    deadline = time.monotonic() + _PATIENCE_S
    while not built.exists():
        if refused.exists():
            return False
        if time.monotonic() > deadline:
            raise TimeoutError(f"build {source.name}: no answer in {named} after {_PATIENCE_S} s.")
        time.sleep(_LOOK_S)
    shutil.copytree(built, package, dirs_exist_ok=True)
    return True


@contextmanager
def serve_builds(requests: Path, kept: Path, include: tuple[Path, ...]) -> Iterator[None]:
    """Build what is asked for in a directory, until the end.

    Args:
        kept: Where packages are kept, for others who ask for the same.
    """
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.wait(_LOOK_S):
            for request in requests.iterdir():
                if not request.suffix and not request.name.startswith("."):
                    _answer(request, kept / request.name, include)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _answer(request: Path, kept: Path, include: tuple[Path, ...]) -> None:
    built, refused = request.with_suffix(_BUILT), request.with_suffix(_REFUSED)
    if built.exists() or refused.exists():
        return
    with _building:
        if not kept.exists():
            new = Path(tempfile.mkdtemp(dir=kept.parent))
            source = request / (request / "source").read_text()
            try:
                write_probe(build_probe(source, find_compiler(), include), new, embedded=True)
            except CodegenError:
                refused.touch()
                return
            new.rename(kept)
    answer = Path(tempfile.mkdtemp(prefix=".", dir=request.parent))
    shutil.copytree(kept, answer, dirs_exist_ok=True)
    answer.rename(built)
