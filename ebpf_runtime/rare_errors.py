# SPDX-License-Identifier: Apache-2.0
"""Errors and the warning that a start which goes well has no use for; see the tree in `errors`.

Making these classes would take a fiftieth of it.
"""

from __future__ import annotations

import sys
import warnings

from .errors import EbpfError, LoadError, MapError, OpenError

__all__ = [
    "BtfError",
    "CoReError",
    "CompileError",
    "DigestError",
    "FallbackWarning",
    "LibraryNotFoundError",
    "MapFullError",
    "TrustError",
    "VerifierError",
    "warn_of_fallback",
]


class LibraryNotFoundError(EbpfError):
    """There is no libbpf, or only one that is too old."""


class DigestError(OpenError):
    """A file is not the one that was built; *expected* and *actual* are SHA-256 in hex."""

    def __init__(self, message: str, *, name: str, expected: str, actual: str) -> None:
        super().__init__(message, name=name)
        self.expected = expected
        self.actual = actual


class BtfError(EbpfError):
    """A file holds no BTF, or a bundle none for this kernel."""


class TrustError(EbpfError):
    """A file that the configuration names cannot be read, or others than root and this user could have changed it."""


class VerifierError(LoadError):
    """The verifier refused a program.

    Attributes:
        program: The program's name.
        source_file: The C file of the refused instruction, empty where unknown.
        source_line: Its line, 0 where unknown.
        instruction: Index of the refused instruction, -1 where unknown.
        reason: The verifier's last word.
        log: The whole log.
    """

    def __init__(
        self,
        message: str,
        *,
        program: str,
        errno: int,
        log: str,
        reason: str,
        source_file: str = "",
        source_line: int = 0,
        instruction: int = -1,
    ) -> None:
        super().__init__(message, name=program, errno=errno, log=log)
        self.program = program
        self.reason = reason
        self.source_file = source_file
        self.source_line = source_line
        self.instruction = instruction


class CoReError(LoadError):
    """The CO-RE object could not be loaded, and the configuration forbids to compile on this host instead.

    *log* is the log of the failure, which is `__cause__`.
    """


class CompileError(LoadError):
    """The embedded source could not be compiled on this host, or not be used; *log* is all the compiler said."""


class MapFullError(MapError):
    """The map has no room for another entry."""


class FallbackWarning(UserWarning):
    """The configured or better way to load a probe failed, and the next one is taken.

    That is: `btf_path` does not serve, and BTF is looked for elsewhere; or the CO-RE object could not be loaded, and
    the probe's source is compiled on this host instead; or a pinned map has no BTF, and is compared by sizes alone.
    """


def warn_of_fallback(text: str) -> None:
    """Issue a FallbackWarning in the name of who opened or loaded a probe: the line that called us from outside.

    A generated module, whose `_OBJECT` says so, is not outside.
    """
    frame, level = sys._getframe(), 1
    while frame.f_back and _is_inside(frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, FallbackWarning, stacklevel=level)


def _is_inside(names: dict[str, object]) -> bool:
    module = str(names.get("__name__"))
    return module.startswith(f"{__package__}.") or getattr(names.get("_OBJECT"), "module", None) == module
