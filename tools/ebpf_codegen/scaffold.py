# SPDX-License-Identifier: Apache-2.0
"""A package with one probe, to begin with: what `ebpf-codegen new` writes."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import CodegenError
from .files import write_file
from .names import class_name
from .render import template

__all__ = ["scaffold"]

_TAKEN: Final = ("bpf", "tests")  # directories of the package


@dataclass(frozen=True, slots=True)
class _View:
    """All strings of the templates in templates/package."""

    name: str
    probe: str
    package: str
    distribution: str
    wheel: str


def scaffold(name: str, directory: Path) -> tuple[Path, ...]:
    """Write a package with the probe *name* into *directory*, which must be empty or not there.

    Returns:
        The paths written, in the order in which to read them.
    Raises:
        CodegenError: The name makes no module, the directory holds something, or a file cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in _TAKEN:
        raise CodegenError(
            f"create a package {name!r}: it is no name for a Python module. "
            "Use lower-case letters, digits and underscores, as in tcp_connect."
        )
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise CodegenError(f"create {directory}: something is there already. Choose another with --directory.")
    except OSError as error:
        raise CodegenError(f"create {directory}: {error.strerror}.") from error
    package = f"{name}_probes"
    view = _View(name, class_name(name), package, package.replace("_", "-"), package)
    files = {
        f"bpf/{name}.bpf.c": "probe.bpf.c",
        f"tests/test_{name}.py": "test.py",
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        "CMakeLists.txt": "CMakeLists.txt",
        f"{package}/__init__.py": "init.py",
        f"{package}/py.typed": "",
        ".gitignore": "gitignore",
    }
    for file, source in files.items():
        text = template(f"package/{source}.j2").render(view=view) if source else ""
        write_file(directory / file, text.encode())
    return tuple(directory / file for file in files)
