# SPDX-License-Identifier: Apache-2.0
"""What the probes must not cost: nothing hangs on system calls, and statistics are on for moments only."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path
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


@pytest.mark.any_kernel
def test_no_variant_hangs_on_a_syscall_tracepoint() -> None:
    sections = {program.section for spec, _ in specs() for program in spec.programs}
    assert len(sections) > 10
    assert [section for section in sections if SYSCALL.search(section)] == []
    assert SYSCALL.search("tp/syscalls/sys_enter_mmap")
    assert SYSCALL.search("tp_btf/sys_enter")
    assert SYSCALL.search("raw_tp/sys_exit")


def tracepoints(probe: Any) -> set[str]:
    """Return the raw tracepoints that a probe's links are on, as the kernel tells it of the file descriptors."""
    lines = [
        line
        for _, link in probe.links
        if link is not None
        for line in Path(f"/proc/self/fdinfo/{link.fd}").read_text().splitlines()
    ]
    return {line.split()[1] for line in lines if line.startswith("tp_name:")}


def test_what_is_attached_hangs_on_no_syscall() -> None:
    for _, cls in specs():
        with cls.open_and_load() as probe:
            probe.attach()
            found = tracepoints(probe)
            assert [name for name in found if ON_SYSCALL.match(name)] == []
            on_victims = [name for name, link in probe.links if link is not None and name.endswith("raw_tp")]
            assert (found == {"mark_victim"}) == bool(on_victims)  # the kernel does tell


@pytest.mark.any_kernel
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
