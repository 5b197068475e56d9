# SPDX-License-Identifier: Apache-2.0
"""Why variants of an object are not in use: what `loader` imports once the kernel has refused one."""

from __future__ import annotations

import errno

from .errors import EbpfError, LoadError, PermissionDeniedError, VerifierError, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RefusedVariant", "is_transient", "no_variant", "not_permitted", "raise_transient", "refusal"]

# What is short for a moment or interrupts, by which no kernel says what it can do; and the next step.
_TRANSIENT = {
    errno.EMFILE: "Raise this process's limit of open files (ulimit -n, LimitNOFILE=).",
    errno.ENFILE: "Raise the system's limit of open files (sysctl fs.file-max).",
    errno.ENOMEM: "Free memory, raise the limit of its cgroup, or make the maps smaller.",
    errno.EINTR: "Try again.",
    errno.EAGAIN: "Try again.",
}


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


def is_transient(error: EbpfError) -> bool:
    """Return whether an error says nothing of the kernel or the program, but that something is short now."""
    return error.errno in _TRANSIENT


def raise_transient(name: str, error: EbpfError, refused: Sequence[RefusedVariant] = ()) -> None:
    """Do nothing about an error that a variant is to blame for.

    Raises:
        LoadError: It is transient; the text says what to do, `refused` has the variants tried before.
    """
    if not is_transient(error):
        return
    # The verifier accepts a program before it gets a file descriptor; its log has nothing to say.
    what = (
        f"load program {error.program!r}: {describe(error.errno)}." if isinstance(error, VerifierError) else str(error)
    )
    reason = what if what.startswith("load probe ") else f"load probe {name!r}: {what}"
    raised = LoadError(
        f"{reason} {_TRANSIENT[error.errno]}", name=name, errno=error.errno, log=getattr(error, "log", "")
    )
    raised.refused = tuple(refused)
    raise raised from error


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
