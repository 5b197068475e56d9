# SPDX-License-Identifier: Apache-2.0
"""A process that removes a cgroup, and undoes what it took to make it, if its maker is killed before it can."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

__all__ = ["janitor"]

_TIMEOUT_S = 30.0
_DONE = b"."
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def janitor(paths: Sequence[Path], controls: Sequence[Path] = ()) -> Iterator[None]:
    """Have a child process wait for the end of this block, or of this process, whichever comes first.

    In the latter case nobody else can clean up, as after SIGKILL: the child then kills what is in those of the
    cgroups *paths* that exist, removes them, and disables the memory controller in *controls*. It does so, too, where
    a cgroup is still there when the block has ended.

    Args:
        controls: Files `cgroup.subtree_control` in which the controller was not enabled before the block.
    """
    reader, writer = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        pid = os.fork()
        if pid == 0:
            _wait_and_clean(reader, paths, controls)
        os.close(reader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        if not any(path.exists() for path in paths):
            os.write(writer, _DONE)
        os.close(writer)
        os.waitpid(pid, 0)


def _wait_and_clean(reader: int, paths: Sequence[Path], controls: Sequence[Path]) -> NoReturn:
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        # The only file it keeps: what it inherited, probes among it, must end with its parent.
        os.dup2(reader, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        if os.read(0, 1) == _DONE:
            os._exit(0)
        deadline = time.monotonic() + _TIMEOUT_S
        for path in paths:
            while path.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    for pid in (path / "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                with contextlib.suppress(OSError):
                    path.rmdir()
                time.sleep(0.01)
        for control in controls:
            with contextlib.suppress(OSError):
                control.write_text("-memory")
    finally:
        os._exit(0)
