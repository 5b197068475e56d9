# SPDX-License-Identifier: Apache-2.0
"""One entry at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.jobs import Options
from benchmarks.maps import SMALL, made, opened
from benchmarks.peers import bcc_notes, bcc_worker, c_worker
from benchmarks.race import Bar, Job, Sample, Yardstick
from benchmarks.workers import python_worker

__all__ = ["lookup", "readers"]

_C = "C bpf_map_lookup_elem"
_LOOKUP = "m[k]"
_BCC = "bcc t[k]"
_ENTRIES = 100_000
_LOOKUPS = 2_000
_SLICES = 20  # of a round; the fastest counts, for a lookup is so short that neighbours disturb most long runs


@contextmanager
def lookup(_options: Options) -> Iterator[Job]:
    with ExitStack() as stack:
        fd = stack.enter_context(made(SMALL, _ENTRIES))
        c = stack.enter_context(c_worker("maps", fd, 4, 8, 1, _ENTRIES, _LOOKUPS, files=(fd,)))
        c.run("fill")
        python = stack.enter_context(python_worker(readers, fd, files=(fd,)))
        bcc = stack.enter_context(bcc_worker("maps_bcc", SMALL.name, _ENTRIES, _LOOKUPS))
        contenders = {_C: _fastest(c.contender("lookup")), _LOOKUP: _fastest(python.contender("lookup"))}
        if bcc:
            contenders[_BCC] = _fastest(bcc.contender("lookup"))
        yield Job(
            f"{_LOOKUPS} lookups, the fastest of {_SLICES} a round, in a hash of {_ENTRIES} entries of 4 + 8 bytes",
            _C,
            contenders,
            (Bar(_LOOKUP, _C, 1.9), Bar(_LOOKUP, _BCC, 1)),
            Yardstick(_BCC, _C, 1.92),
            bcc_notes(),
        )


def _fastest(run: Callable[[], Sample]) -> Callable[[], Sample]:
    return lambda: min(run() for _ in range(_SLICES))


def readers(fd: str) -> dict[str, Callable[[], Sample]]:
    return {"lookup": partial(_lookup, opened(SMALL, int(fd), _ENTRIES))}


def _lookup(entries: Any) -> Sample:
    total = 0
    started = time.perf_counter()
    for key in range(_LOOKUPS):
        total += entries[key]
    return Sample(time.perf_counter() - started, total)
