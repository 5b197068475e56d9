# SPDX-License-Identifier: Apache-2.0
"""What code generation refuses, and why.

CodegenError
├── CompilerError    no usable clang, or clang refused the source
│   ├── NoCompilerError    no usable clang
│   └── CompilerRunError   clang did not come to judge the source
├── ElfError         the object file is damaged or not a BPF object
├── BtfError         the type information is damaged
├── UnsupportedError valid C that has no Python form yet
└── DriftError       the checked-in bindings differ from the generated ones
"""

from __future__ import annotations

__all__ = [
    "BtfError",
    "CodegenError",
    "CompilerError",
    "CompilerRunError",
    "DriftError",
    "ElfError",
    "NoCompilerError",
    "UnsupportedError",
]


class CodegenError(Exception):
    """Base of every error of this package; its text names the thing, the reason and the remedy."""


class CompilerError(CodegenError):
    """No usable compiler was found, or the compiler refused the source; *output* is what it said."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class NoCompilerError(CompilerError):
    """No usable compiler was found."""


class CompilerRunError(CompilerError):
    """A compiler did not come to judge what it was given.

    Attributes:
        reason: What became of it, and the next step: the text without the action.
        output: What it had said.
        is_final: Whether another compiler would fare no better.
        is_stopped: Whether somebody wanted it to end, which is no failure.
    """

    def __init__(self, action: str, reason: str, output: str = "", *, is_final: bool, is_stopped: bool = False) -> None:
        super().__init__(f"{action}: {reason}", output)
        self.reason = reason
        self.is_final = is_final
        self.is_stopped = is_stopped


class ElfError(CodegenError):
    """The object file is truncated, corrupt, or not a little-endian or big-endian BPF ELF file."""


class BtfError(CodegenError):
    """The BTF type information of an object is damaged or missing."""


class UnsupportedError(CodegenError):
    """The object uses C for which no correct Python can be printed."""


class DriftError(CodegenError):
    """Checked-in bindings differ from what the sources generate; carries the diff."""

    def __init__(self, message: str, diff: str) -> None:
        super().__init__(message)
        self.diff = diff
