# SPDX-License-Identifier: Apache-2.0
"""A process that removes a cgroup if the one that made it is killed before it can."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

__all__ = ["janitor"]

_TIMEOUT_S = 30.0
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def janitor(path: Path) -> Iterator[None]:
    """Have a child process wait for the end of this block, or of this process, whichever comes first.

    In the latter case nobody else can clean up, as after SIGKILL: the child then kills what is in the cgroup *path*
    and removes it.
    """
    reader, writer = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        pid = os.fork()
        if pid == 0:
            _wait_and_clean(reader, path)
        os.close(reader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


def _wait_and_clean(reader: int, path: Path) -> NoReturn:
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        # The only file it keeps: what it inherited, probes among it, must end with its parent.
        os.dup2(reader, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        os.read(0, 1)
        deadline = time.monotonic() + _TIMEOUT_S
        while path.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                for pid in (path / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                path.rmdir()
            time.sleep(0.01)
    finally:
        os._exit(0)
