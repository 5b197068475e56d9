# SPDX-License-Identifier: Apache-2.0
"""One guest: boot it, pass on what the command says, and return its exit status."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import TimeLimitError, VmtestError
from .initramfs import make_initramfs
from .kernels import Kernel
from .qemu import Emulator
from .shares import Share, die_with_parent, serve

__all__ = ["Guest", "kept_variables"]

_CONSOLE_TAIL_LINES = 40


def kept_variables() -> dict[str, str]:
    """Return what a command gets from this process's environment without being told."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TERM") if name in os.environ}


@dataclass(frozen=True)
class Guest:
    """What to boot, and what to run in it."""

    kernel: Kernel
    emulator: Emulator
    command: Sequence[str]
    directory: Path
    """Where to run the command."""
    environment: Mapping[str, str] = field(default_factory=kept_variables)
    shares: Sequence[Share] = ()
    modules: Sequence[str] = ()
    """Kernel modules to load first; the guest cannot autoload."""
    cgroup: str = "v2"
    """`v2`, or `v1`: each controller apart, as far as the kernel has it, and /sys/fs/cgroup/unified."""
    btf: bool = True
    """Whether the kernel's type information is to be seen."""
    headers: bool = True
    """Whether the kernel's headers are to be seen."""
    parameters: str = ""
    """More kernel parameters."""
    memory: str = "2G"
    cpus: int = 2
    timeout_s: float = 600
    root: Path = Path("/")
    """What the guest's root file system is a view of."""
    tty: bool = False
    """Connect the command to this terminal."""
    on_console: Callable[[bytes], None] | None = None
    """Called with what the guest's console says."""

    def run(self) -> int:
        """Boot, run the command, and return its exit status, 128 + N after signal N.

        Its output and error output go to descriptors 1 and 2.

        Raises:
            TimeLimitError: The guest was stopped after `timeout_s` seconds.
            VmtestError: It could not be started, or died.
        """
        if os.geteuid() != 0:
            raise VmtestError("share the file system: virtiofsd needs root. Run as root.")
        console, status = bytearray(), bytearray()

        def on_console(data: bytes) -> None:
            console.extend(data)
            if self.on_console:
                self.on_console(data)

        with contextlib.ExitStack() as cleanup:
            work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="vmtest-")))
            log = work / "log"
            ports = [
                _Port(on_console),
                _Port(lambda data: _write_all(1, data)),
                _Port(lambda data: _write_all(2, data)),
                _Port(status.extend),
            ]
            for port in ports:
                cleanup.callback(port.close)
            command = self._emulator(work, log, ports, cleanup)
            with log.open("ab") as errors:
                qemu = subprocess.Popen(
                    command,
                    stdin=None if self.tty else subprocess.DEVNULL,
                    stdout=None if self.tty else errors,
                    stderr=errors,
                    pass_fds=[port.writer for port in ports],
                    preexec_fn=die_with_parent,
                )
            _stop_at_end(cleanup, qemu)
            if self.tty and sys.stdin.isatty():  # QEMU changes its mode, and may be killed
                cleanup.callback(termios.tcsetattr, 0, termios.TCSADRAIN, termios.tcgetattr(0))
            in_time = _relay(ports, time.monotonic() + self.timeout_s, status)
            if status.endswith(b"\n"):
                return int(status)
            tail = console.decode(errors="replace").splitlines()[-_CONSOLE_TAIL_LINES:]
            said = "\n".join([*tail, *log.read_text(errors="replace").splitlines()])
        if not in_time:
            raise TimeLimitError(
                f"run the command: the time limit of {self.timeout_s:g} s passed. "
                f"Look for what hangs, or allow more. The console's last words:\n{said}"
            )
        raise VmtestError(f"run the command: the guest stopped before it had finished. Its last words:\n{said}")

    def _emulator(self, work: Path, log: Path, ports: Sequence[_Port], cleanup: contextlib.ExitStack) -> list[str]:
        """Return the command that starts QEMU; the daemons it connects to are running."""
        initramfs = work / "initramfs"
        initramfs.write_bytes(self._initramfs())

        command = [*self.emulator.command, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += self.emulator.machine()
        command += ["-smp", str(self.cpus), "-m", self.memory]
        # virtiofsd reads and writes the guest's memory, which must therefore be shared.
        command += ["-object", f"memory-backend-memfd,id=memory,size={self.memory},share=on"]
        command += ["-kernel", str(self.kernel.image()), "-initrd", str(initramfs)]
        command += ["-append", f"console=ttyS0 rdinit=/init oops=panic panic=-1 {self.parameters}"]
        served = [("vmtest_root", self.root, False)]
        served += [(share.tag(), share.machine, True) for share in self.shares if share.writable]
        for number, (tag, directory, writable) in enumerate(served):
            socket_path = work / f"socket{number}"
            _stop_at_end(cleanup, serve(directory, writable=writable, socket_path=socket_path, log=log))
            command += ["-chardev", f"socket,id=share{number},path={socket_path}"]
            command += ["-device", f"vhost-user-fs-pci,chardev=share{number},tag={tag},queue-size=1024"]
        chardevs = {port.name: port.backend() for port in ports}
        names = list(chardevs)
        if self.tty:
            del chardevs[names[1]]
            names[1] = "tty"
            chardevs["tty"] = "stdio,id=tty,signal=off"
        backends = [option for backend in chardevs.values() for option in ("-chardev", backend)]
        return [*command, *backends, *self.emulator.serial_ports(names)]

    def _initramfs(self) -> bytes:
        size = shutil.get_terminal_size()
        settings = {
            "RELEASE": self.kernel.release,
            "KERNEL_MODULES": self.kernel.modules(),
            "KERNEL_CONFIG": self.kernel.config(),
            "KERNEL_HEADERS": " ".join(map(str, self.kernel.headers())),
            "SHOW_HEADERS": "yes" if self.headers else "no",
            "SHOW_BTF": "yes" if self.btf else "no",
            "CGROUP": self.cgroup,
            "DIRECTORY": self.directory,
            "TTY": "yes" if self.tty else "no",
            "ROWS": size.lines,
            "COLUMNS": size.columns,
        }
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        command = shlex.join(["exec", "/run/vmtest/busybox", "env", "-i", *environment, *self.command]) + "\n"
        mounts = "".join(share.mount_command() for share in self.shares)
        return make_initramfs(self.kernel, self.modules, settings, mounts, command)


class _Port:
    """One serial port of the guest: a pipe that QEMU writes to, read by this process."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.sink = sink
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    @property
    def name(self) -> str:
        return f"port{self.writer}"

    def backend(self) -> str:
        return f"file,id={self.name},path=/dev/fd/{self.writer}"

    def close_writer(self) -> None:
        """Leave QEMU's copy of the writing end as the only one."""
        self._open.discard(self.writer)
        os.close(self.writer)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())


def _relay(ports: Sequence[_Port], deadline: float, status: bytearray) -> bool:
    """Pass on what the guest writes until it stops; return False if *deadline* came first."""
    with selectors.DefaultSelector() as selector:
        for port in ports:
            port.close_writer()
            selector.register(port.reader, selectors.EVENT_READ, port)
        while selector.get_map():
            if status.endswith(b"\n"):
                # All output came before the status. Powering off takes a moment; it may hang, nobody waits for it.
                deadline = min(deadline, time.monotonic() + 2)
            events = selector.select(deadline - time.monotonic())
            if not events and time.monotonic() >= deadline:
                return False
            for key, _ in events:
                if data := os.read(key.fd, 65536):
                    key.data.sink(data)
                else:
                    selector.unregister(key.fd)
    return True


def _stop_at_end(cleanup: contextlib.ExitStack, process: subprocess.Popen[bytes]) -> None:
    """Kill *process* and wait for it when *cleanup* ends."""
    cleanup.callback(process.wait)
    cleanup.callback(process.kill)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
