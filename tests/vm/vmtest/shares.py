# SPDX-License-Identifier: Apache-2.0
"""Directories of this machine, served to the guest by virtiofsd."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import socket
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from .errors import VmtestError

__all__ = ["Share", "die_with_parent", "serve"]

# The daemon was a part of QEMU up to version 7.2, and is a separate program in Rust since then.
_DAEMON_IN_RUST = Path("/usr/libexec/virtiofsd")
_DAEMON_OF_QEMU = Path("/usr/lib/qemu/virtiofsd")


@dataclass(frozen=True)
class Share:
    """A directory of this machine at another place in the guest.

    A read-only one is a bind mount inside the guest, which sees all of the machine anyway; what the command writes
    there is discarded. A writable one is served by a daemon of its own.
    """

    machine: Path
    guest: Path
    writable: bool = False

    def tag(self) -> str:
        """Return the name under which the guest finds a writable share (at most 36 bytes)."""
        return f"vmtest_{zlib.crc32(bytes(self.guest)):08x}"

    def mount_command(self) -> str:
        """Return the shell code that mounts it in the guest."""
        machine, guest = shlex.quote(str(self.machine)), shlex.quote(str(self.guest))
        what = f"-t virtiofs {self.tag()}" if self.writable else f"-o bind {machine}"
        return f"$B mkdir -p {guest} && $B mount {what} {guest} || fail cannot mount {guest}\n"


def serve(directory: Path, *, writable: bool, socket_path: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the daemon that serves a directory to the guest at a Unix socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener, log.open("ab") as errors:
        listener.bind(str(socket_path))
        listener.listen()
        return subprocess.Popen(
            _daemon(directory, listener.fileno(), writable=writable),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=[listener.fileno()],
            preexec_fn=die_with_parent if writable else _die_with_parent_and_write_nothing,
        )


def _daemon(directory: Path, fd: int, *, writable: bool) -> list[str]:
    # Only the machine's own file system may be cached without asking again; in a writable directory both sides work.
    cache = "auto" if writable else "always"
    if _DAEMON_OF_QEMU.exists():
        settings = f"source={directory},sandbox=chroot,cache={cache},log_level=err"
        return [str(_DAEMON_OF_QEMU), "-f", f"--fd={fd}", "-o", settings]
    if _DAEMON_IN_RUST.exists():
        # Announced, a mount below the directory would become a mount point inside the guest's lower layer, which
        # overlayfs refuses to enter.
        options = ["--sandbox=chroot", f"--cache={cache}", "--log-level=error", "--no-announce-submounts"]
        return [str(_DAEMON_IN_RUST), f"--fd={fd}", f"--shared-dir={directory}", *options]
    raise VmtestError(
        "share the file system: virtiofsd is missing. Install virtiofsd, on Debian 12 qemu-system-common."
    )


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that dies."""
    pr_set_pdeathsig = 1
    _libc().prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def _die_with_parent_and_write_nothing() -> None:
    """Also make all mounts read-only for this process, in a mount namespace of its own.

    The guest mounts the file system read-only, but root in the guest could undo that.
    """
    clone_newns, ms_rec_private, sys_mount_setattr = 0x20000, 0x44000, 442
    at_fdcwd, at_recursive, mount_attr_rdonly = -100, 0x8000, 1
    die_with_parent()
    libc = _libc()
    libc.unshare(clone_newns)
    libc.mount(None, b"/", None, ctypes.c_ulong(ms_rec_private), None)
    attributes = (ctypes.c_uint64 * 4)(mount_attr_rdonly, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    if libc.syscall(sys_mount_setattr, at_fdcwd, b"/", at_recursive, attributes, size):
        os.write(2, b"cannot make the mounts read-only (needs Linux 5.12)\n")
        os._exit(1)  # rather no guest than one that can write to the machine


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
