# SPDX-License-Identifier: Apache-2.0
"""What the probes must not cost: nothing hangs on system calls, and statistics are on for moments only."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path
from shutil import which
from typing import Any

import pytest

import ebpf_probes
from ebpf_runtime import ObjectSpec

pytestmark = pytest.mark.kernel

# One of these slows every system call of the host, whichever it is on.
SYSCALL = re.compile(r"(?:tracepoint|tp)/(?:raw_)?syscalls/|(?:raw_tp|raw_tracepoint|tp_btf)(?:\.w)?/sys_e")
ON_SYSCALL = re.compile(r"^sys_(?:enter|exit)(?:_|$)")


def specs() -> list[tuple[ObjectSpec, Any]]:
    """Return the object and the class of each probe of the package."""
    found = []
    for item in pkgutil.iter_modules(ebpf_probes.__path__):
        module = importlib.import_module(f"ebpf_probes.{item.name}")
        (cls,) = [value for value in vars(module).values() if hasattr(value, "open_and_load")]
        found.append((module._OBJECT, cls))
    assert len(found) >= 3
    return found


def test_no_variant_hangs_on_a_syscall_tracepoint() -> None:
    sections = {program.section for spec, _ in specs() for program in spec.programs}
    assert len(sections) > 10
    assert [section for section in sections if SYSCALL.search(section)] == []
    assert SYSCALL.search("tp/syscalls/sys_enter_mmap")
    assert SYSCALL.search("tp_btf/sys_enter")
    assert SYSCALL.search("raw_tp/sys_exit")


def tracepoints() -> set[str]:
    """Return the tracepoints that this process has programs on, as bpftool tells it."""
    done = subprocess.run(["bpftool", "link", "show", "-j"], capture_output=True, text=True, check=True)
    ours = [item for item in json.loads(done.stdout) if os.getpid() in [pid["pid"] for pid in item.get("pids", [])]]
    return {item["tp_name"] for item in ours if "tp_name" in item} | {
        item["tracepoint"] for item in ours if "tracepoint" in item
    }


@pytest.mark.skipif(which("bpftool") is None, reason="the kernel is asked by bpftool, which is not installed")
def test_what_is_attached_hangs_on_no_syscall() -> None:
    for _, cls in specs():
        with cls.open_and_load() as probe:
            probe.attach()
            found = tracepoints()
            assert [name for name in found if ON_SYSCALL.match(name)] == []
            if probe.variant == "raw_tp":
                assert found == {"mark_victim"}  # bpftool does see them
    fds = {path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    assert "anon_inode:bpf-stats" not in fds


def test_statistics_are_on_for_moments_only(tmp_path: Path) -> None:
    settings = tmp_path / "collector.yaml"
    settings.write_text("checks:\n  ebpf:\n    statistics_window_seconds: 0.05\n")
    command = (sys.executable, "-P", "-m", "ebpf_collector", "check", "ebpf", "--interval", "1", "--count", "5")
    process = subprocess.Popen((*command, "--config", settings), stdout=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        seen.append(holds_statistics(process.pid))
        time.sleep(0.005)
    assert process.returncode == 0
    assert any(seen)  # the sampling was seen at all
    assert sum(seen) < len(seen) / 4


def holds_statistics(pid: int) -> bool:
    """Whether a process has the file descriptor that keeps statistics on."""
    try:
        return any(str(path.readlink()) == "anon_inode:bpf-stats" for path in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended, or closed a file in the meantime
        return False
