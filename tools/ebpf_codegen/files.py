# SPDX-License-Identifier: Apache-2.0
"""Writing files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import CodegenError

__all__ = ["write_file"]


def write_file(path: Path, data: bytes) -> bool:
    """Replace a file atomically if its content differs; return whether it did.

    Raises:
        CodegenError: The file cannot be written.
    """
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CodegenError(f"write {path}: {error.strerror}.") from error
    return True
