# SPDX-License-Identifier: Apache-2.0
"""What the runtime refuses, and why.

EbpfError
├── LibraryNotFoundError   no usable libbpf on this machine
├── OpenError              the object cannot be opened
│   └── DigestError        a file is not the one that was built
├── BtfError               a file holds no BTF, or not that of this kernel
├── TrustError             a configured file could have been changed by others, or cannot be read
├── LoadError              the kernel or libbpf refuses maps or programs
│   ├── VerifierError      the verifier refuses a program
│   ├── CoReError          CO-RE failed, and compiling on this host is forbidden
│   └── CompileError       the source cannot be compiled on this host
├── AttachError            a loaded program cannot be attached
├── PermissionDeniedError  the process lacks a capability, or the kernel is locked down
├── MapError               an operation on a map failed
│   └── MapFullError       there is no room for another entry
├── VariableError          a variable cannot be read or set in this phase
├── RecordError            a value does not fit its field (also a ValueError)
└── CloseError             freeing failed somewhere; everything else was freed all the same
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import LoadReport
    from .variants import RefusedVariant

__all__ = [
    "AttachError",
    "CloseError",
    "EbpfError",
    "LoadError",
    "MapError",
    "OpenError",
    "PermissionDeniedError",
    "RecordError",
    "VariableError",
]


class EbpfError(Exception):
    """Base of every error of this package; its text is one line: action and object, reason, next step.

    Attributes:
        name: The probe, program, map or variable it is about.
        errno: The kernel's error number, 0 where there is none.
        log: All that libbpf and the verifier said, empty where they said nothing.
        feature: The kernel feature that is missing, empty where none is.
        minimum_kernel: The first kernel that has the feature, empty where none is missing.
        report: What was tried to load the probe, where it is about that.
        refused: The variants that were tried, where no one could be loaded.
    """

    report: LoadReport | None = None
    refused: tuple[RefusedVariant, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        errno: int = 0,
        log: str = "",
        feature: str = "",
        minimum_kernel: str = "",
    ) -> None:
        super().__init__(message)
        self.name = name
        self.errno = errno
        self.log = log
        self.feature = feature
        self.minimum_kernel = minimum_kernel


class OpenError(EbpfError):
    """The object is missing from the package, or libbpf cannot read it."""


class LoadError(EbpfError):
    """Maps or programs could not be loaded; *log* is all that libbpf and the verifier said."""


class AttachError(EbpfError):
    """A loaded program could not be attached; *log* is what libbpf said."""


class PermissionDeniedError(EbpfError):
    """The process lacks a capability that BPF needs, or the kernel's lockdown lets no process do it.

    *log* is what libbpf said while a probe was loaded.
    """


class MapError(EbpfError):
    """The kernel refused an operation on a map."""


class VariableError(EbpfError):
    """A global variable cannot be read or set now."""


class RecordError(EbpfError, ValueError):
    """A value does not fit its field, or bytes do not fit their record."""


class CloseError(EbpfError):
    """Some resources could not be freed; *failures* has each error, the others were freed."""

    def __init__(self, message: str, *, name: str, failures: tuple[Exception, ...]) -> None:
        super().__init__(message, name=name)
        self.failures = failures


_ENOTSUPP = 524  # the kernel's own; neither errno(3) nor the C library knows it


def describe(number: int) -> str:
    """Return an error number as `ENOENT, no such file or directory`."""
    if number == _ENOTSUPP:
        return "ENOTSUPP, this kernel does not support it"
    from errno import errorcode

    return f"{errorcode.get(number, f'error {number}')}, {os.strerror(number).lower()}"


def remedy(number: int) -> str:
    """Return what to do about what is short for a moment or interrupts, by which no kernel says what it can do.

    Empty for all other error numbers.
    """
    import errno

    return {
        errno.EMFILE: "Raise this process's limit of open files (ulimit -n, LimitNOFILE=).",
        errno.ENFILE: "Raise the system's limit of open files (sysctl fs.file-max).",
        errno.ENOMEM: "Free memory, raise the limit of its cgroup, or make the maps smaller.",
        errno.EINTR: "Try again.",
        errno.EAGAIN: "Try again.",
    }.get(number, "")
