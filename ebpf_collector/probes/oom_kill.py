# SPDX-License-Identifier: Apache-2.0
"""The probe behind the check `oom_kill`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf_collector.probes.attached import AttachedProbe, open_and_attach
from ebpf_probes.oom_kill import OomKill, OomKillEvent

if TYPE_CHECKING:
    from ebpf_runtime import ProbeConfig

__all__ = ["Probe", "new_probe"]


class Probe(AttachedProbe[OomKill]):
    """An attached `oom_kill` probe; variants `fentry`, `kprobe` and `raw_tp`."""

    def get_and_flush(self) -> list[OomKillEvent]:
        """Return the kills since the previous call, in the order the kernel reported them."""
        return list(self._attached.maps.oom_events.poll(timeout=0))

    def lost_events(self) -> int:
        """Return how many kills the ring buffer had no room for, since the probe was loaded."""
        return sum(self._attached.maps.oom_lost[0])


def new_probe(config: ProbeConfig) -> Probe:
    """Return the probe, loaded as *config* says and attached.

    Raises:
        PermissionDeniedError: A capability is missing.
        LoadError: The kernel took none of the variants, or compiling on this host failed or is forbidden.
        AttachError: The kernel loaded a variant and attached none.
    Kernel: 4.17 (raw_tp), 5.5 (fentry).
    """
    return Probe(open_and_attach(OomKill, config))
