# SPDX-License-Identifier: Apache-2.0
"""The probe tcp_queue_length against ss(8), which asks the kernel by netlink.

Each comparison is also run on a probe with one line changed for the worse, and must then fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ebpf_collector.probes.tcp_queue_length import longest
from ebpf_collector.workloads.stalled_reader import Queue
from ebpf_probes.tcp_queue_length import TcpQueueLength
from ebpf_runtime import AttachError, LoadError, ProbeConfig
from tests.support.sources import BPF, make_module
from tests.support.tcp import Connection, Witness, connection, ss, workers_cgroup

pytestmark = pytest.mark.acceptance

CO_RE_ONLY = ProbeConfig(allow_runtime_compiled_fallback=False)
LARGE = 8 << 20  # of which the kernel makes 16 MiB
OVERFLOWING = 4_500_000  # a thousand times as much does not fit 32 bits


@dataclass
class Observation:
    """The same queues as seen by the probe, by its iterators and by its hooks, and by ss."""

    witness: Witness
    polled: Any
    hooked: Any


def calm(ends: Connection) -> Witness:
    """Return what ss says when it says the same for a while: longer than a closed window goes unprobed."""
    ends.fill()
    before = None
    deadline = time.monotonic() + 60
    while (now := ss(ends.port)) != before:
        assert time.monotonic() < deadline
        before = now
        time.sleep(0.5)
    return now


def attached(probe_class: Any) -> Any:
    """Return an attached probe of the best variant that sees reads and writes in the task's context.

    Only for that reason not by `open_and_load`: where memory cgroups are of version 1, tp_btf_probe sees no writes.
    """
    for variant in ("fentry", "kprobe", "tp_btf_send_length"):
        opened = probe_class.open(CO_RE_ONLY)
        opened.select_variant(variant)
        try:
            probe = opened.load()
        except LoadError:
            continue
        try:
            return probe.attach()
        except AttachError:
            probe.close()
    raise AssertionError("no variant with hooks in the task's context works here")


def observe(probe_class: Any, *, buffer_bytes: int = 0) -> Observation:
    """Fill a connection of our own, and collect what everybody says of it."""
    with ExitStack() as stack:
        probe = stack.enter_context(attached(probe_class))
        group = stack.enter_context(workers_cgroup())
        ends = stack.enter_context(connection(group, read_buffer_bytes=buffer_bytes, write_buffer_bytes=buffer_bytes))
        cgroup_id = group.path.stat().st_ino
        witness = calm(ends)
        list(probe.maps.tcp_queues.drain())
        rows = probe.programs.tcp_file_iter.rows()
        polled = longest([row.stats for row in rows if row.key.cgroup_id == cgroup_id])
        # A call that finds no room and a byte that is read change nothing before their hooks come.
        assert ends.write(1) == 0
        assert ends.read(1) == 1
        hooked = longest(probe.maps.tcp_queues[cgroup_id])
        return Observation(witness, polled, hooked)


def close(permille: int, queue: Queue) -> bool:
    """Tell whether a reading is within one per mille of the witness."""
    return abs(permille - 1000 * queue.queued_bytes / queue.buffer_bytes) <= 1


def same_receive_bytes(seen: Observation) -> None:
    assert seen.polled.read_queue_max_bytes == seen.witness.receive.queued_bytes
    assert seen.hooked.read_queue_max_bytes == seen.witness.receive.queued_bytes


def same_receive_permille(seen: Observation) -> None:
    assert close(seen.polled.read_queue_max_permille, seen.witness.receive)
    assert close(seen.hooked.read_queue_max_permille, seen.witness.receive)


def same_send_bytes(seen: Observation) -> None:
    assert seen.polled.write_queue_max_bytes == seen.witness.send.queued_bytes
    assert seen.hooked.write_queue_max_bytes == seen.witness.send.queued_bytes


def same_send_permille(seen: Observation) -> None:
    assert close(seen.polled.write_queue_max_permille, seen.witness.send)
    assert close(seen.hooked.write_queue_max_permille, seen.witness.send)


COMPARISONS = (same_receive_bytes, same_receive_permille, same_send_bytes, same_send_permille)

# comparison, a change of the source that it must notice, wherever the text stands
MUTATIONS: tuple[tuple[Callable[[Observation], None], str, str], ...] = (
    (same_receive_bytes, "->read_queue_max_bytes = queue;", "->read_queue_max_bytes = queue - 1;"),
    (same_receive_permille, "(__u64)queue_bytes * 1000", "(__u64)queue_bytes * 1010"),
    (same_send_bytes, "snd_una", "copied_seq"),
    (same_send_permille, "sk_sndbuf", "sk_rcvbuf"),
)


@pytest.fixture(scope="module")
def seen() -> Observation:
    return observe(TcpQueueLength)


@pytest.fixture(scope="module")
def seen_large() -> Observation:
    return observe(TcpQueueLength, buffer_bytes=LARGE)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_a_stalled_readers_queues_are_as_ss_says(seen: Observation, comparison: Callable[[Observation], None]) -> None:
    assert seen.witness.receive.permille > 500
    assert seen.witness.send.permille > 500
    comparison(seen)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_queues_beyond_32_bits_of_permille_are_as_ss_says(
    seen_large: Observation, comparison: Callable[[Observation], None]
) -> None:
    assert seen_large.witness.receive.queued_bytes > OVERFLOWING
    assert seen_large.witness.send.queued_bytes > OVERFLOWING
    comparison(seen_large)


def mutant(directory: Path, right: str, wrong: str) -> Any:
    """Return the probe's class, made from a changed source."""
    text = (BPF / "tcp_queue_length.bpf.c").read_text()
    assert right in text
    source = directory / "tcp_queue_length.bpf.c"
    source.write_text(text.replace(right, wrong))
    (directory / "tcp_queue_length.h").write_text((BPF / "tcp_queue_length.h").read_text())
    return make_module(directory, source).TcpQueueLength


@pytest.mark.parametrize(("comparison", "right", "wrong"), MUTATIONS)
def test_a_wrong_probe_is_noticed(
    comparison: Callable[[Observation], None], right: str, wrong: str, tmp_path: Path
) -> None:
    seen = observe(mutant(tmp_path, right, wrong))
    with pytest.raises(AssertionError):
        comparison(seen)


def test_an_overflow_is_noticed(tmp_path: Path) -> None:
    seen = observe(mutant(tmp_path, "(__u64)queue_bytes * 1000", "queue_bytes * 1000"), buffer_bytes=LARGE)
    same_receive_bytes(seen)
    same_send_bytes(seen)
    for comparison in (same_receive_permille, same_send_permille):
        with pytest.raises(AssertionError):
            comparison(seen)
