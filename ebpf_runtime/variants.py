# SPDX-License-Identifier: Apache-2.0
"""Why variants of an object are not in use: what is imported once the kernel has refused one."""

from __future__ import annotations

import errno

from .errors import EbpfError, LoadError, PermissionDeniedError, describe, remedy
from .rare_errors import VerifierError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "RefusedVariant",
    "is_transient",
    "locked_down",
    "misjudged",
    "no_variant",
    "not_permitted",
    "raise_refused",
    "raise_transient",
    "refusal",
]

# Next steps of errors that have others when something is short.
_WRONG_STEPS = (" Check the path.", " Rebuild the package.")
_DETECTION = r"Detection of kernel (?P<feature>.*) support failed: -(?P<error>\w+)\s*$"
_NO_MODULES = "failed to iterate BTF objects: -1"

# Helpers that read the kernel's memory, as the verifier names one that it does not give.
_READS_KERNEL = r"(?:unknown func|cannot use helper) bpf_probe_read(?:_kernel)?(?:_str)?#"


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
    return RefusedVariant(variant, phase, error.errno, reason, error.log)


def is_transient(error: EbpfError) -> bool:
    """Return whether an error says nothing of the kernel or the program, but that something is short now."""
    return bool(remedy(error.errno))


def raise_transient(name: str, error: EbpfError, refused: Sequence[RefusedVariant] = ()) -> None:
    """Do nothing about an error that a variant is to blame for.

    Raises:
        LoadError: It is transient; the text says what to do, `refused` has the variants tried before.
    """
    if not is_transient(error):
        return
    step = remedy(error.errno)
    if str(error).endswith(step):
        raise error
    # The verifier accepts a program before it gets a file descriptor; its log has nothing to say.
    what = (
        f"load program {error.program!r}: {describe(error.errno)}." if isinstance(error, VerifierError) else str(error)
    )
    for wrong in _WRONG_STEPS:
        what = what.removesuffix(wrong)
    reason = what if what.startswith("load probe ") else f"load probe {name!r}: {what}"
    raised = LoadError(f"{reason} {step}", name=name, errno=error.errno, log=error.log)
    raised.refused = tuple(refused)
    raise raised from error


def raise_refused(name: str, variant: str, error: EbpfError) -> None:
    """Do nothing about an error that is the only variant's own.

    Raises:
        LoadError: It is transient, as `raise_transient` says.
        PermissionDeniedError: The kernel is locked down.
    """
    raise_transient(name, error)
    if not isinstance(error, LoadError | PermissionDeniedError):
        return
    if (denied := locked_down(name, [refusal(variant, "load", error)])) is not None:
        raise denied from error


def misjudged(name: str, messages: Sequence[str]) -> LoadError | None:
    """Return the error for a load that failed after libbpf was short of something when it tested the kernel.

    What it could not test it takes for missing as long as the process lives, so whatever fails then says nothing of the
    kernel. None where no test failed so.

    Source: libbpf src/libbpf.c, kernel_supports(); since 1.6 it names the error.
    """
    import re

    from .libbpf import detections

    for said in detections:
        found = re.match(_DETECTION, said)
        number = _error_number(found["error"]) if found else 0
        if found and remedy(number):
            return LoadError(
                f"load probe {name!r}: {describe(number)}, when libbpf tested the kernel for {found['feature']}, which "
                f"it takes for missing from now on. Restart this process. {remedy(number)}",
                name=name,
                errno=number,
                log="".join(messages),
            )
    return None


def _error_number(spelling: str) -> int:
    """Return an error number that is spelled in digits or by its name, 0 for what is none."""
    return int(spelling) if spelling.isdecimal() else getattr(errno, spelling, 0)


def no_variant(name: str, refused: list[RefusedVariant]) -> EbpfError:
    """Return the error for an object of which no variant works."""
    for item in refused:
        if (denied := not_permitted(name, item.errno, item.log)) is not None:
            return denied
    said: dict[str, list[str]] = {}  # what several variants share is said once
    for item in refused:
        reason = item.reason.removeprefix(f"load probe {name!r}: ").rstrip(".")
        said.setdefault(f"{item.phase}, {reason}", []).append(item.variant)
    reasons = "; ".join(f"{', '.join(variants)}: {text}" for text, variants in said.items())
    error = LoadError(
        f"load probe {name!r}: no variant works here. {reasons}.",
        name=name,
        errno=refused[-1].errno,
        log="\n".join(item.log for item in refused),
    )
    error.refused = tuple(refused)
    return error


def locked_down(name: str, refused: Sequence[RefusedVariant]) -> PermissionDeniedError | None:
    """Return the error for an object of which the kernel's lockdown lets no variant read; None if that is not why.

    Kernel: lockdown 5.4.
    """
    import re

    from .privilege import lockdown

    found = next((item for item in refused if re.search(_READS_KERNEL, item.log)), None)
    if found is None or lockdown() != "confidentiality":
        return None
    error = PermissionDeniedError(
        f"load probe {name!r}: {errno.errorcode.get(found.errno, found.errno)}, the kernel is locked down for "
        "confidentiality, so no program may read its memory. Boot it with lockdown=integrity, or without.",
        name=name,
        errno=found.errno,
    )
    error.refused = tuple(refused)
    return error


def not_permitted(name: str, number: int, log: str) -> PermissionDeniedError | None:
    """Return the error for a load or an attachment that a missing capability explains; None if it is not why.

    Args:
        number: The error number.
        log: What libbpf said.
    Kernel: 5.8; before, CAP_SYS_ADMIN is asked for. The ids of BTF are for CAP_SYS_ADMIN alone; libbpf looks for types
        in modules by them, and does without since 1.3.
    """
    from .privilege import missing_capabilities

    if number != errno.EPERM:
        return None
    missing, reason, step = missing_capabilities(), "", ""
    if not missing and _NO_MODULES in log and (missing := missing_capabilities("CAP_SYS_ADMIN")):
        reason = ", without which libbpf before 1.3 does not look for types of the kernel's modules"
        step = ", or install libbpf 1.3"
    if not missing:
        return None
    return PermissionDeniedError(
        f"load probe {name!r}: EPERM, this process lacks {' and '.join(missing)}{reason}. "
        f"Run as root, or grant the capabilities (setcap, AmbientCapabilities=){step}.",
        name=name,
        errno=errno.EPERM,
        log=log,
    )
