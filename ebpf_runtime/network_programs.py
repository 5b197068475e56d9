# SPDX-License-Identifier: Apache-2.0
"""Programs that see packets and sockets, and want to be told of which device, namespace, map or socket."""

from __future__ import annotations

import socket
from struct import pack

from . import system_calls
from .errors import AttachError
from .links import Link
from .programs import INT_MAX, BaseProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    from .maps import Map

__all__ = [
    "NamespaceProgram",
    "NetfilterProgram",
    "NetkitProgram",
    "ReuseportProgram",
    "SocketProgram",
    "SockmapProgram",
    "TcxProgram",
    "XdpProgram",
]

_XDP = 37
_XDP_MODES = {"": 0, "generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}
_TCX = {"ingress": 46, "egress": 47}
_NETFILTER = 45
_FAMILIES = {"ipv4": 2, "ipv6": 10}  # NFPROTO_IPV4, NFPROTO_IPV6
_HOOKS = {"pre_routing": 0, "local_in": 1, "forward": 2, "local_out": 3, "post_routing": 4}  # enum nf_inet_hooks
_DEFRAGMENT = 1  # BPF_F_NETFILTER_IP_DEFRAG
_SOCKET_MAPS = ("SOCKMAP", "SOCKHASH")
_SO_ATTACH_BPF, _SO_DETACH_BPF = 50, 27
_SO_ATTACH_REUSEPORT, _SO_DETACH_REUSEPORT = 52, 68


class _DeviceProgram(BaseProgram):
    """A program on a network device."""

    @property
    def needs(self) -> str:
        return "ifindex"

    def _index(self, device: str | int) -> int:
        if isinstance(device, int):
            self._check(f"device {device}", "ifindex", device, 1, INT_MAX)
            return device
        try:
            return socket.if_nametoindex(device)
        except (OSError, ValueError):  # ValueError: it has a NUL
            names = [name for _, name in socket.if_nameindex()]
            raise AttachError(
                f"attach program {self.name!r} to device {device!r}: there is none; there are {', '.join(names)}.",
                name=self.name,
            ) from None

    def _choice(self, what: str, value: str, choices: dict[str, int]) -> int:
        if value not in choices:
            raise AttachError(
                f"attach program {self.name!r}: {value!r} is no {what}; there are "
                f"{', '.join(repr(name) for name in choices)}.",
                name=self.name,
            )
        return choices[value]


class XdpProgram(_DeviceProgram):
    """A program that sees each packet as it leaves the driver of a network device."""

    def attach(self, *, ifindex: str | int, mode: str = "") -> Link:
        """Attach to a network device.

        Args:
            ifindex: The device's name or index.
            mode: "native" (in the driver), "generic" (behind it) or "offload"; empty: native where the driver can.
        Raises:
            AttachError: There is no such device, or another program is attached to it already.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: 5.9.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_xdp().
        """
        index = self._index(ifindex)
        flags = self._choice("mode", mode, _XDP_MODES)
        return self._linked(f"device {ifindex!r}", lambda: system_calls.link_create(self.fd, index, _XDP, flags))


class TcxProgram(_DeviceProgram):
    """A program that sees each packet that a network device takes in or gives out, behind XDP."""

    def attach(self, *, ifindex: str | int, direction: str = "") -> Link:
        """Attach to a network device, behind the programs that are there.

        Args:
            ifindex: The device's name or index.
            direction: "ingress" or "egress"; empty: the one that the section names.
        Raises:
            AttachError: There is no such device, or the section names no direction and neither does the call.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: 6.6.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_tcx().
        """
        index = self._index(ifindex)
        kind = self._choice("direction", direction, _TCX) if direction else self._hook.attach_type
        if not kind:
            raise AttachError(
                f"attach program {self.name!r} to device {ifindex!r}: the section {self.section} names no direction. "
                "Say which: attach(ifindex=..., direction='ingress').",
                name=self.name,
            )
        return self._linked(
            f"device {ifindex!r}", lambda: system_calls.link_create(self.fd, index, kind, more=bytes(16))
        )


class NetkitProgram(_DeviceProgram):
    """A program inside a pair of netkit devices."""

    def attach(self, *, ifindex: str | int) -> Link:
        """Attach to a netkit device, as its primary or its peer, as the section says.

        Args:
            ifindex: Name or index of the primary device.
        Raises:
            AttachError: There is no such device, or it is no netkit.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: 6.7.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_netkit().
        """
        index = self._index(ifindex)
        kind = self._hook.attach_type
        return self._linked(
            f"device {ifindex!r}", lambda: system_calls.link_create(self.fd, index, kind, more=bytes(16))
        )


class NamespaceProgram(BaseProgram):
    """A program of a network namespace: sk_lookup or flow_dissector."""

    def attach(self, *, namespace: str | PathLike[str] = "/proc/thread-self/ns/net") -> Link:
        """Attach to a network namespace.

        Args:
            namespace: A file that stands for it, such as /run/netns/name; the calling thread's own where none is given.
        Raises:
            AttachError: It is no network namespace, or another flow dissector is attached to it.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: flow_dissector 5.8, sk_lookup 5.9.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_netns().
        """
        where = self._text("namespace", namespace)
        return self._linked(f"network namespace {where}", lambda: self._on_file(where, self._hook.attach_type))


class NetfilterProgram(_DeviceProgram):
    """A program in the kernel's packet filter."""

    @property
    def needs(self) -> str:
        return "hook"

    def attach(self, *, hook: str, family: str = "ipv4", priority: int = -128, defragment: bool = False) -> Link:
        """Attach to a hook of the packet filter.

        Args:
            hook: "pre_routing", "local_in", "forward", "local_out" or "post_routing".
            family: "ipv4" or "ipv6".
            priority: Lower runs first; neither the lowest nor the highest 32-bit number.
            defragment: Have fragments put together before the program sees them.
        Raises:
            AttachError: The kernel refused, as for a priority that is taken.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: 6.4; defragment 6.6.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_netfilter().
        """
        # The kernel keeps the lowest and the highest number to itself.
        self._check(f"netfilter {family} {hook}", "priority", priority, -INT_MAX, INT_MAX - 1)
        more = pack(
            "=IIiI",
            self._choice("family", family, _FAMILIES),
            self._choice("hook", hook, _HOOKS),
            priority,
            _DEFRAGMENT if defragment else 0,
        )
        return self._linked(
            f"netfilter {family} {hook}", lambda: system_calls.link_create(self.fd, 0, _NETFILTER, more=more)
        )


class SockmapProgram(BaseProgram):
    """A program on the sockets of a sockmap or sockhash."""

    @property
    def needs(self) -> str:
        return "map"

    def attach(self, *, map: Map) -> Link:
        """Attach to a map of sockets, those that are put in from now on; those that are in it keep what they had.

        Raises:
            AttachError: The map is of another type, or another program is attached to it.
            PermissionDeniedError: CAP_NET_ADMIN is missing.
        Kernel: 4.14; the attachment can be pinned since 6.10.
        Source: bpf(2) BPF_LINK_CREATE and BPF_PROG_ATTACH, libbpf bpf_program__attach_sockmap().
        """
        if map.type not in _SOCKET_MAPS:
            raise AttachError(
                f"attach program {self.name!r} to map {map.name!r}: it is of type {map.type}. "
                f"Attach to one of type {' or '.join(_SOCKET_MAPS)}.",
                name=self.name,
            )
        kind, target, program = self._hook.attach_type, self._map_fd(map), self.fd

        def make() -> int | Link:
            link = system_calls.link_create(program, target, kind)
            if link >= 0:
                return link
            result = system_calls.program_attach(target, program, kind)
            if result < 0:
                return result
            return Link(self.name, -1, lambda: system_calls.program_detach(target, program, kind))

        return self._linked(f"map {map.name!r}", make)


class SocketProgram(BaseProgram):
    """A filter of one socket."""

    @property
    def needs(self) -> str:
        return "socket"

    def attach(self, *, socket: socket.socket) -> Link:
        """Let the program say how much of each packet the socket takes in.

        Raises:
            AttachError: The kernel refused.
        Kernel: 3.19.
        Source: socket(7) SO_ATTACH_BPF.
        """
        return _on_socket(self, socket, _SO_ATTACH_BPF, _SO_DETACH_BPF)


class ReuseportProgram(BaseProgram):
    """A program that chooses among sockets that share a port."""

    @property
    def needs(self) -> str:
        return "socket"

    def attach(self, *, socket: socket.socket) -> Link:
        """Let the program choose for the group that the socket belongs to.

        Raises:
            AttachError: The socket has no SO_REUSEPORT, or the kernel refused otherwise.
        Kernel: 4.19.
        Source: socket(7) SO_ATTACH_REUSEPORT_EBPF.
        """
        return _on_socket(self, socket, _SO_ATTACH_REUSEPORT, _SO_DETACH_REUSEPORT)


def _on_socket(program: BaseProgram, target: socket.socket, attach: int, detach: int) -> Link:
    """Attach by an option of a socket; a socket that is closed before has let the program go."""

    def undo() -> int:
        try:
            if target.fileno() >= 0:
                target.setsockopt(socket.SOL_SOCKET, detach, 0)
        except OSError as error:
            return -(error.errno or 0)
        return 0

    def make() -> int | Link:
        try:
            target.setsockopt(socket.SOL_SOCKET, attach, program.fd)
        except OSError as error:
            return -(error.errno or 0)
        return Link(program.name, -1, undo)

    return program._linked(f"socket {target.fileno()}", make)
