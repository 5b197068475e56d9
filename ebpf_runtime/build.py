# SPDX-License-Identifier: Apache-2.0
"""The build backend (PEP 517, PEP 660): scikit-build-core, and a BPF compiler where none is installed.

It builds this project and serves every package that has probes of its own::

    [build-system]
    requires = ["ebpf-runtime[build]"]
    build-backend = "ebpf_runtime.build"
"""

from __future__ import annotations

from typing import Any

from scikit_build_core import build as _backend

from ebpf_codegen.compiler import ZIGLANG, find_clang
from ebpf_codegen.errors import CompilerError


def __getattr__(name: str) -> Any:
    # Every other hook is scikit-build-core's own; which there are depends on the project. An sdist
    # compiles nothing, so its hooks are among them.
    return getattr(_backend, name)


def get_requires_for_build_wheel(
    config_settings: dict[str, str | list[str]] | None = None,
) -> list[str]:
    """Return what pip has to install before it builds a wheel."""
    return [*_backend.get_requires_for_build_wheel(config_settings), *_compiler()]


def get_requires_for_build_editable(
    config_settings: dict[str, str | list[str]] | None = None,
) -> list[str]:
    """Return what pip has to install before it builds an editable install."""
    return [*_backend.get_requires_for_build_editable(config_settings), *_compiler()]


def _compiler() -> list[str]:
    # A wrong EBPF_CLANG is reported by CMake, where the user sees one message and no traceback.
    try:
        return [] if find_clang() else [ZIGLANG]
    except CompilerError:
        return []
