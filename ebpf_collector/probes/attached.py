# SPDX-License-Identifier: Apache-2.0
"""What the probes of all checks have in common: they are attached when made, and know how to end."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from ebpf_runtime import LoadReport, Probe, ProbeConfig, RefusedVariant

__all__ = ["AttachedProbe", "open_and_attach"]

_Probe = TypeVar("_Probe", bound="Probe")
_Opened = TypeVar("_Opened", bound="Probe", covariant=True)


class AttachedProbe(Generic[_Probe]):
    """An attached probe of one generated class; it observes until it is closed."""

    def __init__(self, attached: _Probe) -> None:
        """Own *attached*, which `close()` closes."""
        self._attached = attached

    @property
    def variant(self) -> str:
        """Name of the variant in use."""
        return self._attached.variant

    @property
    def origin(self) -> str:
        """`co_re`, or `compiled` where the object was made on this host."""
        return self._attached.origin

    @property
    def report(self) -> LoadReport:
        """What was tried to load it."""
        return self._attached.report

    @property
    def refused(self) -> tuple[RefusedVariant, ...]:
        """The better variants this kernel did not take, best first, each with the reason."""
        return self._attached.refused

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


class _GeneratedClass(Protocol[_Opened]):
    """The class of a probe in its generated module."""

    def open_and_load(self, config: ProbeConfig | None = None) -> _Opened:
        """Open and load in one step."""


def open_and_attach(generated: _GeneratedClass[_Probe], config: ProbeConfig) -> _Probe:
    """Return a probe of the class *generated*, loaded as *config* says and attached.

    Raises:
        PermissionDeniedError: A capability is missing.
        LoadError: The kernel took none of the variants.
        AttachError: The kernel loaded a variant and attached none.
    """
    loaded = generated.open_and_load(config)
    try:
        loaded.attach()
    except BaseException:
        loaded.close()
        raise
    return loaded
