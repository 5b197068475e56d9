# SPDX-License-Identifier: Apache-2.0
"""The probe behind the check `oom_kill`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from ebpf_probes.oom_kill import OomKill, OomKillEvent

if TYPE_CHECKING:
    from ebpf_runtime import ProbeConfig, RefusedVariant

__all__ = ["Probe", "new_probe"]


class Probe:
    """An attached `oom_kill` probe; it observes until it is closed."""

    def __init__(self, attached: OomKill) -> None:
        """Own *attached*, which `close()` closes."""
        self._attached = attached

    @property
    def variant(self) -> str:
        """Name of the variant in use: `fentry`, `kprobe` or `raw_tp`."""
        return self._attached.variant

    @property
    def origin(self) -> str:
        """`co_re`, or `compiled` where the object was made on this host."""
        return self._attached.origin

    @property
    def refused(self) -> tuple[RefusedVariant, ...]:
        """The better variants this kernel did not take, best first, each with the reason."""
        return self._attached.refused

    def get_and_flush(self) -> list[OomKillEvent]:
        """Return the kills since the previous call, in the order the kernel reported them."""
        return list(self._attached.maps.oom_events.poll(timeout=0))

    def lost_events(self) -> int:
        """Return how many kills the ring buffer had no room for, since the probe was loaded."""
        return sum(self._attached.maps.oom_lost[0])

    def close(self) -> None:
        """Detach the programs and free all of the probe; closing twice is harmless."""
        self._attached.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def new_probe(config: ProbeConfig) -> Probe:
    """Return the probe, loaded as *config* says and attached.

    Raises:
        PermissionDeniedError: A capability is missing.
        LoadError: The kernel took none of the variants, or compiling on this host failed or is forbidden.
        AttachError: The kernel loaded a variant and attached none.
    Kernel: 4.17 (raw_tp), 5.5 (fentry).
    """
    loaded = OomKill.open_and_load(config)
    try:
        loaded.attach()
    except BaseException:
        loaded.close()
        raise
    return Probe(loaded)
