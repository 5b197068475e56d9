# SPDX-License-Identifier: Apache-2.0
"""The jobs, one module each (or one for jobs of one kind): name, and the function that sets the race up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Final, cast

from benchmarks.race import Job

__all__ = ["JOBS", "Options", "job"]


@dataclass(frozen=True)
class Options:
    """How large the jobs are: entries of a map, maps of the system, records of a stream."""

    entries: int = 1_000_000
    maps: int = 1_000
    records: int = 200_000


# name: (module of this package, function)
JOBS: Final = {
    "start-up": ("start_up", "start_up"),
    "start-up-memory": ("start_up", "memory"),
    "map-dump": ("map_dump", "small"),
    "map-dump-big": ("map_dump", "big"),
    "map-dump-per-cpu": ("map_dump", "per_cpu"),
    "map-lookup": ("map_lookup", "lookup"),
    "map-count": ("map_count", "count"),
    "map-growth": ("map_growth", "growth"),
    "inventory": ("inventory", "inventory"),
    "fallback": ("fallback", "fallback"),
    "ring-buffer": ("streams", "ring"),
    "ring-buffer-mixed": ("streams", "mixed"),
    "perf-buffer": ("streams", "perf"),
    "stream-growth": ("streams", "growth"),
    "generate": ("codegen", "generate"),
    "regenerate": ("codegen", "regenerate"),
    "overhead": ("overhead", "overhead"),
}


def job(name: str) -> Callable[[Options], AbstractContextManager[Job]]:
    """Return the function that sets a job up, and takes it down after the race."""
    module, function = JOBS[name]
    made = getattr(import_module(f"benchmarks.jobs.{module}"), function)
    return cast("Callable[[Options], AbstractContextManager[Job]]", made)
