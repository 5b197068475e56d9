# SPDX-License-Identifier: Apache-2.0
"""Fetching the sources of the bundled libbpf: from which mirror, and what is refused.

Nothing is fetched: the source packages are made here, and apt-get is a command that prints.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PATCH = """\
diff --git a/src/libbpf.c b/src/libbpf.c
--- a/src/libbpf.c
+++ b/src/libbpf.c
@@ -1 +1 @@
-int careless;
+int careful;
"""
HEADERS = ("bpf_core_read.h", "bpf_endian.h", "bpf_helper_defs.h", "bpf_helpers.h", "bpf_tracing.h", "usdt.bpf.h")


class Machine:
    """A copy of the tool that pins other sources, and a machine with git and perhaps an apt-get."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "deps"
        self.archives = self.folder / "archives"
        self.archives.mkdir(parents=True)
        self.tools = folder / "tools"
        self.tools.mkdir()
        shutil.copy(TOOLS / "fetch-sources", self.tools)
        self.bin = folder / "bin"
        self.bin.mkdir()
        git = shutil.which("git")
        assert git is not None
        (self.bin / "git").symlink_to(git)
        self.pins: list[str] = []

    def pack(self, name: str, folder: str, files: dict[str, str]) -> None:
        """Put an archive where fetched ones are, and note its digest."""
        path = self.archives / name
        with tarfile.open(path, "w:xz") as archive:
            for file, text in files.items():
                member = tarfile.TarInfo(f"{folder}/{file}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        self.pins.append(f'"{name}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"')

    def pin(self) -> None:
        lines = ("[libbpf]", 'version = "1-1"', 'folder = "pool/main/libb/libbpf"', "[libbpf.files]", *self.pins)
        (self.tools / "sources.toml").write_text("\n".join(lines) + "\n")

    def apt_get(self, *indexes: str) -> None:
        path = self.bin / "apt-get"
        printed = "\n".join(f"echo \"'{index}' name 0\"" for index in indexes)
        path.write_text(f'#!/bin/sh\n[ "$*" = "--print-uris update" ] || exit 1\n{printed}\n')
        path.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.tools / "fetch-sources"), *arguments, str(self.folder)]
        environment = {**os.environ, "PATH": str(self.bin)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    headers = {f"src/{header}": f"/* {header} */" for header in HEADERS}
    made.pack("libbpf_1.orig.tar.xz", "libbpf-1", {"src/libbpf.c": "int careless;\n", **headers})
    made.pack(
        "libbpf_1-1.debian.tar.xz", "debian", {"patches/series": "# why\nfix.patch\n", "patches/fix.patch": PATCH}
    )
    made.pin()
    return made


def test_sources_are_unpacked_with_debians_patches(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "==> unpacked libbpf 1-1\n", "")
    assert (machine.folder / "libbpf" / "src" / "libbpf.c").read_text() == "int careful;\n"
    assert (machine.folder / "include" / "bpf" / "bpf_helpers.h").read_text() == "/* bpf_helpers.h */"
    assert (machine.folder / "sources.toml").read_bytes() == (machine.tools / "sources.toml").read_bytes()


def test_patches_are_applied_inside_a_repository_too(machine: Machine) -> None:
    # git takes the folder for a part of the repository around it, and says nothing of patches it skips.
    subprocess.run(["git", "init", "--quiet", machine.folder.parent], check=True)
    assert machine.run().returncode == 0
    assert (machine.folder / "libbpf" / "src" / "libbpf.c").read_text() == "int careful;\n"


def test_nothing_is_done_again(machine: Machine) -> None:
    machine.run()
    source = machine.folder / "libbpf" / "src" / "libbpf.c"
    source.write_text("int changed_by_hand;\n")
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert source.read_text() == "int changed_by_hand;\n"


def test_a_header_that_is_lacking_is_unpacked_again(machine: Machine) -> None:
    # As in a folder from before another header was wanted; nothing is fetched for it.
    machine.run()
    header = machine.folder / "include" / "bpf" / "usdt.bpf.h"
    header.unlink()
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "==> unpacked libbpf 1-1\n", "")
    assert header.read_text() == "/* usdt.bpf.h */"


def test_another_digest_is_refused(machine: Machine) -> None:
    archive = machine.archives / "libbpf_1.orig.tar.xz"
    expected = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.write_bytes(archive.read_bytes() + b"\0")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == f"check {archive}: its SHA-256 is {found}, not {expected}. Delete it and try again.\n"
    assert not (machine.folder / "sources.toml").exists()
    assert not (machine.folder / "libbpf").exists()


def test_a_patch_that_does_not_fit_is_refused(machine: Machine) -> None:
    machine.pins.clear()
    machine.pack("libbpf_1.orig.tar.xz", "libbpf-1", {"src/libbpf.c": "int other;\n"})
    machine.pack("libbpf_1-1.debian.tar.xz", "debian", {"patches/series": "fix.patch\n", "patches/fix.patch": PATCH})
    machine.pin()
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr.startswith("patch libbpf with fix.patch: error: patch failed: src/libbpf.c:1")
    assert not (machine.folder / "sources.toml").exists()


@pytest.mark.parametrize(
    ("indexes", "mirror"),
    [
        (["http://one.invalid/debian/dists/bookworm/InRelease"], "http://one.invalid/debian"),
        (["http://one.invalid/debian/dists/trixie-updates/InRelease"], "http://one.invalid/debian"),
        (
            [
                "http://security.invalid/debian-security/dists/bookworm-security/InRelease",
                "http://else.invalid/node/dists/nodistro/InRelease",
                "http://two.invalid/dists/stable/InRelease",
            ],
            "http://two.invalid",
        ),
    ],
)
def test_the_mirror_is_the_one_that_apt_is_set_up_with(machine: Machine, indexes: list[str], mirror: str) -> None:
    machine.apt_get(*indexes)
    done = machine.run("--print-mirror")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{mirror}\n", "")


def test_a_list_of_mirrors_is_read(machine: Machine, tmp_path: Path) -> None:
    listed = tmp_path / "mirrors.list"
    listed.write_text("# ours\nhttp://three.invalid/debian/ priority:1\nhttp://four.invalid/debian\n")
    machine.apt_get(f"mirror+file:{listed}/dists/trixie/InRelease")
    assert machine.run("--print-mirror").stdout == "http://three.invalid/debian\n"


REMEDY = "Put the files that sources.toml names into archives/."


def test_without_apt_the_remedy_is_named(machine: Machine) -> None:
    (machine.archives / "libbpf_1.orig.tar.xz").unlink()
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == f"find a Debian mirror: there is no apt-get here. {REMEDY}\n"


def test_without_a_mirror_of_debian_the_remedy_is_named(machine: Machine) -> None:
    (machine.archives / "libbpf_1.orig.tar.xz").unlink()
    machine.apt_get("http://archive.invalid/ubuntu/dists/noble/InRelease")
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == f"find a Debian mirror: APT is set up with none for Debian 12 or newer. {REMEDY}\n"


def test_pins_are_complete() -> None:
    pinned = tomllib.loads((TOOLS / "sources.toml").read_text())
    assert sorted(pinned) == ["elfutils", "libbpf", "zlib"]
    for package in pinned.values():
        assert package["version"]
        assert package["folder"].startswith("pool/main/")
        kinds = sorted(".orig." in file for file in package["files"])
        assert kinds == [False, True]
        assert all(len(bytes.fromhex(digest)) == 32 for digest in package["files"].values())
