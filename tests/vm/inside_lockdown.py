# SPDX-License-Identifier: Apache-2.0
"""What the collector says where the kernel is locked down for confidentiality; run inside such a guest."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

PROBES = {"oom_kill": "oom_kill", "tcp_queue_length": "tcp_queue_length", "ebpf": "ebpf_inventory"}


def collector(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "ebpf_collector", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def denied(probe: str) -> str:
    return (
        f"load probe {probe!r}: EINVAL, the kernel is locked down for confidentiality, so no program may read its "
        "memory. Boot it with lockdown=integrity, or without."
    )


def test_lockdown_is_not_permitted_to_the_collector() -> None:
    check = collector("check", "all", "--interval", "1")
    assert set(check.stderr.splitlines()) == {
        f"ebpf-collector: check {name}: {denied(probe)}" for name, probe in PROBES.items()
    }
    assert check.returncode == 3
    doctor = collector("doctor")
    lines = doctor.stdout.splitlines()
    assert "  lockdown          confidentiality" in lines
    assert [line for line in lines if line.endswith("not permitted")] == [
        f"  {probe:16}  not permitted" for probe in sorted(PROBES.values())
    ]
    assert {f"    error           {denied(probe)}" for probe in PROBES.values()} <= set(lines)
    assert (doctor.returncode, doctor.stderr) == (3, "")
