# SPDX-License-Identifier: Apache-2.0
"""A stalled reader and a kill made on purpose, and the checks that must see them and each other's probes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ebpf_collector.checks import Check
from ebpf_collector.errors import WorkloadError
from ebpf_collector.senders import Event, Sender
from ebpf_collector.stop import terminable
from ebpf_collector.workloads.memory_cgroup import memory_cgroup
from ebpf_collector.workloads.memory_hog import memory_hog
from ebpf_collector.workloads.stalled_reader import Queue, StalledReader, stalled_reader
from ebpf_runtime import signals_held

__all__ = ["run_demo"]

_LIMIT_BYTES = 32 << 20
_SCORE_ADJ = 300
_COMM = "ebpf-demo-hog"
_EVENT_TIMEOUT_S = 5.0
# Linux, include/linux/proc_ns.h: the inode number of the first PID namespace.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"


def run_demo(oom_kill: Check, tcp_queue_length: Check, ebpf: Check, sender: Sender, say: Callable[[str], None]) -> None:
    """Let data queue up in a connection, have the kernel kill a child, and show what the checks say.

    Args:
        oom_kill: The check of this name, not started; it is closed at the end.
        tcp_queue_length: The same. It must have the native scheme: the demo is no container.
        ebpf: The same, and native, too: of what it finds, the demo shows the sums by module.
        say: Takes lines for the reader: what is about to happen, and the child's process id.
    Raises:
        WorkloadError: A workload could not be made, or the check did not report it.
        EbpfError: A probe could not be loaded or attached.
        KeyboardInterrupt, SystemExit: SIGINT, SIGTERM or SIGHUP came; cgroup and child are gone.
    """
    with terminable():
        with _started(tcp_queue_length):
            _show_queues(tcp_queue_length, sender, say)
        with _started(oom_kill):
            pid = _kill_one(say)
            _report(oom_kill, sender, pid)
            with _started(ebpf):
                _show_inventory(ebpf, oom_kill.name, sender, say)


@contextmanager
def _started(check: Check) -> Iterator[None]:
    try:
        with signals_held():
            check.start()
        yield
    finally:
        with signals_held():
            check.close()


def _show_queues(check: Check, sender: Sender, say: Callable[[str], None]) -> None:
    with stalled_reader() as connection:
        say(f"loopback connection to port {connection.port}: writing, and never reading, until nothing more fits")
        connection.fill()
        queues = connection.receive_queue(), connection.send_queue()
        say(f"receive queue {_described(queues[0])}, send queue {_described(queues[1])}; the check reports:")
        _report_queues(check, sender, connection, queues)


def _described(queue: Queue) -> str:
    return f"{queue.queued_bytes} of {queue.buffer_bytes} bytes"


def _report_queues(check: Check, sender: Sender, connection: StalledReader, queues: tuple[Queue, Queue]) -> None:
    watcher = _GaugeWatcher(sender)
    with signals_held():
        check.run(watcher)
        watcher.commit()
    for name, queue in zip(("read", "write"), queues, strict=True):
        metric = f"tcp_queue.{name}_queue_max_bytes"
        if watcher.highest.get(metric, 0) < queue.queued_bytes:
            raise WorkloadError(
                f"find the connection to port {connection.port}",
                f"the check sent no {metric} of {queue.queued_bytes} or more",
                "Compare with ss -tnm.",
            )


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


def _show_inventory(check: Check, module: str, sender: Sender, say: Callable[[str], None]) -> None:
    say("maps and programs of the system by module, with the probes of this demo; the check reports:")
    sums = _ModuleSums(sender)
    with signals_held():
        check.run(sums)
        sums.commit()
    if f"module:{module}" not in sums.modules:
        raise WorkloadError(
            f"find the maps of the probe {module}",
            "the check sent no ebpf.maps.count of this module",
            "Compare with bpftool map show.",
        )


class _ModuleSums:
    """Passes on what is said of a module as a whole, and notes the modules with maps."""

    def __init__(self, sender: Sender) -> None:
        self.modules: set[str] = set()
        self._gauge = sender.gauge
        self.commit = sender.commit

    def gauge(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        module, *others = tags or ("",)
        if not module.startswith("module:") or any(not tag.startswith("variant:") for tag in others):
            return  # of one map or program
        if name == "ebpf.maps.count":
            self.modules.add(module)
        self._gauge(name, value, tags)

    def count(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        """Nothing counts by module."""

    monotonic_count = count

    def event(self, event: Event) -> None:
        """The check sends none."""


class _GaugeWatcher:
    """Passes everything on and notes the highest gauge of each name."""

    def __init__(self, sender: Sender) -> None:
        self.highest: dict[str, float] = {}
        self._gauge = sender.gauge
        self.count = sender.count
        self.monotonic_count = sender.monotonic_count
        self.event = sender.event
        self.commit = sender.commit

    def gauge(self, name: str, value: float, tags: Sequence[str] = ()) -> None:
        self.highest[name] = max(value, self.highest.get(name, value))
        self._gauge(name, value, tags)


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
