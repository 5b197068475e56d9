#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Install a wheel with libbpf inside where there is nothing but Python, and read a check there.

`make bare-root` runs it. It needs root, debootstrap and, the first time, the network: it makes a Debian 12 of
python3 and python3-venv only, from the mirror that this machine's APT is set up with, and keeps it under build/.
Everything is mounted in a namespace of its own, and gone when the command ends.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "python3,python3-venv"
# $1 is the root; the rest is run in it. /sys holds the BTF of the kernel and the cgroups.
ENTER = 'mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && exec chroot "$@"'


def make_root(folder: Path) -> Path:
    """Return the folder of a Debian with Python only, made where it is not there yet."""
    made = folder / "root"
    if not made.is_dir():
        mirror = output(ROOT / "tools" / "fetch-sources", "--print-mirror")
        print("==> making a Debian 12 with Python only", flush=True)
        part = folder / "root.part"
        shutil.rmtree(part, ignore_errors=True)
        command = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", part, mirror)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        part.rename(made)
    return made


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def fetch_requirements(wheel: Path, folder: Path) -> Path:
    """Return a folder with the wheel and, for the Python of Debian 12, all that it requires."""
    wheels = folder / "wheels"
    tag = wheel.stem.rpartition("-")[2]
    print("==> fetching what the wheel requires", flush=True)
    command = ("pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11", f"--platform={tag}")
    subprocess.run([sys.executable, "-m", *command, "--dest", wheels, wheel], check=True)
    return wheels


def enter(root: Path, *command: str) -> str:
    """Run a command in the root and return what it printed."""
    namespace = ("unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "sh", root)
    return output(*namespace, "/usr/bin/env", "-i", "PATH=/opt/check/bin:/usr/sbin:/usr/bin", *command)


def main() -> int:
    parser = argparse.ArgumentParser(description="Install a wheel where there is nothing but Python, and read a check.")
    parser.add_argument("wheel", type=Path, help="a wheel for this machine, with libbpf inside")
    parser.add_argument("checks", nargs="*", default=["all"], metavar="CHECK", help="checks to run; default all")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bare-root", help="where to keep the root")
    options = parser.parse_args()

    options.folder.mkdir(parents=True, exist_ok=True)
    root = make_root(options.folder)
    wheels = fetch_requirements(options.wheel, options.folder)
    shutil.rmtree(root / "wheels", ignore_errors=True)
    shutil.copytree(wheels, root / "wheels")
    shutil.rmtree(root / "opt" / "check", ignore_errors=True)

    foreign = enter(root, "find", "/", "-xdev", "-name", "libbpf*", "-o", "-xdev", "-name", "libelf*")
    if foreign:
        raise SystemExit(f"check the root: it is not bare, it has {foreign.split()}. Delete {root}.")
    enter(root, "python3", "-m", "venv", "/opt/check")
    enter(root, "pip", "install", "--quiet", "--no-index", "--find-links=/wheels", f"/wheels/{options.wheel.name}")
    library = enter(root, "find", "/opt/check", "-name", "*libbpf*.so")
    print(f"==> installed; libbpf is {library}", flush=True)

    said = enter(root, "ebpf-collector", "check", *options.checks, "--interval=1", "--json")
    lines = [json.loads(line) for line in said.splitlines()]
    for line in lines:
        print(line["kind"], line.get("metric", line.get("title")), line.get("value", ""), *line["tags"])
    return 0 if any(line["kind"] == "metric" for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
