# SPDX-License-Identifier: Apache-2.0
"""tools/regen does nothing where nothing has changed, everything where anything has, and again at every save."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebpf_codegen.compiler import Compiler, find_compiler

from .test_oom_kill import copy

PROBE = "oom_kill"


class Checkout:
    """A copy of the checkout, and a compiler that counts its runs."""

    def __init__(self, directory: Path, compiler: Compiler) -> None:
        self.root = copy(directory / "root")
        for path in (self.root / "bpf").glob("*.bpf.c"):
            if path.name != f"{PROBE}.bpf.c":
                path.unlink()
                (self.root / "generated" / "ebpf_probes" / path.name.replace(".bpf.c", ".py")).unlink()
        self.module = self.root / "generated" / "ebpf_probes" / f"{PROBE}.py"
        self.clang = directory / "clang"
        self.log = directory / "runs"
        self.log.touch()
        self.variables: dict[str, str] = {}
        self.clang.write_text(
            f'#!/bin/sh\ncase "$*" in *" -c "*) echo run >>"{self.log}";; esac\n'
            f'exec {" ".join(compiler.command)} "$@"\n'
        )
        self.clang.chmod(0o755)
        self.settle()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-B", str(self.root / "tools" / "regen"), *words]

    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            "EBPF_CLANG": str(self.clang),
            **self.variables,
        }

    def regen(self, *words: str) -> tuple[int, str, str, int]:
        """Run tools/regen; return its exit code, its outputs and how often the compiler ran."""
        before = len(self.log.read_text().splitlines())
        done = subprocess.run(self.command(*words), env=self.environment(), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr, len(self.log.read_text().splitlines()) - before

    def settle(self) -> None:
        """Let the files be older than what is made from them."""
        time.sleep(0.05)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path, find_compiler())


def edit(path: str, old: str, new: str) -> Callable[[Checkout], None]:
    def change(checkout: Checkout) -> None:
        file = checkout.root / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return change


def hide_a_header(checkout: Checkout) -> None:
    shutil.copy(checkout.root / "bpf" / "include" / "compat.bpf.h", checkout.root / "bpf" / "compat.bpf.h")


def another_compiler(checkout: Checkout) -> None:
    clang = checkout.clang.with_name("another")
    shutil.copy(checkout.clang, clang)
    checkout.clang = clang


def same_compiler_replaced(checkout: Checkout) -> None:
    text = checkout.clang.read_text()
    checkout.clang.unlink()
    checkout.clang.write_text(text + "# another\n")
    checkout.clang.chmod(0o755)


def cut_the_notes(checkout: Checkout) -> None:
    notes = checkout.root / "build" / "regen" / f"{PROBE}.notes"
    notes.write_bytes(notes.read_bytes()[:30])


def no_notes(checkout: Checkout) -> None:
    notes = checkout.root / "build" / "regen" / f"{PROBE}.notes"
    notes.write_bytes(b"\xff\x00")


# What is changed -> whether the module is written anew.
CHANGES: dict[str, tuple[Callable[[Checkout], object], bool]] = {
    "a header": (edit(f"bpf/{PROBE}.h", "__u32 victim_pid;", "__s32 victim_pid;"), True),
    "the source": (edit(f"bpf/{PROBE}.bpf.c", "#include", "/* new */\n#include"), True),
    "a header of the project": (edit("bpf/include/compat.bpf.h", "#define", "/* new */\n#define"), True),
    # What these print stays: an editable install may import the originals instead of the copies.
    "a template": (edit("templates/module.py.j2", "DO NOT EDIT.", "DO NOT {# new #}EDIT."), False),
    "the generator": (edit("tools/ebpf_codegen/render.py", "__all__ =", "# new\n__all__ ="), False),
    "the module": (lambda c: c.module.write_text("x = 1\n"), True),
    "the module is gone": (lambda c: c.module.unlink(), True),
    "a header that hides another": (hide_a_header, False),
    "another compiler": (another_compiler, False),
    "the same compiler, newer": (same_compiler_replaced, False),
    "where the compiler looks for headers": (lambda c: c.variables.update(CPATH="/nowhere"), False),
    "notes cut off": (cut_the_notes, False),
    "notes that are none": (no_notes, False),
}


def test_nothing_changed_and_everything_that_may(checkout: Checkout) -> None:
    assert checkout.regen(PROBE) == (0, "", "", 2)
    for words in ((PROBE,), (), (PROBE,)):
        assert checkout.regen(*words) == (0, "", "", 0)
    for name, (change, written) in CHANGES.items():
        change(checkout)
        checkout.settle()
        expected = (0, f"regen: wrote {PROBE}.py\n" if written else "", "", 2)
        assert checkout.regen(PROBE) == expected, name
        assert checkout.regen(PROBE) == (0, "", "", 0), name


def test_a_stale_module_beside_it_is_still_removed(checkout: Checkout) -> None:
    assert checkout.regen() == (0, "", "", 2)
    gone = checkout.module.with_name("gone.py")
    gone.write_text("x = 1\n")
    assert checkout.regen()[:3] == (0, "regen: removed gone.py\n", "")
    assert not gone.exists()


def test_what_is_saved_while_it_is_compiled_is_not_taken_for_compiled(checkout: Checkout) -> None:
    header = checkout.root / "bpf" / f"{PROBE}.h"
    checkout.clang.write_text(checkout.clang.read_text().replace("exec", f'touch "{header}"\nexec'))
    assert checkout.regen(PROBE) == (0, "", "", 2)
    assert checkout.regen(PROBE) == (0, "", "", 2)


def test_a_check_asks_no_notes(checkout: Checkout) -> None:
    """Even where notes say that a wrong module is current."""
    assert checkout.regen()[0] == 0
    notes = checkout.root / "build" / "regen" / f"{PROBE}.notes"
    right, wrong = checkout.module.read_text(), "x = 1\n"
    checkout.module.write_text(wrong)
    digest = subprocess.run(["sha256sum", checkout.module], capture_output=True, text=True, check=True).stdout[:64]
    forged = re.sub(rf"^\w+ (.*/{PROBE}\.py)$", rf"{digest} \1", notes.read_text(), flags=re.MULTILINE)
    notes.write_text(forged)
    assert checkout.regen(PROBE) == (0, "", "", 0)
    code, _, errors, runs = checkout.regen("--check")
    assert (code, runs) == (1, 2)
    assert errors.endswith(f"it is not what bpf/{PROBE}.bpf.c generates. Run tools/regen {PROBE}.\n")
    checkout.module.write_text(right)
    assert checkout.regen("--check") == (0, "", "", 2)


def test_check_and_watch_exclude_each_other(checkout: Checkout) -> None:
    code, _, errors, _ = checkout.regen("--check", "--watch")
    assert code == 2
    assert errors.endswith("regen: error: argument --watch: not allowed with argument --check\n")


@pytest.fixture
def watching(checkout: Checkout) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        checkout.command("--watch", PROBE),
        env=checkout.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(120)
def test_every_save_is_regenerated(checkout: Checkout, watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None
    read = watching.stdout.readline
    assert read() == f"regen: watching {PROBE}; Ctrl-C ends\n"
    assert read().startswith("regen: up to date after ")
    header = checkout.root / "bpf" / f"{PROBE}.h"
    good = header.read_text()

    header.write_text(good.replace("__u32 victim_pid;", "__s32 victim_pid;"))
    assert read() == f"regen: wrote {PROBE}.py\n"
    assert read().startswith("regen: up to date after ")
    assert "victim_pid: int = s32(" in checkout.module.read_text()

    header.write_text(good.replace("__u32 victim_pid;", "__u33 victim_pid;"))
    assert read().startswith(f"regen: compile {checkout.root}/bpf/{PROBE}.bpf.c for x86_64 with ")
    while "error: unknown type name '__u33'" not in (line := read()):
        assert line
    assert "s32(" in checkout.module.read_text()

    # As editors save: another file, renamed.
    scratch = header.with_name(f".{header.name}.swp")
    scratch.write_text(good)
    scratch.replace(header)
    while not (line := read()).startswith("regen: wrote"):
        assert line
    assert "victim_pid: int = u32(" in checkout.module.read_text()
    assert read().startswith("regen: up to date after ")

    # The generator itself: a new process goes on.
    edit("tools/ebpf_codegen/render.py", "__all__ =", "# new\n__all__ =")(checkout)
    assert read() == f"regen: watching {PROBE}; Ctrl-C ends\n"
    assert read().startswith("regen: up to date after ")

    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 0
    assert read() == ""
