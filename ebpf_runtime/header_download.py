# SPDX-License-Identifier: Apache-2.0
"""Kernel headers downloaded by the distribution's package manager, verified and unpacked; nothing is installed.

    apt-get   linux-headers-R, and the packages of headers that it depends on; apt verifies them by its lists
    zypper    kernel-FLAVOUR-devel of the release without the flavour, and the common part that it requires
    dnf       what provides kernel-devel-uname-r = R: it is named kernel-devel, or after the kernel's variant

Neither dnf 4, dnf 5 nor zypper is sure to look at the signature of a package that is only downloaded, so rpmkeys does:
what has none, or one by a key that rpm does not know, is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .errors import describe
from .kernel_headers import HeaderError

__all__ = ["download"]

_LIMIT_S = 300
_OF_RPM = ("rpm", "rpmkeys", "rpm2cpio", "cpio")
# What each needs besides itself. Where there are several, dnf is likelier to be the one that is not the distribution's.
_TOOLS = {"apt-get": ("dpkg-deb",), "zypper": _OF_RPM, "dnf": _OF_RPM}
# zypper's exit codes from here on only tell more, a repository that was skipped for instance.
_ZYPPER_INFORMS = 100
_NEXT_STEP = (
    "Enable a repository that has the headers of this kernel, or name their directories by "
    "system_probe_config.kernel_header_dirs"
)


def download(directory: Path, release: str) -> None:
    """Download this release's headers, and unpack them into a new directory of ours; it is removed if that fails.

    Raises:
        HeaderError: There is no package manager that this knows, it failed, or a package is not what was signed.
    """
    try:
        manager = _manager()
        with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as scratch:
            _BY_MANAGER[manager](Path(scratch), directory, release)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    for pattern in ("lib/modules/*/*", "usr/lib/modules/*/*"):
        for link in directory.glob(pattern):
            if link.is_symlink():
                link.unlink()  # into the system's tree, where nothing was installed


def _manager() -> str:
    """Return the distribution's package manager, of which everything that it needs is there."""
    manager = next((name for name in _TOOLS if shutil.which(name)), None)
    if manager is None:
        raise HeaderError(
            "download kernel headers: there is neither apt-get, nor zypper, nor dnf. Name their directories by "
            "system_probe_config.kernel_header_dirs",
            "download_failure",
        )
    if missing := [name for name in _TOOLS[manager] if not shutil.which(name)]:
        raise HeaderError(
            f"download kernel headers with {manager}: there is no {', no '.join(missing)}. Install what is missing",
            "download_failure",
        )
    return manager


def _by_apt(scratch: Path, directory: Path, release: str) -> None:
    wanted = [f"linux-headers-{release}"]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        _run(["apt-get", "-q", "download", name], scratch)
        (package,) = scratch.glob(f"{name}_*.deb")
        fields = _run(["dpkg-deb", "--field", str(package), "Depends"], scratch)
        # The common part of the headers is a package of its own.
        for other in re.findall(r"(?:^|[,|] *)(linux-(?:[\w.+-]*-)?headers-[\w.+-]+)", fields):
            if other not in seen:
                wanted.append(other)
        _run(["dpkg-deb", "--extract", str(package), str(directory)], scratch)


def _by_zypper(scratch: Path, directory: Path, release: str) -> None:
    version, _, flavour = release.rpartition("-")
    # What the package provides; its own release has one number more, which counts rebuilds.
    wanted = [f"kernel-{flavour}-devel = {version}"]
    for number, capability in enumerate(wanted):
        target = scratch / str(number)
        command = [
            "zypper", "--quiet", "--non-interactive", "--pkg-cache-dir", str(target), "download", capability
        ]  # fmt: skip
        for package in _fetched(command, target, _ZYPPER_INFORMS):
            required = _run(["rpm", "--query", "--requires", "--package", str(package)], scratch)
            # The common part, kernel-devel or of the kernel's variant, is a package of its own.
            common = re.findall(r"^kernel-(?:devel|source)(?:-[\w-]+)? = [\w.+~-]+$", required, re.MULTILINE)
            wanted += [other for other in common if other not in wanted]
            _unpack(package, directory)


def _by_dnf(scratch: Path, directory: Path, release: str) -> None:
    command = ["dnf", "-q", "-y", "download", "--destdir", str(scratch), f"kernel-devel-uname-r = {release}"]
    for package in _fetched(command, scratch):
        _unpack(package, directory)


_BY_MANAGER = {"apt-get": _by_apt, "zypper": _by_zypper, "dnf": _by_dnf}


def _fetched(command: list[str], target: Path, informs: int = 256) -> list[Path]:
    """Return the packages that a command puts below a directory, verified; zypper reports success without any.

    Args:
        informs: Exit codes from here on are no failure.
    """
    target.mkdir(exist_ok=True)
    run = _started(command, target)
    packages = sorted(target.rglob("*.rpm"))
    if 0 < run.returncode < informs or not packages:
        raise _failed(command, _reason(run) or "no repository has it")
    for package in packages:
        _verify(package)
    return packages


def _verify(package: Path) -> None:
    """Refuse a package that is not signed by a key that rpm knows, or that is not what was signed."""
    command = ["rpmkeys", "--define", "_pkgverify_level all", "--checksig", "--verbose", str(package)]
    run = _started(command, package.parent)
    if not run.returncode:
        return
    said = [line.strip() for line in run.stdout.splitlines()]
    if bad := [line for line in said if ": BAD" in line]:
        reason = f"{bad[0]}. It is damaged, or was changed after it was signed: use another mirror"
    elif unknown := [line for line in said if line.endswith(": NOKEY")]:
        reason = f"{unknown[0]}. rpm does not know the key: import the distribution's by rpm --import"
    else:
        reason = "it is not signed. Use a repository of signed packages"
    raise HeaderError(f"verify {package.name}: {reason}", "download_failure")


def _unpack(package: Path, directory: Path) -> None:
    options = "-idm --quiet --no-absolute-filenames --no-preserve-owner"
    _run(["sh", "-c", f'rpm2cpio "$1" | cpio {options}', "sh", str(package)], directory)


def _run(command: list[str], directory: Path) -> str:
    run = _started(command, directory)
    if run.returncode:
        raise _failed(command, _reason(run) or f"exit code {run.returncode}")
    return run.stdout


def _started(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=directory, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = describe(error.errno or 0) if isinstance(error, OSError) else f"no end after {_LIMIT_S} s"
        raise _failed(command, reason) from None


def _failed(command: list[str], reason: str) -> HeaderError:
    return HeaderError(f"run {' '.join(command)}: {reason.removesuffix('.')}. {_NEXT_STEP}", "download_failure")


def _reason(run: subprocess.CompletedProcess[str]) -> str:
    """Return what a package manager says was wrong, in one line."""
    said = [line.strip() for line in run.stderr.splitlines() if line.strip()]
    for line in said:
        if line.startswith("E: "):
            return line  # the first of apt's is the cause
    # dnf 4 warns first.
    start = next((number for number, line in enumerate(said) if line.startswith("Error: ")), 0)
    return " ".join(said[start:])
