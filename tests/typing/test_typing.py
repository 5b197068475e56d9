# SPDX-License-Identifier: Apache-2.0
"""What type checkers see: right uses pass `mypy --strict`, wrong ones are told apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
from typing import assert_type
from ebpf_probes.oom_kill import OomKill, OomKillConstraint, OomKillEvent, OpenOomKill
from ebpf_runtime import PerCpuArrayMap, Program, RingBuffer, fields, sizeof

opened = OomKill.open()
assert_type(opened, OpenOomKill)
assert_type(opened.rodata.scan_stack, bool)
opened.rodata.scan_stack = False
with opened.load() as probe:
    assert_type(probe, OomKill)
    assert_type(probe.attach(), OomKill)
    assert_type(probe.maps.oom_events, RingBuffer[OomKillEvent])
    assert_type(probe.maps.oom_lost, PerCpuArrayMap[int])
    assert_type(probe.maps.oom_lost[0], tuple[int, ...])
    assert_type(probe.programs.oom_kill_raw_tp, Program)
    assert_type(probe.variant, str)
    for event in probe.maps.oom_events.poll(timeout=1.0):
        assert_type(event, OomKillEvent)
        assert_type(event.victim_comm, str)
        assert_type(event.constraint, OomKillConstraint)
        assert_type(event.raw("victim_comm"), bytes)
        assert_type(event.replace(score_adj=1), OomKillEvent)
assert_type(sizeof(OomKillEvent), int)
print([field.name for field in fields(OomKillEvent)])
"""

MAPS = """
from typing import assert_type
from ebpf_runtime import (
    ArrayMap, ArrayOfMaps, DeviceMap, HashMap, HashOfMaps, LpmTrieMap, Map, PerCpuHashMap, QueueMap, TaskStorageMap,
)

def use(
    array: ArrayMap[int], array_of: ArrayOfMaps[HashMap[int, str]], hash_of: HashOfMaps[int, HashMap[int, str]],
    any_of: ArrayOfMaps, trie: LpmTrieMap[bytes, int], queue: QueueMap[int], tasks: TaskStorageMap[int],
    devices: DeviceMap, per_cpu: PerCpuHashMap[int, float],
) -> None:
    assert_type(list(array), list[int])
    with array_of[1] as inner:
        assert_type(inner[5], str)
    assert_type(hash_of[1][2], str)
    assert_type(hash_of.get(1), HashMap[int, str] | None)
    assert_type(list(hash_of.keys()), list[int])
    assert_type(any_of[0], Map)
    assert_type(trie[trie.prefix("10.0.0.0/8")], int)
    assert_type(queue.pop(), int | None)
    assert_type(tasks[5], int)
    assert_type(tasks.get(5), int | None)
    assert_type(tasks.get(5, 0.5), int | float)
    devices[1] = "eth0"
    assert_type(devices[1].target, int)
    assert_type(per_cpu.sum(1), float)
    assert_type(dict(per_cpu.items()), dict[int, tuple[float, ...]])
"""

WRONG = {
    "OomKillEvent(victim_pid=1)": "Missing named argument",
    "event.victim_pid = 2": "is read-only",
    "event.victim_name": 'has no attribute "victim_name"',
    "opened.rodata.scan_stack = 'no'": "Incompatible types in assignment",
    "opened.maps": 'has no attribute "maps"',
    "probe.maps.nosuch.fd": 'has no attribute "nosuch"',
    "OomKill.open(3)": "incompatible type",
}
_BEFORE = """
from ebpf_probes.oom_kill import OomKill, OomKillEvent
opened = OomKill.open()
probe = opened.load()
event = OomKillEvent.zeroed()
"""


def mypy(tmp_path: Path, *sources: str) -> str:
    """Return what mypy says of scripts, checked together."""
    paths = []
    for number, source in enumerate(sources):
        paths.append(tmp_path / f"script{number}.py")
        paths[-1].write_text(source)
    command = [
        sys.executable,
        "-P",
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path}",
        *map(str, paths),
    ]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout


def test_right_uses_pass(tmp_path: Path) -> None:
    assert mypy(tmp_path, RIGHT, MAPS).startswith("Success: no issues found in 2 source files")


def test_wrong_uses_are_told_apart(tmp_path: Path) -> None:
    answers = mypy(tmp_path, *(f"{_BEFORE}{wrong}\n" for wrong in WRONG)).splitlines()
    for number, (wrong, expected) in enumerate(WRONG.items()):
        found = [line for line in answers if line.startswith(f"script{number}.py")]
        if not any(expected in line for line in found):
            pytest.fail(f"{wrong}: mypy says {found}, not {expected!r}")
