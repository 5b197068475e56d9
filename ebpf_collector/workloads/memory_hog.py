# SPDX-License-Identifier: Apache-2.0
"""Child processes that use up a memory cgroup until the kernel kills them."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from ebpf_collector.errors import WorkloadError, describe_errno
from ebpf_collector.stop import STOP_SIGNALS
from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_runtime import signals_held

__all__ = ["MemoryHog", "memory_hog"]

_CHUNK_BYTES = 1 << 20
# Above every error number; those tell why the child could not start.
_EXIT_NOT_KILLED = 250


class MemoryHog:
    """A forked child; made by `memory_hog()`."""

    def __init__(self, pid: int) -> None:
        """Stand for the child *pid*, which is not waited for yet."""
        self.pid = pid
        self._status: int | None = None

    def wait_killed(self, timeout_s: float = 30.0) -> None:
        """Return when the child was killed by SIGKILL.

        Raises:
            WorkloadError: It ended otherwise, or was still alive after *timeout_s* seconds.
        """
        action = f"wait for the kernel to kill process {self.pid}"
        deadline = time.monotonic() + timeout_s
        while not self._ended():
            if time.monotonic() > deadline:
                raise WorkloadError(
                    action,
                    f"still alive after {timeout_s:g} s",
                    "Look for the state of its cgroup in the kernel log.",
                )
            time.sleep(0.005)
        assert self._status is not None
        if os.WIFSIGNALED(self._status):
            number = os.WTERMSIG(self._status)
            if number != signal.SIGKILL:
                raise WorkloadError(action, f"ended by signal {number}", "Run the command again.")
            return
        code = os.WEXITSTATUS(self._status)
        if code == _EXIT_NOT_KILLED:
            raise WorkloadError(
                action,
                "its cgroup's limit was passed and nothing happened",
                "Look for the cgroup's memory.oom_control or memory.max.",
            )
        raise WorkloadError(action, f"it could not start: {describe_errno(code)}", "Run as root.")

    def end(self) -> None:
        """Kill the child if it is alive, and wait for it."""
        if not self._ended():
            os.kill(self.pid, signal.SIGKILL)
            _, self._status = os.waitpid(self.pid, 0)

    def _ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None


@contextmanager
def memory_hog(
    group: MemoryCgroup, *, use_bytes: int, score_adj: int = 0, comm: str | None = None
) -> Iterator[MemoryHog]:
    """Fork a child that moves itself into *group* and uses memory; it is gone after the block.

    Args:
        use_bytes: How much it uses at most; well above the group's limit for a certain kill.
        score_adj: Its oom_score_adj, -1000 to 1000; below the caller's own needs privileges.
        comm: Its name, at most 15 bytes; None leaves the caller's.
    """
    # No interrupt may come between the fork and the two `try` that follow it: it would lose the
    # parent its child, and run the parent's handlers in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    hog = None
    try:
        pid = os.fork()
        if pid == 0:
            _child(group, mask, use_bytes, score_adj, comm)
        hog = MemoryHog(pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield hog
    finally:
        if hog is not None:
            with signals_held():
                hog.end()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _child(
    group: MemoryCgroup,
    mask: Iterable[int],
    use_bytes: int,
    score_adj: int,
    comm: str | None,
) -> NoReturn:
    code = _EXIT_NOT_KILLED
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if comm is not None:
            Path("/proc/self/comm").write_text(comm)
        Path("/proc/self/oom_score_adj").write_text(str(score_adj))
        group.add_self()
        content = b"\1" * _CHUNK_BYTES
        chunks = []
        for _ in range(0, use_bytes, _CHUNK_BYTES):
            chunk = mmap.mmap(-1, _CHUNK_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            chunk.write(content)
            chunks.append(chunk)
    except OSError as error:
        code = error.errno or _EXIT_NOT_KILLED
    finally:
        os._exit(code)
