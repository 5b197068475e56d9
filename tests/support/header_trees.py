# SPDX-License-Identifier: Apache-2.0
"""Trees of kernel headers as far as the runtime looks at them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CODE", "RELEASE", "headers"]

RELEASE = "6.1.0-99-test"
CODE = 393664  # 6.1.192


def headers(directory: Path, code: int | None = CODE, *, is_complete: bool = True) -> Path:
    """Make a tree of headers as far as it is looked at."""
    linux = directory / "include" / "linux"
    linux.mkdir(parents=True)
    (linux / "types.h").touch()
    if is_complete:
        (linux / "kconfig.h").touch()
    if code is not None:
        version = directory / "include/generated/uapi/linux/version.h"
        version.parent.mkdir(parents=True)
        version.write_text(f"#define LINUX_VERSION_CODE {code}\n")
    return directory
