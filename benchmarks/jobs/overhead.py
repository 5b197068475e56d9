# SPDX-License-Identifier: Apache-2.0
"""What the probes cost others: a TCP ping-pong with and without them, and what the kernel counts for an event."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from benchmarks.jobs import Options
from benchmarks.race import Job, Sample
from ebpf_collector.workloads.memory_cgroup import memory_cgroup
from ebpf_collector.workloads.memory_hog import memory_hog
from ebpf_runtime import ProbeConfig, loaded_objects, program_counters, run_statistics

__all__ = ["overhead"]

_NONE = "no probe"
_MESSAGE = bytes(64)
_ROUND_TRIPS: Final = 20_000
_SAMPLED_ROUND_TRIPS: Final = 5_000
_KILLS: Final = 10
_LIMIT_BYTES: Final = 24 << 20
_READINGS: Final = 20


@contextmanager
def overhead(options: Options) -> Iterator[Job]:
    """Race the same ping-pong; the second contender without a probe shows how far the machine can be trusted."""
    from ebpf_collector.probes import ebpf, oom_kill, tcp_queue_length
    from ebpf_probes.ebpf_inventory import EbpfInventory
    from ebpf_probes.oom_kill import OomKill
    from ebpf_probes.tcp_queue_length import TcpQueueLength

    probes: dict[str, Any] = {"oom_kill": OomKill, "tcp_queue_length": TcpQueueLength, "ebpf_inventory": EbpfInventory}
    contenders: dict[str, Callable[[], Sample]] = {_NONE: _ping_pong, "no probe, again": _ping_pong}
    with _one_cpu():
        notes = [
            *_costs("oom_kill", f"{_KILLS} kills", oom_kill.new_probe, _kill),
            *_costs("oom_kill", "a ping-pong", oom_kill.new_probe, lambda _: _ping_pong(_SAMPLED_ROUND_TRIPS)),
            *_costs(
                "tcp_queue_length",
                f"{_SAMPLED_ROUND_TRIPS} round trips and {_READINGS} readings",
                tcp_queue_length.new_tracer,
                lambda probe: [_ping_pong(_SAMPLED_ROUND_TRIPS), *(probe.get_and_flush() for _ in range(_READINGS))],
            ),
            *_costs(
                "ebpf_inventory",
                f"{_READINGS} readings",
                ebpf.new_probe,
                lambda probe: [probe.read() for _ in range(_READINGS)],
            ),
        ]
        contenders |= {name: partial(_with, probe) for name, probe in probes.items()}
        yield Job(f"{_ROUND_TRIPS} TCP round trips of 64 bytes, CPU time", _NONE, contenders, notes=notes)


@contextmanager
def _one_cpu() -> Iterator[None]:
    """Keep this process on one CPU, so that both ends and the interrupt between them count as its time."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _with(probe_class: Any) -> Sample:
    with probe_class.open_and_load() as probe:
        probe.attach()
        return _ping_pong()


def _ping_pong(round_trips: int = _ROUND_TRIPS) -> Sample:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(listener.getsockname()))
        far, _ = listener.accept()
        stack.enter_context(far)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = len(_MESSAGE)
        started = time.process_time()
        for _ in range(round_trips):
            near.send(_MESSAGE)
            far.recv(size)
            far.send(_MESSAGE)
            near.recv(size)
        return Sample(time.process_time() - started)


def _kill(_probe: object) -> None:
    with memory_cgroup(f"ebpf-benchmark-{os.getpid()}", _LIMIT_BYTES) as group:
        for _ in range(_KILLS):
            with memory_hog(group, use_bytes=4 * _LIMIT_BYTES) as hog:
                hog.wait_killed()


def _costs(name: str, events: str, opened: Callable[[ProbeConfig], Any], work: Callable[[Any], object]) -> list[str]:
    """Return what the kernel counts for each program of a probe while it works; it counts only meanwhile."""
    with opened(ProbeConfig()) as probe:
        with run_statistics():
            work(probe)
        found = []
        for item in loaded_objects():
            counters = program_counters(item.id) if item.kind == "program" and item.module == name else None
            if counters is not None and counters.run_count:
                cost_ns = counters.run_time_ns / counters.run_count
                runs = f"{counters.run_count} runs of {cost_ns:.0f} ns, the counting included"
                found.append(f"{name} ({probe.variant}), {events}: {item.name} {runs}")
    return found or [f"{name}, {events}: no program of it runs"]
