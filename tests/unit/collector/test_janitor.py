# SPDX-License-Identifier: Apache-2.0
"""The process that cleans up after one that was killed, over folders that are no cgroups."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpf_collector.workloads.janitor import janitor


def killed_inside(paths: list[Path], controls: list[Path], work: Callable[[], None]) -> None:
    """Let a child do *work* inside the block, and kill it there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with janitor(paths, controls):
            work()
            os.write(writer, b"1")
            time.sleep(600)
        os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    # The janitor keeps no file of its parent's open, so the pipe has ended already.
    assert os.read(reader, 1) == b""
    os.close(reader)


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_after_a_kill_the_directories_go_and_the_controllers_are_disabled(tmp_path: Path) -> None:
    made, never_made = tmp_path / "made", tmp_path / "never-made"
    controls = [tmp_path / "control1", tmp_path / "missing" / "control2", tmp_path / "control3"]

    def work() -> None:
        made.mkdir()
        controls[0].write_text("+memory")

    killed_inside([never_made, made], controls, work)
    wait_until(lambda: controls[2].exists() and bool(controls[2].read_text()))
    assert not made.exists()
    assert [control.exists() and control.read_text() for control in controls] == ["-memory", False, "-memory"]


def test_what_is_inside_is_killed(tmp_path: Path) -> None:
    group = tmp_path / "group"
    victim = os.fork()
    if victim == 0:
        time.sleep(600)
        os._exit(1)

    def work() -> None:
        group.mkdir()
        (group / "cgroup.procs").write_text(f"{victim}\n")

    killed_inside([group], [], work)
    _, status = os.waitpid(victim, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    (group / "cgroup.procs").unlink()  # of a cgroup it would go with the directory
    wait_until(lambda: not group.exists())


def test_after_the_block_nothing_is_touched(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.write_text("+memory")
    before = children()
    with janitor([tmp_path / "group"], [control]):
        assert len(children() - before) == 1
    assert control.read_text() == "+memory"
    assert not children() - before


def test_what_the_block_could_not_remove_is_removed(tmp_path: Path) -> None:
    group = tmp_path / "group"
    with pytest.raises(ValueError, match="of the block"), janitor([group]):
        group.mkdir()
        raise ValueError("of the block")
    assert not group.exists()


def test_signals_to_the_group_do_not_end_it(tmp_path: Path) -> None:
    group = tmp_path / "group"

    def work() -> None:
        group.mkdir()
        for pid in children():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(int(pid), number)

    killed_inside([group], [], work)
    wait_until(lambda: not group.exists())
