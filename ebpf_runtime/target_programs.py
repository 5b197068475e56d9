# SPDX-License-Identifier: Apache-2.0
"""Programs that want to be told of a cgroup, an event, a file or a device."""

from __future__ import annotations

import ctypes
import os

from . import perf_events, system_calls
from .errors import AttachError
from .links import Link
from .programs import INT_MAX, BaseProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

__all__ = [
    "CgroupProgram",
    "DetachedProgram",
    "LircProgram",
    "PerfEventProgram",
    "UprobeProgram",
    "UsdtProgram",
    "attach_system_call",
]

_LIRC = 16
_SOFTWARE, _CPU_CLOCK = 1, 0  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK


# How programs are used that have no hook of their own, by kind.
_USES = {
    "syscall": "Run it: test_run(context=...).",
    "struct_ops": "Attach the map that holds it: attach_struct_ops() of the probe.",
    "action": "It is part of a filter: pin(PATH) it, then "
    "tc filter add dev DEVICE ingress matchall action bpf object-pinned PATH.",
    "lwt_seg6local": "It is part of a route: pin(PATH) it, then "
    "ip -6 route add PREFIX encap seg6local action End.BPF endpoint pinned PATH dev DEVICE.",
}


class CgroupProgram(BaseProgram):
    """A program that decides for the processes of a cgroup."""

    @property
    def needs(self) -> str:
        return "cgroup"

    def attach(self, *, cgroup: str | PathLike[str]) -> Link:
        """Attach to a cgroup and those below it.

        Args:
            cgroup: Its directory in the cgroup v2 hierarchy.
        Raises:
            AttachError: There is no such directory, or it is of no cgroup v2.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: 5.7; lsm_cgroup 6.0.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_cgroup().
        """
        where = self._text("cgroup", cgroup)
        return self._linked(f"cgroup {where}", lambda: self._on_file(where, self._hook.attach_type))


class LircProgram(BaseProgram):
    """A decoder of an infrared receiver."""

    @property
    def needs(self) -> str:
        return "device"

    def attach(self, *, device: str | PathLike[str]) -> Link:
        """Attach to a receiver.

        Args:
            device: Its file, such as /dev/lirc0.
        Raises:
            AttachError: There is no such device, or it does not take programs.
        Kernel: 4.18.
        Source: bpf(2) BPF_PROG_ATTACH.
        """
        where, program = self._text("device", device), self.fd

        def make() -> int | Link:
            try:
                target = os.open(where, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                return -(error.errno or 0)

            def undo() -> int:
                result = system_calls.program_detach(target, program, _LIRC)
                os.close(target)
                return result

            result = system_calls.program_attach(target, program, _LIRC)
            if result < 0:
                os.close(target)
                return result
            return Link(self.name, -1, undo)

        return self._linked(f"device {where}", make)


class PerfEventProgram(BaseProgram):
    """A program that runs whenever a counter overflows."""

    @property
    def needs(self) -> str:
        return "perf_event, or frequency or period"

    def attach(
        self,
        *,
        perf_event: int | None = None,
        frequency: int = 0,
        period: int = 0,
        cpu: int = -1,
        pid: int = -1,
        type: int = _SOFTWARE,
        config: int = _CPU_CLOCK,
        cookie: int = 0,
    ) -> Link:
        """Attach to an event that is open, or to one that is opened here.

        Args:
            perf_event: File descriptor of an event; it stays the caller's. Without one:
            frequency: Runs a second, or
            period: counts for each run; nanoseconds for the CPU clock.
            cpu: The CPU that is watched; -1: all that *pid* runs on. CPU 0 where neither is given.
            pid: The process that is watched; -1: all.
            type: perf_type_id, the kernel's own software events where none is given.
            config: Which event of the type; the CPU clock where none is given.
            cookie: What bpf_get_attach_cookie() gives the program at this attachment.
        Raises:
            AttachError: The kernel refused, or the arguments contradict each other.
            PermissionDeniedError: CAP_PERFMON is missing.
        Kernel: 4.9; cookie 5.15.
        Source: perf_event_open(2), bpf(2) BPF_LINK_CREATE; libbpf bpf_program__attach_perf_event().
        """
        if (perf_event is not None) + bool(frequency) + bool(period) != 1:
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: "
                "say one of perf_event= (an open event), frequency= (runs a second) and period= (counts a run).",
                name=self.name,
            )

        if perf_event is not None:
            self._check(self.section, "perf_event", perf_event, high=INT_MAX)
        for what, value in (("frequency", frequency), ("period", period), ("config", config)):
            self._check(self.section, what, value)
        self._check(self.section, "type", type, high=(1 << 32) - 1)
        self._check(self.section, "cpu", cpu, -1, INT_MAX)
        self._check_process(self.section, pid)

        def make(cookie: int) -> int:
            if perf_event is not None:
                try:
                    event = os.dup(perf_event)
                except OSError as error:
                    return -(error.errno or 0)
                return perf_events.attach(self.fd, event, cookie)
            where = 0 if pid == -1 and cpu == -1 else cpu
            event = perf_events.open_counter(type, config, period=period, frequency=frequency, pid=pid, cpu=where)
            return perf_events.attach(self.fd, event, cookie)

        return self._linked(self.section, self._with_cookie(make, cookie, self.section))


class _UserProgram(BaseProgram):
    """A program that libbpf attaches in the file of a user-space program or library."""

    def _in_file(self, where: str, file: str, call: str, *arguments: object, **sought: str) -> Link:
        """Attach by one of libbpf's functions; a refusal says what the file lacks of what is *sought* in it."""

        def make() -> int | Link:
            try:
                return self._by_libbpf(where, call, *arguments)
            except AttachError as error:
                from .user_refusals import explained

                raise explained(error, f"attach program {self.name!r} to {where}", file, **sought) from None

        return self._linked(where, make)


class UprobeProgram(_UserProgram):
    """A program on a function of a user-space program or library."""

    @property
    def needs(self) -> str:
        return "" if ":" in self._hook.target else "path"

    def attach(
        self,
        *,
        path: str | PathLike[str] | None = None,
        symbol: str = "",
        offset: int = 0,
        pid: int = -1,
        cookie: int = 0,
    ) -> Link:
        """Attach to a function.

        Args:
            path: The program or library; one without a slash is looked for where they usually are. None: as the
                section says.
            symbol: The function; empty: *offset* is one in the file.
            offset: Bytes behind the symbol, or in the file.
            pid: The process that is watched; -1: all, 0: this one.
            cookie: What bpf_get_attach_cookie() gives the program at this attachment.
        Raises:
            AttachError: There is no such file or function, or the kernel refused.
            PermissionDeniedError: CAP_PERFMON is missing.
        Kernel: 4.17; cookie 5.15.
        Source: libbpf bpf_program__attach_uprobe_opts().
        """
        if path is None:
            if self.needs:
                raise AttachError(
                    f"attach program {self.name!r} to {self.section}: the section names no function. "
                    "Say which: attach(path=..., symbol=...).",
                    name=self.name,
                )
            path, _, symbol = self._hook.target.partition(":")
            symbol, _, more = symbol.partition("+")
            try:
                offset = int(more or "0", 0)
            except ValueError:
                raise AttachError(
                    f"attach program {self.name!r} to {self.section}: the section's offset {more!r} is no number. "
                    "Say where: attach(path=..., symbol=..., offset=...).",
                    name=self.name,
                ) from None
        self._check(self.section, "cookie", cookie)
        file, symbol = self._text("path", path), self._text("symbol", symbol)
        if not symbol and not offset:
            raise AttachError(
                f"attach program {self.name!r} to {file}: say symbol= (a function) or offset= (bytes in the file).",
                name=self.name,
            )
        where = f"{file}:{symbol or hex(offset)}"
        self._check(where, "offset", offset)
        self._check_process(where, pid)
        from .libbpf_structures import UprobeOptions

        options = UprobeOptions(
            sz=ctypes.sizeof(UprobeOptions),
            bpf_cookie=cookie,
            retprobe=self._hook.kind == "uretprobe",
            func_name=symbol.encode() if symbol else None,
        )
        arguments = (pid, os.fsencode(file), offset, ctypes.byref(options))
        return self._in_file(where, file, "bpf_program__attach_uprobe_opts", *arguments, function=symbol)


class UsdtProgram(_UserProgram):
    """A program on a probe that a user-space program has for tracers."""

    @property
    def needs(self) -> str:
        return "" if self._hook.target.count(":") > 1 else "path"

    def attach(
        self,
        *,
        path: str | PathLike[str] | None = None,
        provider: str = "",
        probe: str = "",
        pid: int = -1,
        cookie: int = 0,
    ) -> Link:
        """Attach to all places of a probe.

        Args:
            path: The program or library. None: as the section says.
            provider: Provider of the probe.
            probe: Its name.
            pid: The process that is watched; -1: all, 0: this one.
            cookie: What bpf_usdt_cookie() gives the program at this attachment.
        Raises:
            AttachError: There is no such file or probe, or the kernel refused.
        Kernel: 4.20; before 5.15 a library's probes are attached in one process at a time. Cookies are libbpf's own.
        Source: libbpf bpf_program__attach_usdt().
        """
        if path is None:
            if self.needs:
                raise AttachError(
                    f"attach program {self.name!r} to {self.section}: the section names no probe. "
                    "Say which: attach(path=..., provider=..., probe=...).",
                    name=self.name,
                )
            path, provider, probe = self._hook.target.split(":", 2)
        self._check(self.section, "cookie", cookie)
        file, provider, probe = self._text("path", path), self._text("provider", provider), self._text("probe", probe)
        where = f"{file}:{provider}:{probe}"
        self._check_process(where, pid)
        from .libbpf_structures import UsdtOptions

        options = UsdtOptions(sz=ctypes.sizeof(UsdtOptions), usdt_cookie=cookie)
        arguments = (pid, os.fsencode(file), provider.encode(), probe.encode(), ctypes.byref(options))
        return self._in_file(where, file, "bpf_program__attach_usdt", *arguments, probe=f"{provider}:{probe}")


class DetachedProgram(BaseProgram):
    """A program that no call of this package attaches: it is run by `test_run`, or hung in by a map or another tool."""

    @property
    def needs(self) -> str:
        return "no hook"

    def attach(self) -> Link:
        """Refuse: such programs have no hook of their own.

        Raises:
            AttachError: Always; says what to do instead.
        """
        kind = self._hook.kind
        if kind.startswith("lwt_") and kind != "lwt_seg6local":
            what = (
                "It is part of a route: pin(PATH) it, then "
                f"ip route add PREFIX encap bpf {kind.removeprefix('lwt_')} pinned PATH dev DEVICE."
            )
        elif kind.startswith("xdp"):
            kept = "DEVMAP" if kind.endswith("devmap") else "CPUMAP"
            what = f"It sees what a map of type {kept} redirects: store Redirection(TARGET, program.fd) in one."
        else:
            what = _USES.get(kind, "Put it into a map of programs, or pin(PATH) it for the tool that attaches such.")
        raise AttachError(
            f"attach program {self.name!r} to {self.section}: programs of this kind have no hook of their own. {what}",
            name=self.name,
        )


def attach_system_call(program: BaseProgram, cookie: int) -> int | Link:
    """Attach a program of section ksyscall or kretsyscall, which libbpf finds the function of, with a cookie."""
    from .libbpf_structures import SystemCallOptions

    hook = program._hook
    options = SystemCallOptions(
        sz=ctypes.sizeof(SystemCallOptions), bpf_cookie=cookie, retprobe=hook.kind == "kretsyscall"
    )
    return program._by_libbpf(
        program.section, "bpf_program__attach_ksyscall", hook.target.encode(), ctypes.byref(options)
    )
