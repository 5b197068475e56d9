# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels: which one a name means, downloaded once, kept unpacked."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .debian import Apt, unpack
from .errors import VmtestError, note

__all__ = ["SUITES", "Cache", "Kernel", "default_cache", "kernel_for"]

# Kernel series and the suite that carries it. Another name is taken for a suite, or for a series that the newest
# suite may have.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7.2": "sid"}
_NEWEST_SUITE = "sid"


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel: the packages' files lie below *root* as they would below /."""

    root: Path
    suite: str
    flavour: str
    """`cloud`, Debian's small kernel, or `generic`."""
    release: str
    """What uname -r says."""
    version: str
    """Debian's package version."""
    architecture: str = "amd64"

    def image(self) -> Path:
        """Return the bootable image (its place differs between Debian releases)."""
        return self._file(f"boot/vmlinuz-{self.release}", "vmlinuz")

    def config(self) -> Path:
        """Return the file with the CONFIG_ options."""
        return self._file(f"boot/config-{self.release}", "config")

    def modules(self) -> Path:
        """Return the directory that is /lib/modules/RELEASE when the kernel is installed."""
        for parent in ("usr/lib", "lib"):
            path = self.root / parent / "modules" / self.release
            if path.is_dir():
                return path
        raise VmtestError(f"read {self.root}: no modules of {self.release}. Delete it and run again.")

    def headers(self) -> list[Path]:
        """Return the unpacked linux-headers directories."""
        return sorted(self.root.glob("usr/src/linux-headers-*"))

    def busybox(self) -> Path:
        """Return the static busybox that was downloaded with the kernel."""
        for name in ("usr/bin/busybox", "bin/busybox"):
            if (self.root / name).is_file():
                return self.root / name
        raise VmtestError(f"read {self.root}: no busybox. Delete it and run again.")

    def is_called(self, name: str) -> bool:
        """Return whether a series, a suite or a release means this kernel."""
        return name in (self.suite, self.release) or self.release.startswith(name + ".")

    def _file(self, installed: str, beside_modules: str) -> Path:
        path = self.root / installed
        return path if path.is_file() else self.modules() / beside_modules


class Cache:
    """What was downloaded, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kernels = directory / "kernels"
        self.kernels.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Kernel]:
        """Return all kernels, by directory name."""
        files = sorted(self.kernels.glob("*/vmtest.json"))
        return [Kernel(root=path.parent, **json.loads(path.read_text())) for path in files]

    def find(self, name: str, flavour: str, architecture: str = "amd64") -> Kernel | None:
        """Return the latest downloaded kernel that a name means, or None."""
        return max(
            (
                kernel
                for kernel in self.all()
                if (kernel.flavour, kernel.architecture) == (flavour, architecture) and kernel.is_called(name)
            ),
            key=lambda kernel: kernel.root.stat().st_mtime,
            default=None,
        )

    def apt(self, suite: str, architecture: str) -> Path:
        """Return where APT keeps what it knows of a suite."""
        return self.directory / "apt" / (suite if architecture == "amd64" else f"{suite}-{architecture}")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let only one process download at a time."""
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def default_cache() -> Path:
    """Return where kernels are kept unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmtest"


def kernel_for(
    cache: Cache,
    name: str,
    *,
    flavour: str = "cloud",
    mirror: str | None = None,
    update: bool = False,
    architecture: str = "amd64",
) -> Kernel:
    """Return the kernel that a name means, downloading it unless it is there.

    Args:
        name: A series (`6.1`), a Debian suite, or an exact release.
        update: Look for a newer package even so.
        architecture: `amd64` or `arm64`.
    """
    with cache.lock():
        kernel = cache.find(name, flavour, architecture)
        if kernel is None or update:
            kernel = _download(cache, name, flavour, mirror, architecture)
        return kernel


def _download(cache: Cache, name: str, flavour: str, mirror: str | None, architecture: str) -> Kernel:
    series = name if name[:1].isdigit() else None
    suite = SUITES.get(name, _NEWEST_SUITE if series else name)
    apt = Apt(cache.apt(suite, architecture), suite, mirror, architecture)
    infix = "-cloud" if flavour == "cloud" else ""

    version = apt.fields(f"linux-image{infix}-{architecture}")["Version"]
    if series and not version.startswith(series + "."):
        raise VmtestError(
            f"find kernel {series}: Debian {suite} has {version} now. "
            f"Ask for {'.'.join(version.split('.')[:2])}, or use a cache that has {series}."
        )
    # The meta-packages name the real ones. Those depend, in the newest suites, on the packages with the image and the
    # modules; kbuild and compilers are of no use here.
    real = [apt.depends(f"linux-{part}{infix}-{architecture}", rf"linux-{part}-\d") for part in ("image", "headers")]
    release = real[0][0].removeprefix("linux-image-")
    number = re.escape(release.split("-cloud")[0].removesuffix(f"-{architecture}"))
    names = apt.closure([package for part in real for package in part], rf"linux-(?!kbuild|compiler)[a-z]+-{number}")

    root = cache.kernels / f"{release}_{version}"
    if not root.exists():
        note(f"downloading Linux {release} ({version}) from Debian {suite}")
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache.kernels))
        try:
            unpack(apt.download([*names, "busybox-static"], work / "debs"), work / "root")
            fields = asdict(Kernel(work / "root", suite, flavour, release, version, architecture))
            del fields["root"]
            (work / "root" / "vmtest.json").write_text(json.dumps(fields, indent=1) + "\n")
            (work / "root").rename(root)  # complete or not there at all
        finally:
            shutil.rmtree(work)
    return Kernel(root, suite, flavour, release, version, architecture)
