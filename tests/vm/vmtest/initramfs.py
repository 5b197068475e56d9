# SPDX-License-Identifier: Apache-2.0
"""What the guest boots from, built in memory: busybox, the modules that reach the shared files, two scripts."""

from __future__ import annotations

import lzma
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import VmtestError
from .kernels import Kernel

__all__ = ["make_initramfs"]

# What the guest needs before it can see the shared file system. Those that a kernel has built in are skipped.
_BOOT_MODULES = ("virtio_pci", "virtiofs", "overlay")


def make_initramfs(
    kernel: Kernel, modules: Iterable[str], settings: Mapping[str, object], mounts: str, command: str
) -> bytes:
    """Return the initramfs that runs a command in a guest of *kernel*.

    Args:
        modules: Kernel modules to load, beside those the guest needs.
        settings: Variables of init.sh and guest.sh.
        mounts, command: Shell code of guest.sh.
    """
    loaded = _load_order(kernel, [*_BOOT_MODULES, *modules])
    settings = {**settings, "MODULES": " ".join(loaded)}

    archive = _Archive()
    for name in ("bin", "dev", "proc", "sys", "vmtest", "vmtest/modules"):
        archive.directory(name)
    archive.console()
    archive.file("bin/busybox", kernel.busybox().read_bytes())
    archive.file("init", Path(__file__).with_name("init.sh").read_bytes())
    for name, elf in loaded.items():
        archive.file(f"vmtest/modules/{name}.ko", elf)
    archive.file("vmtest/guest", Path(__file__).with_name("guest.sh").read_bytes())
    archive.file("vmtest/settings", "".join(f"{k}={shlex.quote(str(v))}\n" for k, v in settings.items()).encode())
    archive.file("vmtest/mounts", mounts.encode())
    archive.file("vmtest/command", command.encode())
    return archive.pack()


def _load_order(kernel: Kernel, names: Iterable[str]) -> dict[str, bytes]:
    """Return the ELF files of modules and of those they need, dependencies first.

    The packages carry no modules.dep (it is made at installation), so the dependencies are read from the modules.
    """
    directory = kernel.modules()
    files = {_module_name(path): path for path in (directory / "kernel").rglob("*.ko*")}
    builtin = {_module_name(Path(line)) for line in (directory / "modules.builtin").read_text().split()}
    order: dict[str, bytes] = {}

    def visit(name: str) -> None:
        name = name.replace("-", "_")
        if name in order or name in builtin:
            return
        if name not in files:
            raise VmtestError(f"load module {name}: Linux {kernel.release} has none. Try the generic flavour.")
        elf = files[name].read_bytes()
        if files[name].suffix == ".xz":
            elf = lzma.decompress(elf)
        depends = re.search(rb"(?:^|\0)depends=([^\0]*)\0", elf)
        for dependency in depends.group(1).decode().split(",") if depends else ():
            if dependency:
                visit(dependency)
        order[name] = elf

    for name in names:
        visit(name)
    return order


def _module_name(path: Path) -> str:
    """Return the name under which the kernel knows a module file."""
    return path.name.split(".ko")[0].replace("-", "_")


class _Archive:
    """A cpio archive in the format "newc"."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def directory(self, name: str) -> None:
        self._add(name, 0o040755, b"")

    def file(self, name: str, content: bytes) -> None:
        self._add(name, 0o100755, content)

    def console(self) -> None:
        """Add /dev/console, which the kernel opens for /init before anything is mounted."""
        self._add("dev/console", 0o020600, b"", device=(5, 1))

    def pack(self) -> bytes:
        self._add("TRAILER!!!", 0, b"")
        return b"".join(self._parts)

    def _add(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, checksum
        fields = (len(self._parts), mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + path, content):
            self._parts.append(part + b"\0" * (-len(part) % 4))
