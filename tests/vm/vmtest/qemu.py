# SPDX-License-Identifier: Apache-2.0
"""The emulator: the installed QEMU, or a newer one that is unpacked beside the kernels."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from .debian import Apt, unpack
from .errors import VmtestError, note
from .kernels import Cache

__all__ = ["Emulator", "emulator_for"]

# QEMU 7.2 leaves wrong flags behind when it emulates the instruction cmpxchg16b: every third boot of Linux 6.12 dies of
# it, so the emulated processor must not offer it. But without it BPF local storage stays empty under Linux 7.2. A QEMU
# that is known to be right is worth a download.
_RIGHT = (10, 0)


@dataclass(frozen=True)
class Emulator:
    """A QEMU: the program with the options that find its firmware, and its version."""

    command: tuple[str, ...]
    version: tuple[int, ...]
    architecture: str = "amd64"

    def machine(self) -> list[str]:
        """Return the options for a machine and the most capable processor that it emulates correctly."""
        if self.architecture == "arm64":
            # Pointer authentication by the architecture's own algorithm would take most of the time.
            return ["-machine", "virt,accel=tcg,memory-backend=memory", "-cpu", "max,pauth-impdef=on"]
        return ["-machine", "pc,accel=tcg,memory-backend=memory", "-cpu", self._processor()]

    def serial_ports(self, chardevs: list[str]) -> list[str]:
        """Return the options that make four character devices /dev/ttyS0 to /dev/ttyS3 of the guest."""
        if self.architecture == "arm64":  # which has one port of another kind
            numbered = (f"chardev{number}={name}" for number, name in enumerate(chardevs, 1))
            return ["-device", f"pci-serial-4x,{','.join(numbered)}"]
        return [option for name in chardevs for option in ("-serial", f"chardev:{name}")]

    def _processor(self) -> str:
        return "max" if self.version >= _RIGHT else "max,cx16=off"


def emulator_for(cache: Cache, *, mirror: str | None = None, architecture: str = "amd64") -> Emulator:
    """Return the installed QEMU, or for amd64 and if that is too old a newer one, downloaded but not installed.

    Raises:
        VmtestError: There is none.
    """
    return _arm64_emulator() if architecture == "arm64" else _amd64_emulator(cache, mirror)


def _arm64_emulator() -> Emulator:
    installed = _probe("qemu-system-aarch64")
    if installed is None:
        raise VmtestError("start a guest: qemu-system-aarch64 is missing. Install qemu-system-arm.")
    return replace(installed, architecture="arm64")


def _amd64_emulator(cache: Cache, mirror: str | None) -> Emulator:
    installed = _probe("qemu-system-x86_64")
    if installed is None:
        raise VmtestError(
            "start a guest: qemu-system-x86_64 is missing. "
            "Install qemu-system-x86, and on Debian 13 or newer virtiofsd."
        )
    if installed.version >= _RIGHT:
        return installed
    root = cache.directory / "qemu"
    with cache.lock():
        if not root.exists():
            _download(cache, root, mirror)
    firmware = ("-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios"))
    downloaded = _probe(str(root / "usr/bin/qemu-system-x86_64"), *firmware)
    if downloaded is None:
        note(
            f"QEMU {'.'.join(map(str, installed.version))} is used; its processor is not quite right, and what needs "
            f"cmpxchg16b fails. Install QEMU {_RIGHT[0]} or newer, or delete {root} to look for one again."
        )
    return downloaded or installed


def _probe(*command: str) -> Emulator | None:
    """Return the QEMU that a command starts, None if it does not run."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    version = re.search(r"version (\d+)\.(\d+)", done.stdout)
    return Emulator(command, tuple(map(int, version.groups()))) if version else None


def _download(cache: Cache, root: Path, mirror: str | None) -> None:
    """Unpack QEMU from this Debian release's backports; leave an empty directory if there is none."""
    release = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    suite = f"{release.group(1) if release else 'stable'}-backports"
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache.directory))
    try:
        apt = Apt(cache.directory / "apt" / suite, suite, mirror)
        note(f"downloading QEMU from Debian {suite}, the installed one has a bug that matters")
        unpack(apt.download(["qemu-system-x86", "qemu-system-data", "seabios"], work / "debs"), work / "root")
    except VmtestError as error:
        note(f"no newer QEMU: {error}")
        (work / "root").mkdir(exist_ok=True)
    (work / "root").rename(root)
    shutil.rmtree(work)
