# SPDX-License-Identifier: Apache-2.0
"""Real kills of children of ours, for tests that watch them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ebpf_collector.workloads.memory_cgroup import MemoryCgroup, memory_cgroup
from ebpf_collector.workloads.memory_hog import memory_hog

__all__ = ["LIMIT_BYTES", "Kill", "kill_one", "victims_cgroup"]

LIMIT_BYTES = 24 << 20


@dataclass(frozen=True)
class Kill:
    """What the test planted: the child's pid, its score adjust, its command name."""

    pid: int
    score_adj: int
    comm: str


@contextmanager
def victims_cgroup(limit_bytes: int = LIMIT_BYTES) -> Iterator[MemoryCgroup]:
    """A memory cgroup for children to die in."""
    with memory_cgroup(f"ebpf-test-{os.getpid()}-{time.monotonic_ns()}", limit_bytes) as group:
        yield group


def kill_one(group: MemoryCgroup, *, score_adj: int = 0, comm: str = "victim") -> Kill:
    """Let one child use up the group and be killed."""
    with memory_hog(group, use_bytes=4 * LIMIT_BYTES, score_adj=score_adj, comm=comm) as hog:
        hog.wait_killed(60)
        return Kill(hog.pid, score_adj, comm)
