# SPDX-License-Identifier: Apache-2.0
"""The two kinds of guests: this machine with another kernel, and one of arm64 on a root file system of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.walker import compile_walker
from tests.vm.vmtest.debian import Apt, unpack
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.kernels import SUITES, Cache, Kernel

__all__ = ["ROOT", "SERIES", "Machine", "arm64_machine"]

ROOT = Path(__file__).resolve().parents[2]
# By the architecture's name in Debian. Of Linux 5.10 the archive has no packages for arm64 any more.
SERIES = {"amd64": tuple(SUITES), "arm64": ("6.1", "6.12", "7.2")}
_SUITE = "trixie"
# What is tested, and what its tests need.
_PACKAGES = (
    "base-files", "clang", "coreutils", "dash", "iproute2", "libbpf1", "mount", "python3", "python3-hypothesis",
    "python3-jinja2", "python3-jsonschema", "python3-numpy", "python3-pyelftools", "python3-pytest",
    "python3-pytest-timeout", "python3-yaml", "util-linux",
)  # fmt: skip
_PYTHON = "/usr/bin/python3"
_TARGET = "aarch64-linux-gnu"  # as zig says
_LIBRARIES = Path("/usr/lib/aarch64-linux-gnu")
_MODULES = Path("usr/lib/python3/dist-packages")
_showing = threading.Lock()
_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"


@dataclass(frozen=True)
class Machine:
    """What a guest is besides its kernel."""

    architecture: str = "amd64"
    """As Debian names it."""
    root: Path = Path("/")
    """What its root file system is a view of; the checkout is there under the same path as on this machine."""
    python: str = sys.executable
    variables: tuple[str, ...] = ()
    """More environment variables, NAME=VALUE."""
    target: str = "x86_64-linux-gnu"
    """What zig calls it."""

    def options(self) -> list[str]:
        """Return the options of vmtest that make it."""
        if self.architecture == "amd64":
            return []
        pairs = (("--env", variable) for variable in self.variables)
        return [
            "--architecture",
            self.architecture,
            "--root",
            str(self.root),
            *(part for pair in pairs for part in pair),
        ]

    def show(self, kernel: Kernel) -> None:
        """Let the root file system have the kernel's modules and headers under the same path as on this machine."""
        place = self.root / kernel.root.relative_to("/")
        with _showing:
            if not place.exists():
                shutil.copytree(kernel.root, place, symlinks=True)


def arm64_machine(cache: Cache, directory: Path) -> Machine:
    """Return a machine of arm64 with a root file system below *directory*, which must not exist.

    Debian's packages stay in the cache. They are only unpacked, so nothing of arm64 runs on this machine. The wheel
    is the one that the build has left, which is for every platform.

    Raises:
        VmtestError: A package cannot be had, or there is no wheel.
    """
    wheels = list((ROOT / "build" / "wheel").glob("ebpf_runtime-*-py3-none-any.whl"))
    if len(wheels) != 1:
        raise VmtestError(f"find the wheel: there are {len(wheels)} in {ROOT / 'build' / 'wheel'}. Run make vm.")
    with cache.lock():
        apt = Apt(cache.apt(_SUITE, "arm64"), _SUITE, None, "arm64")
        packages = apt.download_with_needs(_PACKAGES)
    unpack(packages, directory)
    for name in ("dev", "proc", "sys", "run", "tmp"):
        (directory / name).mkdir(exist_ok=True)
    (directory / "tmp").chmod(0o1777)
    (directory / "etc/passwd").write_text(_USERS)
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(directory / _MODULES)
    # The wheels for arm64 have it; without it libbpf reads the streams, as the tests have it do, too.
    compile_walker(directory / _MODULES / "ebpf_runtime" / "_walker.so", _TARGET)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            place = directory / ROOT.relative_to("/") / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)
    # Nobody has chosen between the libraries that offer NumPy's, as the installation of packages does.
    libraries = f"LD_LIBRARY_PATH={_LIBRARIES / 'blas'}:{_LIBRARIES / 'lapack'}"
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return Machine("arm64", directory, _PYTHON, (libraries, path), _TARGET)
