# SPDX-License-Identifier: Apache-2.0
"""The probe behind the check `tcp_queue_length`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf_collector.probes.attached import AttachedProbe, open_and_attach
from ebpf_probes.tcp_queue_length import TcpQueue, TcpQueueKey, TcpQueueLength, TcpQueueStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ebpf_runtime import ProbeConfig

__all__ = ["Tracer", "longest", "new_tracer"]

_FIELDS = (
    "read_queue_max_bytes",
    "write_queue_max_bytes",
    "read_queue_max_permille",
    "write_queue_max_permille",
)


class Tracer(AttachedProbe[TcpQueueLength]):
    """An attached `tcp_queue_length` probe.

    Its variants are `fentry`, `kprobe`, `kprobe_only`, `tp_btf_send_length`, `tp_btf_probe` and `iter`.
    """

    def get_and_flush(self) -> list[TcpQueue]:
        """Return the longest queues of each control group since the previous call, ordered by cgroup id.

        They are the maximum of what the hooks saw on any CPU, at calls that read or wrote, and of the queues that
        sockets have at this moment. A group whose sockets neither did nor hold anything is not among them.
        The variant `kprobe_only` tells what the hooks saw, and nothing of a reader that never reads.
        """
        readings: dict[int, TcpQueue] = {}
        for reading in (*self._drained(), *self._polled()):
            known = readings.get(reading.key.cgroup_id)
            if known is None:
                readings[reading.key.cgroup_id] = reading
            else:
                # A group with a name may have been seen by the hooks when the name was not kept any more.
                key = known.key if known.key.cgroup else reading.key
                readings[reading.key.cgroup_id] = TcpQueue(key=key, stats=longest((known.stats, reading.stats)))
        return [readings[cgroup_id] for cgroup_id in sorted(readings)]

    def lost_events(self) -> int:
        """Return how many samples were not kept, for want of room, since the probe was loaded."""
        return sum(self._attached.maps.tcp_lost[0])

    def _drained(self) -> Iterator[TcpQueue]:
        maps = self._attached.maps
        for cgroup_id, per_cpu in maps.tcp_queues.drain():
            # The name was stored before the queues were, so it is looked for after them.
            key = maps.tcp_cgroups.lookup(cgroup_id) or TcpQueueKey(cgroup_id=cgroup_id, cgroup="")
            yield TcpQueue(key=key, stats=longest(per_cpu))

    def _polled(self) -> Iterator[TcpQueue]:
        if self.variant == "kprobe_only":
            return
        programs = self._attached.programs
        yield from programs.tcp_file_iter.rows()
        yield from programs.tcp_sock_iter.rows()


def longest(stats: Iterable[TcpQueueStats]) -> TcpQueueStats:
    """Return the maximum of each figure; of one at least."""
    items = tuple(stats)
    return TcpQueueStats(**{name: max(getattr(item, name) for item in items) for name in _FIELDS})


def new_tracer(config: ProbeConfig) -> Tracer:
    """Return the tracer, loaded as *config* says and attached.

    Raises:
        PermissionDeniedError: A capability is missing.
        LoadError: The kernel took none of the variants.
        AttachError: The kernel loaded a variant and attached none.
    Kernel: 5.9 (iterators).
    """
    return Tracer(open_and_attach(TcpQueueLength, config))
