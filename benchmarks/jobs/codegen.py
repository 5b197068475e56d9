# SPDX-License-Identifier: Apache-2.0
"""The generator: all objects of the corpus at once against bpftool once an object; regenerating what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.jobs import Options
from benchmarks.race import Bar, Job, Sample

__all__ = ["generate", "regenerate"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_OBJECTS: Final = _ROOT / "build" / "corpus" / "objects"
_PROBE: Final = "oom_kill"
_ENVIRONMENT: Final = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}


@contextmanager
def generate(_options: Options) -> Iterator[Job]:
    """Each contender writes files; an object that bpftool does not open is for none of them."""
    with tempfile.TemporaryDirectory() as scratch:
        corpus = sorted(_OBJECTS.glob("*.o"))
        objects = [path for path in corpus or _own(Path(scratch)) if _skeleton(path, Path(os.devnull))]
        ours = [sys.executable, "-P", "-m", "ebpf_codegen", "generate", *map(str, objects), "-d", f"{scratch}/bindings"]
        contenders: dict[str, Callable[[], Sample]] = {
            "bpftool gen skeleton, a process an object": partial(_skeletons, objects, Path(scratch)),
            "ebpf-codegen generate --jobs 1": partial(_timed, [*ours, "--jobs", "1"]),
            "ebpf-codegen generate": partial(_timed, ours),
            "ebpf-codegen generate --all-types": partial(_timed, [*ours, "--all-types"]),
        }
        reference = next(iter(contenders))
        bars = (Bar("ebpf-codegen generate --jobs 1", reference, 1.0), Bar("ebpf-codegen generate", reference, 1.0))
        origin = "of Debian packages" if corpus else "of probes and golden cases, for want of make corpus"
        yield Job(f"bindings of {len(objects)} objects {origin}", reference, contenders, bars if corpus else ())


def _own(scratch: Path) -> list[Path]:
    """Compile what there is without a network."""
    from ebpf_codegen.compiler import compile_object, find_compiler

    compiler = find_compiler()
    objects = []
    for source in (*_ROOT.glob("bpf/*.bpf.c"), *_ROOT.glob("tests/golden/[!r]*/case.bpf.c")):  # no refuse_…
        objects.append(scratch / f"{source.parent.name}_{source.name.removesuffix('.bpf.c')}.o")
        compile_object(compiler, source, objects[-1], "x86_64", [_ROOT / "bpf" / "include"])
    return objects


def _skeletons(objects: list[Path], scratch: Path) -> Sample:
    started = time.perf_counter()
    for path in objects:
        assert _skeleton(path, scratch / f"{path.stem}.skel.h")
    return Sample(time.perf_counter() - started)


def _skeleton(path: Path, target: Path) -> bool:
    with target.open("wb") as output:
        command = ["bpftool", "gen", "skeleton", str(path), "name", "any"]
        done = subprocess.run(command, env=_ENVIRONMENT, stdout=output, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _timed(command: list[str]) -> Sample:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)  # warnings of events without a type
    return Sample(time.perf_counter() - started)


@contextmanager
def regenerate(_options: Options) -> Iterator[Job]:
    """Each contender is a process; the clang run is the one that the probe's regeneration does for one architecture."""
    from ebpf_codegen.compiler import compile_object, find_compiler

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("bpf", "generated", "templates", "tools"):
            shutil.copytree(_ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        regen = [sys.executable, str(root / "tools" / "regen"), _PROBE]
        time.sleep(0.1)  # what is as new as its own regeneration is not taken for known
        for _ in range(2):
            subprocess.run(regen, check=True, stdout=subprocess.DEVNULL)
        compiler = find_compiler()

        def clang() -> Sample:
            started = time.perf_counter()
            source, include = root / "bpf" / f"{_PROBE}.bpf.c", [root / "bpf" / "include"]
            compile_object(compiler, source, root / "x.o", "x86_64", include)
            return Sample(time.perf_counter() - started)

        def allowance() -> Sample:
            return Sample(clang().seconds / 10 + _timed([sys.executable, "-c", "pass"]).seconds)

        allowed, unchanged = "a tenth of that, and the start of Python", "tools/regen, nothing changed"
        contenders: dict[str, Callable[[], Sample]] = {
            "clang, one architecture": clang,
            allowed: allowance,
            unchanged: partial(_timed, regen),
        }
        bars = (Bar(unchanged, allowed, 1.0),)
        yield Job("regenerating one probe", "clang, one architecture", contenders, bars)
