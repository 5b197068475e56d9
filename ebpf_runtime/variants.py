# SPDX-License-Identifier: Apache-2.0
"""Why variants of an object are not in use: what `loader` imports once the kernel has refused one."""

from __future__ import annotations

import errno

from .errors import EbpfError, LoadError, PermissionDeniedError, VerifierError

__all__ = ["RefusedVariant", "no_variant", "not_permitted", "refusal"]


class RefusedVariant:
    """Why a variant is not in use.

    Attributes:
        variant: Its name.
        phase: "load" or "attach".
        errno: The kernel's error number.
        reason: One line.
        log: All that libbpf and the verifier said.
    """

    __slots__ = ("errno", "log", "phase", "reason", "variant")

    def __init__(self, variant: str, phase: str, errno: int, reason: str, log: str = "") -> None:
        self.variant = variant
        self.phase = phase
        self.errno = errno
        self.reason = reason
        self.log = log

    @property
    def line(self) -> str:
        """The line of the log that decided: the verifier's last word, else libbpf's first; without a log the reason."""
        from .verifier import decisive_line

        return decisive_line(self.log) or self.reason

    def __repr__(self) -> str:
        return f"RefusedVariant({self.variant!r}, {self.phase!r}, errno={self.errno}, reason={self.reason!r})"


def refusal(variant: str, phase: str, error: EbpfError) -> RefusedVariant:
    """Return why a variant that was tried is not in use."""
    reason = error.reason if isinstance(error, VerifierError) else str(error)
    return RefusedVariant(variant, phase, error.errno, reason, getattr(error, "log", ""))


def no_variant(name: str, refused: list[RefusedVariant]) -> EbpfError:
    """Return the error for an object of which no variant works."""
    from .privilege import missing_capabilities

    missing = missing_capabilities()
    if missing and any(item.errno == errno.EPERM for item in refused):
        return not_permitted(name, missing)
    said: dict[str, list[str]] = {}  # what several variants share is said once
    for item in refused:
        said.setdefault(f"{item.phase}, {item.reason}", []).append(item.variant)
    reasons = "; ".join(f"{', '.join(variants)}: {text}" for text, variants in said.items())
    error = LoadError(
        f"load probe {name!r}: no variant works here. {reasons}",
        name=name,
        errno=refused[-1].errno,
        log="\n".join(item.log for item in refused),
    )
    error.refused = tuple(refused)
    return error


def not_permitted(name: str, missing: tuple[str, ...]) -> PermissionDeniedError:
    """Return the error for a process that lacks capabilities."""
    return PermissionDeniedError(
        f"load probe {name!r}: EPERM, this process lacks {' and '.join(missing)}. "
        "Run as root, or grant the capabilities (setcap, AmbientCapabilities=).",
        name=name,
        errno=errno.EPERM,
    )
