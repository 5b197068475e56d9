# SPDX-License-Identifier: Apache-2.0
"""The forked child: how its end is told, and that it never outlives its block. No cgroup is used."""

import os
import signal
from pathlib import Path

import pytest

from ebpf_collector.errors import WorkloadError
from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_collector.workloads.memory_hog import MemoryHog, memory_hog

OWN_SCORE_ADJ = int(Path("/proc/self/oom_score_adj").read_text())


def waiting_for_ever(directory: Path) -> MemoryCgroup:
    """Return what looks like a cgroup; whoever moves itself in waits until it is killed."""
    os.mkfifo(directory / "cgroup.procs")
    return MemoryCgroup(directory, 2)


def gone(hog: MemoryHog) -> bool:
    return not Path(f"/proc/{hog.pid}").exists()


def test_child_killed_by_sigkill(tmp_path: Path) -> None:
    with memory_hog(waiting_for_ever(tmp_path), use_bytes=1, score_adj=OWN_SCORE_ADJ) as hog:
        os.kill(hog.pid, signal.SIGKILL)
        hog.wait_killed()
    assert gone(hog)


def test_child_killed_otherwise(tmp_path: Path) -> None:
    with memory_hog(waiting_for_ever(tmp_path), use_bytes=1, score_adj=OWN_SCORE_ADJ) as hog:
        os.kill(hog.pid, signal.SIGUSR1)
        with pytest.raises(WorkloadError) as caught:
            hog.wait_killed()
    assert str(caught.value) == (
        f"wait for the kernel to kill process {hog.pid}: ended by signal {int(signal.SIGUSR1)}. Run the command again."
    )


def test_child_that_lives_on(tmp_path: Path) -> None:
    with memory_hog(waiting_for_ever(tmp_path), use_bytes=1, score_adj=OWN_SCORE_ADJ) as hog:
        with pytest.raises(WorkloadError) as caught:
            hog.wait_killed(timeout_s=0.05)
        assert not gone(hog)
    assert str(caught.value) == (
        f"wait for the kernel to kill process {hog.pid}: still alive after 0.05 s. "
        "Look for the state of its cgroup in the kernel log."
    )
    assert gone(hog)


def test_child_that_is_not_killed(tmp_path: Path) -> None:
    # A plain file takes what is written to it, and limits nothing.
    with (
        memory_hog(MemoryCgroup(tmp_path, 2), use_bytes=3 << 20, score_adj=OWN_SCORE_ADJ) as hog,
        pytest.raises(WorkloadError) as caught,
    ):
        hog.wait_killed()
    assert str(caught.value) == (
        f"wait for the kernel to kill process {hog.pid}: its cgroup's limit was passed and nothing happened. "
        "Look for the cgroup's memory.oom_control or memory.max."
    )
    assert (tmp_path / "cgroup.procs").read_text() == "0"


def test_child_that_cannot_start(tmp_path: Path) -> None:
    with (
        memory_hog(MemoryCgroup(tmp_path / "absent", 2), use_bytes=1, score_adj=OWN_SCORE_ADJ) as hog,
        pytest.raises(WorkloadError) as caught,
    ):
        hog.wait_killed()
    assert str(caught.value) == (
        f"wait for the kernel to kill process {hog.pid}: it could not start: ENOENT, no such file or directory. "
        "Run as root."
    )


def test_child_is_gone_after_an_exception(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        memory_hog(waiting_for_ever(tmp_path), use_bytes=1, score_adj=OWN_SCORE_ADJ) as hog,
    ):
        raise KeyboardInterrupt
    assert gone(hog)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_child_has_the_name_and_score_it_was_given(tmp_path: Path) -> None:
    group = waiting_for_ever(tmp_path)
    score_adj = min(OWN_SCORE_ADJ + 7, 1000)
    with memory_hog(group, use_bytes=1, score_adj=score_adj, comm="hog-17") as hog:
        # The child opens the pipe when both are set, and this call waits for it. Should it end
        # after that, it stays readable until it is waited for.
        (group.path / "cgroup.procs").open("rb").close()
        assert Path(f"/proc/{hog.pid}/comm").read_text() == "hog-17\n"
        assert Path(f"/proc/{hog.pid}/oom_score_adj").read_text() == f"{score_adj}\n"
