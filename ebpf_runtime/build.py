# SPDX-License-Identifier: Apache-2.0
"""The build backend (PEP 517, PEP 660): scikit-build-core, and a BPF compiler where none is installed.

It serves every package that has probes of its own::

    [build-system]
    requires = ["ebpf-runtime[build]"]
    build-backend = "ebpf_runtime.build"

It builds this project too. Where `EBPF_LIBBPF_SOURCE` names libbpf's sources, as a CMake definition in the settings
(`-Ccmake.define.EBPF_LIBBPF_SOURCE=...`) or as an environment variable, the wheel has a libbpf of its own inside, and
is tagged for the architecture that `EBPF_LIBBPF_ARCHITECTURE` names. Where `EBPF_BTF_DIRECTORY` names kernels' BTF, the
packages with probes carry what these need of it.
"""

from __future__ import annotations

import os
import platform
import tomllib
from pathlib import Path
from typing import Any, Final

from scikit_build_core import build as _backend

from ebpf_codegen.compiler import ZIGLANG, find_clang
from ebpf_codegen.errors import CompilerError

_Settings = dict[str, str | list[str]]

_SOURCE: Final = "EBPF_LIBBPF_SOURCE"
_ARCHITECTURE: Final = "EBPF_LIBBPF_ARCHITECTURE"
_BTF: Final = "EBPF_BTF_DIRECTORY"


def __getattr__(name: str) -> Any:
    # Every other hook is scikit-build-core's own; which there are depends on the project. An sdist
    # compiles nothing, so its hooks are among them.
    hook = getattr(_backend, name)
    if name.startswith("prepare_metadata_for_build_"):
        return lambda directory, settings=None: hook(directory, _with_libbpf(settings))
    return hook


def get_requires_for_build_wheel(config_settings: _Settings | None = None) -> list[str]:
    """Return what pip has to install before it builds a wheel."""
    settings = _with_libbpf(config_settings)
    return [*_backend.get_requires_for_build_wheel(settings), *_compiler(settings)]


def get_requires_for_build_editable(config_settings: _Settings | None = None) -> list[str]:
    """Return what pip has to install before it builds an editable install."""
    settings = _with_libbpf(config_settings)
    return [*_backend.get_requires_for_build_editable(settings), *_compiler(settings)]


def build_wheel(
    wheel_directory: str, config_settings: _Settings | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel and return its name."""
    return _backend.build_wheel(wheel_directory, _with_libbpf(config_settings), metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: _Settings | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable install and return its name."""
    return _backend.build_editable(wheel_directory, _with_libbpf(config_settings), metadata_directory)


def _with_libbpf(config_settings: _Settings | None) -> _Settings:
    """Return the settings, completed for a wheel with libbpf inside where one was asked for."""
    settings = dict(config_settings or {})
    for name in (_SOURCE, _ARCHITECTURE):
        if os.environ.get(name):
            settings.setdefault(f"cmake.define.{name}", os.environ[name])
    if os.environ.get(_BTF):  # the build may run elsewhere, on what it unpacked of an sdist
        settings.setdefault(f"cmake.define.{_BTF}", str(Path(os.environ[_BTF]).absolute()))
    if _bundles(settings):
        architecture = settings.get(f"cmake.define.{_ARCHITECTURE}") or platform.machine()
        settings.setdefault("wheel.tags", f"py3-none-manylinux_2_17_{architecture}")
        settings.setdefault("wheel.platlib", "true")
    return settings


def _bundles(settings: _Settings) -> bool:
    # Packages with probes of their own take libbpf from this one: it is not for them to carry another.
    # Hooks run in the folder of the project.
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8")).get("project", {})
    return bool(settings.get(f"cmake.define.{_SOURCE}")) and project.get("name") == "ebpf-runtime"


def _compiler(settings: _Settings) -> list[str]:
    # libbpf itself is always built by ziglang, which brings the C library to build against.
    if _bundles(settings):
        return [ZIGLANG]
    # A wrong EBPF_CLANG is reported by CMake, where the user sees one message and no traceback.
    try:
        return [] if find_clang() else [ZIGLANG]
    except CompilerError:
        return []
