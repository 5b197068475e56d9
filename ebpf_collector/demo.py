# SPDX-License-Identifier: Apache-2.0
"""A kill made on purpose, and the check `oom_kill` that must see it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ebpf_collector.checks import Check
from ebpf_collector.errors import WorkloadError
from ebpf_collector.senders import Event, Sender
from ebpf_collector.stop import signals_held
from ebpf_collector.workloads.memory_cgroup import memory_cgroup
from ebpf_collector.workloads.memory_hog import memory_hog

__all__ = ["run_demo"]

_LIMIT_BYTES = 32 << 20
_SCORE_ADJ = 300
_COMM = "ebpf-demo-hog"
_EVENT_TIMEOUT_S = 5.0
# Linux, include/linux/proc_ns.h: the inode number of the first PID namespace.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"


def run_demo(check: Check, sender: Sender, say: Callable[[str], None]) -> None:
    """Have the kernel kill a child in a cgroup of its own, and show what *check* says about it.

    Args:
        check: The check `oom_kill`, not started; it is closed at the end.
        say: Takes lines for the reader: what is about to happen, and the child's process id.
    Raises:
        WorkloadError: The kill could not be made, or the check did not report it.
        EbpfError: The probe could not be loaded or attached.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM came; cgroup and child are gone.
    """
    with _terminable():
        try:
            with signals_held():
                check.start()
            pid = _kill_one(say)
            _report(check, sender, pid)
        finally:
            with signals_held():
                check.close()


def _kill_one(say: Callable[[str], None]) -> int:
    with memory_cgroup(f"ebpf-collector-demo-{os.getpid()}", _LIMIT_BYTES) as group:
        say(f"memory cgroup {group.path}: version {group.version}, limit {_LIMIT_BYTES >> 20} MiB")
        with memory_hog(group, use_bytes=4 * _LIMIT_BYTES, score_adj=_SCORE_ADJ, comm=_COMM) as hog:
            say(f"forked child: pid {hog.pid}, using memory until the kernel kills it")
            hog.wait_killed()
        say(f"child {hog.pid} was killed; the check reports:")
        return hog.pid


def _report(check: Check, sender: Sender, pid: int) -> None:
    watcher = _Watcher(sender, pid)
    deadline = time.monotonic() + _EVENT_TIMEOUT_S
    while True:
        with signals_held():
            check.run(watcher)
            watcher.commit()
        if watcher.seen:
            return
        if time.monotonic() > deadline:
            break
        # The killer may still be on its way to the hook when the victim is already gone.
        time.sleep(0.2)
    remedy = "Compare with the kernel log."
    if str(Path("/proc/self/ns/pid").readlink()) != _INITIAL_PID_NAMESPACE:
        remedy = "Run it in the host's PID namespace: the probe reports the host's process ids."
    raise WorkloadError(f"find the kill of process {pid}", "the check sent no event with that victim_tgid", remedy)


class _Watcher:
    """Passes everything on and notes whether the victim was named."""

    def __init__(self, sender: Sender, pid: int) -> None:
        self.seen = False
        self._pid = pid
        self.gauge = sender.gauge
        self.count = sender.count
        self.monotonic_count = sender.monotonic_count
        self.commit = sender.commit
        self._event = sender.event

    def event(self, event: Event) -> None:
        self.seen |= event.fields.get("victim_tgid") == self._pid
        self._event(event)


@contextmanager
def _terminable() -> Iterator[None]:
    # SIGTERM takes the way of Ctrl-C, so that it leaves no cgroup behind either.
    def interrupt(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
