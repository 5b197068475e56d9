# SPDX-License-Identifier: Apache-2.0
"""A root file system of Debian for arm64, unpacked and never installed, with the wheel and these tests inside."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from tests.vm.vmtest.debian import Apt, unpack
from tests.vm.vmtest.kernels import Cache

__all__ = ["CHECKOUT", "PACKAGES", "make_root"]

SUITE = "bookworm"
# pytest for its names alone, which the tests' modules use.
PACKAGES = ("python3", "python3-yaml", "python3-pytest", "libbpf1", "iproute2")
CHECKOUT = Path("/opt/checkout")
_TESTS = Path(__file__).resolve().parents[1]


def make_root(cache: Cache, wheel: Path, directory: Path) -> Path:
    """Return a root file system below *directory*, which must not exist.

    The packages stay in the cache; they are only unpacked, so nothing of arm64 runs on this machine.

    Args:
        wheel: A wheel for every platform.
    """
    with cache.lock():
        apt = Apt(cache.apt(SUITE, "arm64"), SUITE, None, "arm64")
        packages = apt.download_with_needs(PACKAGES)
    unpack(packages, directory)
    for name in ("dev", "proc", "sys", "run", "tmp"):
        (directory / name).mkdir(exist_ok=True)
    checkout = directory / CHECKOUT.relative_to("/")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(checkout)
    shutil.copytree(_TESTS, checkout / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    return directory
