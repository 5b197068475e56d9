# SPDX-License-Identifier: Apache-2.0
"""The shipped probe: the same bytes wherever, whenever and with whatever compiler it is generated; tools/regen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf_codegen.compiler import Compiler

from .cases import ROOT

GENERATED = ROOT / "generated" / "ebpf_probes"
FILES = (
    "oom_kill.arm64.bpf.o", "oom_kill.flat.c", "oom_kill.py", "oom_kill.sha256", "oom_kill.x86_64.bpf.o",
)  # fmt: skip


def copy(directory: Path) -> Path:
    """Copy what code is generated from and with."""
    for name in ("bpf", "generated", "templates", "tools"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-B", *map(str, command)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_bytes_depend_on_neither_place_nor_hash_seed(compiler: Compiler, tmp_path: Path) -> None:
    clang = tmp_path / "clang"
    clang.write_text(f'#!/bin/sh\nexec {" ".join(compiler.command)} "$@"\n')
    clang.chmod(0o755)
    places = [copy(tmp_path / "one"), copy(tmp_path / "another place")]
    outputs = []
    for number, seed in enumerate(("0", "1", "4294967295")):
        root, output = places[number % 2], tmp_path / f"output{number}"
        done = run(
            *(root / "tools" / "ebpf_codegen" / "__main__.py", "build", root / "bpf" / "oom_kill.bpf.c"),
            *("--include", root / "bpf" / "include", "--generated", root / "generated" / "ebpf_probes"),
            *("--output", output, "--depfile", tmp_path / f"{number}.d"),
            EBPF_CLANG=str(clang),
            PYTHONHASHSEED=seed,
        )
        assert done.returncode == 0, done.stderr
        assert tuple(sorted(path.name for path in output.iterdir())) == FILES
        outputs.append({name: (output / name).read_bytes() for name in FILES})
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0]["oom_kill.py"] == (GENERATED / "oom_kill.py").read_bytes()
    for name, data in outputs[0].items():
        assert str(tmp_path).encode() not in data, name
    prerequisites = (tmp_path / "1.d").read_text()
    assert str(places[1] / "bpf" / "oom_kill.h").replace(" ", "\\ ") in prerequisites


def test_the_command_refuses_drift_with_a_diff(tmp_path: Path) -> None:
    root = copy(tmp_path / "root")
    header = root / "bpf" / "oom_kill.h"
    header.write_text(header.read_text().replace("victim_comm[16]", "victim_comm[32]"))
    done = run(
        *(root / "tools" / "ebpf_codegen" / "__main__.py", "build", root / "bpf" / "oom_kill.bpf.c"),
        *("--include", root / "bpf" / "include", "--generated", root / "generated" / "ebpf_probes"),
        *("--output", tmp_path / "output"),
    )
    assert done.returncode == 1
    assert "+    victim_comm: str = text(68, 32)\n" in done.stderr
    module = root / "generated" / "ebpf_probes" / "oom_kill.py"
    assert done.stderr.endswith(
        f"ebpf-codegen: compare {module}: it is not what bpf/oom_kill.bpf.c generates. Run tools/regen oom_kill.\n"
    )
    assert not (tmp_path / "output").exists()


def test_a_refused_source_is_no_traceback(tmp_path: Path) -> None:
    root = copy(tmp_path / "root")
    source = root / "bpf" / "oom_kill.bpf.c"
    source.write_text(source.read_text() + "this is no C;\n")
    done = run(root / "tools" / "regen", "--check")
    assert done.returncode == 1
    assert done.stderr.startswith(f"regen: compile {source} for x86_64 with ")
    assert "error: unknown type name 'this'" in done.stderr
    assert "Traceback" not in done.stderr


# tools/regen

PROBES = sorted(path.name.removesuffix(".bpf.c") for path in (ROOT / "bpf").glob("*.bpf.c"))


def test_the_tree_is_current() -> None:
    done = run(ROOT / "tools" / "regen", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_regen_checks_and_rewrites(tmp_path: Path) -> None:
    root = copy(tmp_path / "root")
    regen, generated = root / "tools" / "regen", root / "generated" / "ebpf_probes"
    module = generated / "oom_kill.py"
    header = root / "bpf" / "oom_kill.h"
    header.write_text(header.read_text().replace("__u32 victim_pid;", "__s32 victim_pid;"))
    before = module.read_bytes()

    done = run(regen, "--check")
    assert done.returncode == 1
    assert "-    victim_pid: int = u32(40)\n+    victim_pid: int = s32(40)\n" in done.stdout
    assert done.stderr == (
        f"regen: compare {module}: it is not what bpf/oom_kill.bpf.c generates. Run tools/regen oom_kill.\n"
    )
    assert module.read_bytes() == before

    done = run(regen, "oom_kill")
    assert (done.returncode, done.stdout, done.stderr) == (0, "regen: wrote oom_kill.py\n", "")
    assert b"    victim_pid: int = s32(40)\n" in module.read_bytes()
    assert run(regen, "--check").returncode == 0
    done = run(regen)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_stale_module_and_package_are_reported_and_removed(tmp_path: Path) -> None:
    root = copy(tmp_path / "root")
    regen, generated = root / "tools" / "regen", root / "generated" / "ebpf_probes"
    gone, package = generated / "gone.py", generated / "__init__.py"
    gone.write_text("x = 1\n")
    expected = package.read_bytes()
    package.write_text("")
    done = run(regen, "--check")
    assert done.returncode == 1
    assert done.stderr == (
        f"regen: {package} is out of date. Run tools/regen.\nregen: {gone} has no source in bpf/. Run tools/regen.\n"
    )
    assert gone.exists()
    done = run(regen)
    assert (done.returncode, done.stdout) == (0, "regen: removed gone.py\n")
    assert not gone.exists()
    assert package.read_bytes() == expected
    modules = {f"{name}.py" for name in PROBES}
    assert {path.name for path in generated.iterdir()} == {"__init__.py", "py.typed", *modules}


@pytest.mark.parametrize("arguments", [["none"], ["oom_kill", "none"], ["--check", "none"]])
def test_an_unknown_probe_is_a_usage_error(arguments: list[str]) -> None:
    done = run(ROOT / "tools" / "regen", *arguments)
    assert done.returncode == 2
    assert done.stderr.endswith(f"regen: error: there is no bpf/none.bpf.c; there are {', '.join(PROBES)}\n")
