# SPDX-License-Identifier: Apache-2.0
"""Packages of any Debian suite, downloaded and unpacked; nothing is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .errors import VmtestError, note

__all__ = ["Apt", "unpack"]

# The keys that Debian signs all of its suites with (package debian-archive-keyring).
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Apt:
    """APT for one suite, with its own lists: the machine's APT state is not touched."""

    def __init__(self, directory: Path, suite: str, mirror: str | None, architecture: str = "amd64") -> None:
        """Read the suite's package index.

        Args:
            directory: Where lists and index are kept.
            mirror: A Debian mirror; None takes the one of this machine's APT sources.
            architecture: Whose packages.
        """
        self.directory = directory
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").touch()
        self._options = [
            f"-oDir::Etc::sourcelist={directory / 'sources.list'}",
            "-oDir::Etc::sourceparts=-",
            "-oDir::Etc::preferences=-",
            "-oDir::Etc::preferencesparts=-",
            f"-oDir::State={directory}",
            f"-oDir::State::lists={directory / 'lists'}",
            f"-oDir::State::status={directory / 'status'}",
            f"-oDir::Cache={directory / 'cache'}",
            f"-oAPT::Architecture={architecture}",
            f"-oAPT::Architectures={architecture}",
            "-oAPT::Sandbox::User=root",
            "-oAcquire::Languages=none",
        ]
        self._update(suite, mirror)

    def _update(self, suite: str, mirror: str | None) -> None:
        if not shutil.which("apt-get"):
            raise VmtestError(f"download from Debian {suite}: no apt-get. Use a Debian machine.")
        if not _KEYRING.exists():
            raise VmtestError(f"verify Debian's signatures: no {_KEYRING}. Install debian-archive-keyring.")
        main, security = (mirror, None) if mirror else _machine_mirrors()
        line = f"deb [signed-by={_KEYRING}] {main} {suite} main\n"
        attempts = [line]
        if security and "-" not in suite:  # not every suite has one
            attempts.insert(0, line + f"deb [signed-by={_KEYRING}] {security} {suite}-security main\n")
        note(f"reading the package index of Debian {suite}")
        said = ""
        for attempt in attempts:
            (self.directory / "sources.list").write_text(attempt)
            done = self._run("apt-get", "-qq", "update")
            if done.returncode == 0:
                return
            said = done.stderr.strip()
        raise VmtestError(
            f"read the package index of Debian {suite}: apt-get update failed. "
            f"Check the network and this machine's APT sources. It said\n{said}"
        )

    def fields(self, package: str) -> dict[str, str]:
        """Return the index entry of the newest version of a package."""
        done = self._run("apt-cache", "show", "--no-all-versions", package)
        if done.returncode:
            raise VmtestError(f"find package {package}: {done.stderr.strip()}. Check kernel and flavour.")
        return dict(re.findall(r"^([A-Z][\w-]*): (.*)$", done.stdout, re.MULTILINE))

    def depends(self, package: str, pattern: str) -> list[str]:
        """Return what a package depends on, of the names that match a pattern."""
        alternatives = re.split(r"\s*[,|]\s*", self.fields(package).get("Depends", ""))
        names = (alternative.split(" ")[0] for alternative in alternatives)
        # An unsigned image is an alternative to the signed one, with the same files.
        return [name for name in names if re.match(pattern, name) and not name.endswith("-unsigned")]

    def closure(self, packages: Iterable[str], pattern: str) -> list[str]:
        """Return the packages and all that they depend on, of the names that match a pattern."""
        found: set[str] = set()
        pending = list(packages)
        while pending:
            package = pending.pop()
            if package not in found:
                found.add(package)
                pending += self.depends(package, pattern)
        return sorted(found)

    def download(self, packages: Iterable[str], directory: Path) -> list[Path]:
        """Download packages to a new directory and return the files."""
        directory.mkdir(parents=True)
        wanted = list(packages)
        done = self._run("apt-get", "-qq", "download", *wanted, cwd=directory)
        if done.returncode:
            raise VmtestError(f"download {' '.join(wanted)}: apt-get failed. It said\n{done.stderr.strip()}")
        return sorted(directory.glob("*.deb"))

    def download_with_needs(self, packages: Iterable[str]) -> list[Path]:
        """Download packages and all that they need, as if nothing were installed; return the files."""
        wanted = list(packages)
        self._run("apt-get", "-qq", "autoclean")  # versions that were downloaded before and are superseded
        done = self._run("apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "install", *wanted)
        if done.returncode:
            raise VmtestError(f"download {' '.join(wanted)}: apt-get failed. It said\n{done.stderr.strip()}")
        return sorted((self.directory / "cache" / "archives").glob("*.deb"))

    def _run(self, program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [program, *self._options, *arguments]
        return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def unpack(packages: Iterable[Path], root: Path) -> None:
    """Unpack package files below *root*, which must not exist."""
    root.mkdir(parents=True)
    for package in packages:
        done = subprocess.run(["dpkg-deb", "--extract", package, root], capture_output=True, text=True, check=False)
        if done.returncode:
            raise VmtestError(f"unpack {package.name}: {done.stderr.strip()}")


def _machine_mirrors() -> tuple[str, str | None]:
    """Return the addresses of Debian's main and security archives in this machine's APT sources."""
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    main = security = None
    for line in done.stdout.splitlines():
        release, _, address = line.partition(" ")
        if release.endswith("-security"):
            security = security or address
        elif "-" not in release:
            main = main or address
    if main is None:
        raise VmtestError("find a Debian mirror: none in this machine's APT sources. Run apt-get update, or name one.")
    return main, security
