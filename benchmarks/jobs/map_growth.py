# SPDX-License-Identifier: Apache-2.0
"""Whether an entry costs the same in small maps and in large ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.jobs import Options
from benchmarks.jobs.map_dump import readers
from benchmarks.maps import SMALL, made
from benchmarks.peers import c_worker
from benchmarks.race import Bar, Job
from benchmarks.workers import python_worker

__all__ = ["growth"]


@contextmanager
def growth(options: Options) -> Iterator[Job]:
    with ExitStack() as stack:
        contenders = {}
        bars = []
        sizes = [options.entries // 100, options.entries // 10, options.entries]
        for entries in sizes:
            fd = stack.enter_context(made(SMALL, entries))
            c = stack.enter_context(c_worker("maps", fd, 4, 8, 1, entries, 0, files=(fd,)))
            c.run("fill")
            python = stack.enter_context(python_worker(readers, SMALL.name, fd, entries, files=(fd,)))
            contenders[f"C bpf_map_lookup_batch, {entries}"] = c.contender("dump")
            contenders[f"to_numpy(), {entries}"] = python.contender("columns")
            bars.append(Bar(f"to_numpy(), {entries}", f"C bpf_map_lookup_batch, {entries}", 1.3))
        yield Job(
            "the same map at three sizes",
            f"C bpf_map_lookup_batch, {sizes[0]}",
            contenders,
            tuple(bars),
            notes=["The kernel's own walk costs more an entry where the map no longer fits the caches"],
            checked=False,
        )
