# SPDX-License-Identifier: Apache-2.0
"""How many entries a hash map has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.jobs import Options
from benchmarks.maps import SMALL, made, opened
from benchmarks.peers import c_worker
from benchmarks.race import Bar, Job, Sample
from benchmarks.workers import python_worker

__all__ = ["count", "readers"]

_C = "C counting by bpf_map_lookup_batch"
_LENGTH = "len(m)"


@contextmanager
def count(options: Options) -> Iterator[Job]:
    with ExitStack() as stack:
        fd = stack.enter_context(made(SMALL, options.entries))
        c = stack.enter_context(c_worker("maps", fd, 4, 8, 1, options.entries, 0, files=(fd,)))
        c.run("fill")
        python = stack.enter_context(python_worker(readers, fd, options.entries, files=(fd,)))
        contenders = {_C: c.contender("count"), _LENGTH: python.contender("length")}
        yield Job(f"counting {options.entries} entries", _C, contenders, (Bar(_LENGTH, _C, 0.001),))


def readers(fd: str, entries: str) -> dict[str, Callable[[], Sample]]:
    return {"length": partial(_length, opened(SMALL, int(fd), int(entries)))}


def _length(entries: Any) -> Sample:
    started = time.perf_counter()
    found = len(entries)
    return Sample(time.perf_counter() - started, found)
