# SPDX-License-Identifier: Apache-2.0
"""How many files a process may open, made small for the time of a test."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["free_files"]


@contextmanager
def free_files(count: int) -> Iterator[None]:
    """Leave this process *count* file descriptors to open; all limits count numbers, not open files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = [fd for fd in range(limits[0]) if _is_open(fd)]
    limit = 0
    while limit - sum(fd < limit for fd in used) < count:
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
