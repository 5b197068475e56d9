# SPDX-License-Identifier: Apache-2.0
"""Programs, those that are attached without an argument first.

Where a hook is the kernel's alone to give, the system call is made here, whatever libbpf is installed; libbpf attaches
what needs reading of symbols or of the kernel's list of functions.
"""

from __future__ import annotations

import os
from _struct import pack

from . import system_calls
from .errors import AttachError, EbpfError, PermissionDeniedError, describe
from .handles import Handle, signals_held
from .hooks import Hook
from .links import LibbpfLink, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike
    from typing import TypeVar

    from .kernel_objects import ProgramCounters
    from .maps import Map
    from .records import Field, Record
    from .test_runs import TestRun

    C = TypeVar("C", bound=Record)

__all__ = ["BaseProgram", "Program", "attaches_without_libbpf", "open_program"]

INT_MAX = (1 << 31) - 1
TRACE_ITER = 28  # BPF_TRACE_ITER
_LSM = 29  # BPF_PROG_TYPE_LSM

# Ways of attaching that have a class of their own, and its module.
_CLASSES = {
    "xdp": ("network_programs", "XdpProgram"),
    "tcx": ("network_programs", "TcxProgram"),
    "netkit": ("network_programs", "NetkitProgram"),
    "netns": ("network_programs", "NamespaceProgram"),
    "netfilter": ("network_programs", "NetfilterProgram"),
    "sockmap": ("network_programs", "SockmapProgram"),
    "socket": ("network_programs", "SocketProgram"),
    "reuseport": ("network_programs", "ReuseportProgram"),
    "cgroup": ("target_programs", "CgroupProgram"),
    "kprobe_multi": ("multi_programs", "KprobeMultiProgram"),
    "uprobe_multi": ("multi_programs", "UprobeMultiProgram"),
    "perf_event": ("target_programs", "PerfEventProgram"),
    "uprobe": ("target_programs", "UprobeProgram"),
    "usdt": ("target_programs", "UsdtProgram"),
    "lirc": ("target_programs", "LircProgram"),
    "none": ("target_programs", "DetachedProgram"),
    "struct_ops": ("target_programs", "DetachedProgram"),
}
# Ways that only libbpf has.
_BY_LIBBPF = ("libbpf", "uprobe", "usdt", "struct_ops", "freplace")


def attaches_without_libbpf(section: str) -> bool:
    """Return whether a program of this section is loaded and attached by system calls alone."""
    hook = Hook(section)
    return hook.program_type != 0 and hook.way not in _BY_LIBBPF


def open_program(name: str, section: str, fd: int, pointer: int, row: Field | None) -> BaseProgram:
    """Return the object that stands for a loaded program.

    Args:
        pointer: libbpf's program, 0 where libbpf has not loaded it.
        row: What a row of an iterator is.
    """
    hook = Hook(section)
    if hook.way == "iter" and row is not None:
        from .iterators import IteratorProgram

        return IteratorProgram(name, hook, section, fd, pointer, row)
    module, cls = _CLASSES.get(hook.way, ("programs", "Program"))
    if module == "programs":
        return Program(name, hook, section, fd, pointer)
    from importlib import import_module

    found: BaseProgram = getattr(import_module(f".{module}", __package__), cls)(name, hook, section, fd, pointer)
    return found


class BaseProgram(Handle):
    """One program of a loaded probe, whatever its hook.

    Attributes:
        name: Its name in the object.
        section: Its ELF section, which names the hook.
        fd: Its file descriptor; -1 once the probe is closed.
    """

    attach: Callable[..., Link]  # its arguments are those of the hook

    def __init__(self, name: str, hook: Hook, section: str, fd: int, pointer: int) -> None:
        self.name = name
        self.section = section
        self.fd = fd
        self._hook = hook
        self._pointer = pointer
        self._attached: list[Link] = []

    @property
    def needs(self) -> str:
        """The arguments without which `attach` cannot tell where to attach; empty where there are none."""
        return ""

    def _map_fd(self, target: Map) -> int:
        """Return the file descriptor of a map to attach to."""
        if target.fd < 0:
            raise AttachError(
                f"attach program {self.name!r} to map {target.name!r}: the map is closed.", name=self.name
            )
        return target.fd

    def _on_file(self, path: str, kind: int) -> int:
        """Create a link on what a path stands for: a cgroup, a network namespace."""
        try:
            target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return -(error.errno or 0)
        try:
            return system_calls.link_create(self.fd, target, kind)
        finally:
            os.close(target)

    def _by_libbpf(self, where: str, function: str, *arguments: object) -> int | Link:
        """Attach by one of libbpf's functions."""
        if not self._pointer:
            raise AttachError(f"attach program {self.name!r} to {where}: it is not libbpf's.", name=self.name)
        from .libbpf import attach_by

        pointer, number, log = attach_by(function, self._pointer, *arguments)
        if pointer:
            return LibbpfLink(self.name, pointer)
        raise self._refused(where, number, log)

    def _linked(self, where: str, make: Callable[[], int | Link]) -> Link:
        """Return the link that *make* made, kept here until it is detached.

        Args:
            where: The hook, as an error says it.
            make: Returns a link, its file descriptor, or a negative error number.
        """
        if self.fd < 0:
            raise AttachError(f"attach program {self.name!r}: the probe is closed.", name=self.name)
        if self._hook.program_type == _LSM:
            from .refusals import refuse_without_lsm

            refuse_without_lsm(self.name, where)
        with signals_held():
            made = make()
            if isinstance(made, int):
                if made < 0:
                    raise self._refused(where, -made)
                made = Link(self.name, made)
            self._attached = [*(link for link in self._attached if link.attached), made]
            return made

    def _check(self, where: str, what: str, value: int, low: int = 0, high: int = (1 << 64) - 1) -> None:
        """See that an argument of `attach` is a number that the kernel has room for."""
        if not isinstance(value, int) or not low <= value <= high:
            raise AttachError(
                f"attach program {self.name!r} to {where}: {what} {value!r} is not from {low} to {high}.",
                name=self.name,
            )

    def _check_process(self, where: str, pid: int) -> None:
        self._check(where, "pid", pid, -1, INT_MAX)

    def _text(self, what: str, value: str | bytes | PathLike[str]) -> str:
        """Return a path or a name; one with a NUL would end there for the kernel."""
        text = os.fsdecode(value)
        if "\0" in text:
            raise AttachError(f"attach program {self.name!r}: the {what} {text!r} has a NUL.", name=self.name)
        return text

    def _with_cookie(self, make: Callable[[int], int | Link], cookie: int, where: str) -> Callable[[], int | Link]:
        """Return what makes a link with a cookie; a kernel that takes the same link without one is told of.

        Args:
            make: Makes a link with the cookie that it is given, without where it is 0.
        Raises:
            AttachError: The cookie is not one of 64 bits without sign.
        """
        self._check(where, "cookie", cookie)

        def made() -> int | Link:
            result = make(cookie)
            if not cookie or not isinstance(result, int):
                return result
            from errno import E2BIG, EINVAL

            if -result not in (EINVAL, E2BIG):
                return result
            plain = make(0)
            if isinstance(plain, int):
                if plain < 0:
                    return result
                os.close(plain)
            else:
                plain.detach()
            from .refusals import no_cookies

            raise no_cookies(self.name, self._hook, where, -result)

        return made

    def _refused(self, where: str, number: int, log: str = "") -> AttachError | PermissionDeniedError:
        from .refusals import attach_error

        return attach_error(self.name, self._hook, where, number, log)

    def test_run(
        self,
        *,
        data: bytes | None = None,
        context: C | bytes | None = None,
        repeat: int = 1,
        data_size_out: int | None = None,
    ) -> TestRun[C]:
        """Run the program on made-up input, without its hook.

        Args:
            data: The packet, for programs that see one.
            context: The context: a record, or its bytes. It comes back as the program left it, as the same type.
            repeat: How often to run, of which the mean duration is given.
            data_size_out: Room for the packet that comes out; where none is given, 256 bytes more than went in.
        Raises:
            EbpfError: The kernel cannot run programs of this type so, or refuses the input.
        Kernel: 4.12; kinds came one by one, syscall 5.14, raw_tp 5.10.
        Source: bpf(2) BPF_PROG_TEST_RUN, libbpf bpf_prog_test_run_opts().
        """
        from .test_runs import run

        return run(self, data, context, repeat, data_size_out)

    def statistics(self) -> ProgramCounters:
        """Return what the kernel has counted of the program; run time and runs while `run_statistics` were on.

        Raises:
            EbpfError: The probe is closed.
        Source: bpf(2) BPF_OBJ_GET_INFO_BY_FD.
        """
        if self.fd < 0:
            raise EbpfError(f"read the statistics of program {self.name!r}: the probe is closed.", name=self.name)
        from .kernel_objects import counters

        result, info = system_calls.object_info(self.fd)
        if result < 0:
            raise EbpfError(
                f"read the statistics of program {self.name!r}: {describe(-result)}.", name=self.name, errno=-result
            )
        return counters(info)

    def read_stream(self, stream: str = "stdout") -> str:
        """Return and remove what the program has printed to "stdout" or "stderr" since the last call.

        Raises:
            EbpfError: The kernel has no streams, or the probe is closed.
        Kernel: 6.17.
        Source: bpf(2) BPF_PROG_STREAM_READ_BY_FD, libbpf bpf_prog_stream_read().
        """
        from .test_runs import read_stream

        return read_stream(self, stream)

    def pin(self, path: str | PathLike[str]) -> None:
        """Keep the program under a path of a BPF file system, also when this process is gone.

        Raises:
            EbpfError: The kernel refused, as for a path outside a BPF file system.
        Source: bpf(2) BPF_OBJ_PIN, libbpf bpf_program__pin().
        """
        from .pinning import pin

        pin("program", self.name, self.fd, path)

    def unpin(self, path: str | PathLike[str]) -> None:
        """Remove a path that `pin` made.

        Raises:
            EbpfError: It cannot be removed.
        """
        from .pinning import unpin

        unpin("program", self.name, path)

    def _detach(self) -> list[Exception]:
        """Detach whatever is attached, the last first; return what failed."""
        failures: list[Exception] = []
        while self._attached:
            try:
                self._attached.pop().detach()
            except EbpfError as error:
                failures.append(error)
        return failures

    def _close(self) -> None:
        self._pointer = 0
        self.fd = -1

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.section} fd={self.fd}>"


class Program(BaseProgram):
    """A program whose section says all that attaching it takes."""

    def attach(self, *, cookie: int = 0) -> Link:
        """Attach to the hook that the section names, until the link is detached or the probe closed.

        Args:
            cookie: What bpf_get_attach_cookie() gives the program at this attachment; one program may have several.
        Raises:
            AttachError: The kernel or libbpf refused; names hook and reason.
            PermissionDeniedError: The process lacks a capability; the text names it.
        Kernel: cookies of tracepoints, kprobes and system calls 5.15, of fentry, fexit, fmod_ret and lsm 5.19, of
            raw_tp and tp_btf 6.10; freplace and iter have none.
        Source: bpf(2) BPF_RAW_TRACEPOINT_OPEN, BPF_LINK_CREATE; libbpf bpf_program__attach().
        """
        if cookie and self._hook.way in ("freplace", "iter"):
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: programs of section {self._hook.kind} have no "
                "cookie. Attach it without.",
                name=self.name,
            )
        return self._linked(self.section, self._with_cookie(self._attach_by_section, cookie, self.section))

    def _attach_by_section(self, cookie: int) -> int | Link:
        hook = self._hook
        if hook.way == "raw_tp":
            return system_calls.raw_tracepoint_open(hook.target, self.fd, cookie)
        if hook.way == "tracing" and cookie:
            return system_calls.link_create(self.fd, 0, hook.attach_type, more=pack("=IxxxxQ", 0, cookie))
        if hook.way in ("tracing", "freplace"):
            return system_calls.raw_tracepoint_open("", self.fd)
        if hook.way == "iter":
            return system_calls.link_create(self.fd, 0, TRACE_ITER)
        from . import perf_events

        if hook.way == "tracepoint":
            return perf_events.attach(self.fd, perf_events.open_tracepoint(hook.target), cookie)
        if hook.way == "kprobe" and (cookie or perf_events.has_source("kprobe") or not self._pointer):
            is_return = hook.kind == "kretprobe"
            return perf_events.attach(self.fd, perf_events.open_kprobe(hook.target, is_return=is_return), cookie)
        if cookie:
            from .target_programs import attach_system_call

            return attach_system_call(self, cookie)
        return self._by_libbpf(self.section, "bpf_program__attach")
