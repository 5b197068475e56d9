# SPDX-License-Identifier: Apache-2.0
"""What the section of a program says of its hook: program type, attach type and way of attaching.

Source: libbpf 1.7 src/libbpf.c, section_defs; Linux include/uapi/linux/bpf.h, bpf_prog_type and bpf_attach_type.
"""

from __future__ import annotations

import errno
import os

from . import system_calls
from .errors import describe

__all__ = ["Hook", "hook_of", "kind_refusal"]

# bpf_prog_type
(
    _SOCKET_FILTER, _KPROBE, _SCHED_CLS, _SCHED_ACT, _TRACEPOINT, _XDP, _PERF_EVENT, _CGROUP_SKB, _CGROUP_SOCK,
    _LWT_IN, _LWT_OUT, _LWT_XMIT, _SOCK_OPS, _SK_SKB, _CGROUP_DEVICE, _SK_MSG, _RAW_TRACEPOINT, _CGROUP_SOCK_ADDR,
    _LWT_SEG6LOCAL, _LIRC_MODE2, _SK_REUSEPORT, _FLOW_DISSECTOR, _CGROUP_SYSCTL, _RAW_TRACEPOINT_WRITABLE,
    _CGROUP_SOCKOPT, _TRACING, _STRUCT_OPS, _EXT, _LSM, _SK_LOOKUP, _SYSCALL, _NETFILTER,
) = range(1, 33)  # fmt: skip

# section: (way of attaching, bpf_prog_type, bpf_attach_type). More may follow a slash, not after names with one.
# Ways: those of `programs`, and "libbpf" for what only libbpf attaches, "none" for what is attached by other means.
_SECTIONS: dict[str, tuple[str, int, int]] = {
    "kprobe": ("kprobe", _KPROBE, 0),
    "kretprobe": ("kprobe", _KPROBE, 0),
    "ksyscall": ("libbpf", _KPROBE, 0),
    "kretsyscall": ("libbpf", _KPROBE, 0),
    "kprobe.multi": ("kprobe_multi", _KPROBE, 42),
    "kretprobe.multi": ("kprobe_multi", _KPROBE, 42),
    "kprobe.session": ("kprobe_multi", _KPROBE, 56),
    "uprobe": ("uprobe", _KPROBE, 0),
    "uretprobe": ("uprobe", _KPROBE, 0),
    "uprobe.multi": ("uprobe_multi", _KPROBE, 48),
    "uretprobe.multi": ("uprobe_multi", _KPROBE, 48),
    "uprobe.session": ("uprobe_multi", _KPROBE, 57),
    "usdt": ("usdt", _KPROBE, 0),
    "tracepoint": ("tracepoint", _TRACEPOINT, 0),
    "tp": ("tracepoint", _TRACEPOINT, 0),
    "raw_tracepoint": ("raw_tp", _RAW_TRACEPOINT, 0),
    "raw_tp": ("raw_tp", _RAW_TRACEPOINT, 0),
    "raw_tracepoint.w": ("raw_tp", _RAW_TRACEPOINT_WRITABLE, 0),
    "raw_tp.w": ("raw_tp", _RAW_TRACEPOINT_WRITABLE, 0),
    "tp_btf": ("tracing", _TRACING, 23),
    "fentry": ("tracing", _TRACING, 24),
    "fexit": ("tracing", _TRACING, 25),
    "fmod_ret": ("tracing", _TRACING, 26),
    "fsession": ("tracing", _TRACING, 58),
    "freplace": ("freplace", _EXT, 0),
    "lsm": ("tracing", _LSM, 27),
    "lsm_cgroup": ("cgroup", _LSM, 43),
    "iter": ("iter", _TRACING, 28),
    "syscall": ("none", _SYSCALL, 0),
    "perf_event": ("perf_event", _PERF_EVENT, 41),
    "xdp": ("xdp", _XDP, 37),
    "xdp.frags": ("xdp", _XDP, 37),
    "xdp/devmap": ("none", _XDP, 33),
    "xdp.frags/devmap": ("none", _XDP, 33),
    "xdp/cpumap": ("none", _XDP, 35),
    "xdp.frags/cpumap": ("none", _XDP, 35),
    "tc": ("tcx", _SCHED_CLS, 0),
    "classifier": ("tcx", _SCHED_CLS, 0),
    "action": ("none", _SCHED_ACT, 0),
    "tc/ingress": ("tcx", _SCHED_CLS, 46),
    "tc/egress": ("tcx", _SCHED_CLS, 47),
    "tcx/ingress": ("tcx", _SCHED_CLS, 46),
    "tcx/egress": ("tcx", _SCHED_CLS, 47),
    "netkit/primary": ("netkit", _SCHED_CLS, 54),
    "netkit/peer": ("netkit", _SCHED_CLS, 55),
    "netfilter": ("netfilter", _NETFILTER, 45),
    "sk_lookup": ("netns", _SK_LOOKUP, 36),
    "flow_dissector": ("netns", _FLOW_DISSECTOR, 17),
    "sk_skb/stream_parser": ("sockmap", _SK_SKB, 4),
    "sk_skb/stream_verdict": ("sockmap", _SK_SKB, 5),
    "sk_skb/verdict": ("sockmap", _SK_SKB, 38),
    "sk_skb": ("sockmap", _SK_SKB, 0),
    "sk_msg": ("sockmap", _SK_MSG, 7),
    "socket": ("socket", _SOCKET_FILTER, 0),
    "sk_reuseport": ("reuseport", _SK_REUSEPORT, 39),
    "sk_reuseport/migrate": ("reuseport", _SK_REUSEPORT, 40),
    "lirc_mode2": ("lirc", _LIRC_MODE2, 16),
    "lwt_in": ("none", _LWT_IN, 0),
    "lwt_out": ("none", _LWT_OUT, 0),
    "lwt_xmit": ("none", _LWT_XMIT, 0),
    "lwt_seg6local": ("none", _LWT_SEG6LOCAL, 0),
    "struct_ops": ("struct_ops", _STRUCT_OPS, 44),
    "sockops": ("cgroup", _SOCK_OPS, 3),
    "cgroup_skb/ingress": ("cgroup", _CGROUP_SKB, 0),
    "cgroup_skb/egress": ("cgroup", _CGROUP_SKB, 1),
    "cgroup/skb": ("cgroup", _CGROUP_SKB, 0),
    "cgroup/sock_create": ("cgroup", _CGROUP_SOCK, 2),
    "cgroup/sock": ("cgroup", _CGROUP_SOCK, 2),
    "cgroup/sock_release": ("cgroup", _CGROUP_SOCK, 34),
    "cgroup/post_bind4": ("cgroup", _CGROUP_SOCK, 12),
    "cgroup/post_bind6": ("cgroup", _CGROUP_SOCK, 13),
    "cgroup/bind4": ("cgroup", _CGROUP_SOCK_ADDR, 8),
    "cgroup/bind6": ("cgroup", _CGROUP_SOCK_ADDR, 9),
    "cgroup/connect4": ("cgroup", _CGROUP_SOCK_ADDR, 10),
    "cgroup/connect6": ("cgroup", _CGROUP_SOCK_ADDR, 11),
    "cgroup/connect_unix": ("cgroup", _CGROUP_SOCK_ADDR, 49),
    "cgroup/sendmsg4": ("cgroup", _CGROUP_SOCK_ADDR, 14),
    "cgroup/sendmsg6": ("cgroup", _CGROUP_SOCK_ADDR, 15),
    "cgroup/sendmsg_unix": ("cgroup", _CGROUP_SOCK_ADDR, 50),
    "cgroup/recvmsg4": ("cgroup", _CGROUP_SOCK_ADDR, 19),
    "cgroup/recvmsg6": ("cgroup", _CGROUP_SOCK_ADDR, 20),
    "cgroup/recvmsg_unix": ("cgroup", _CGROUP_SOCK_ADDR, 51),
    "cgroup/getpeername4": ("cgroup", _CGROUP_SOCK_ADDR, 29),
    "cgroup/getpeername6": ("cgroup", _CGROUP_SOCK_ADDR, 30),
    "cgroup/getpeername_unix": ("cgroup", _CGROUP_SOCK_ADDR, 52),
    "cgroup/getsockname4": ("cgroup", _CGROUP_SOCK_ADDR, 31),
    "cgroup/getsockname6": ("cgroup", _CGROUP_SOCK_ADDR, 32),
    "cgroup/getsockname_unix": ("cgroup", _CGROUP_SOCK_ADDR, 53),
    "cgroup/sysctl": ("cgroup", _CGROUP_SYSCTL, 18),
    "cgroup/getsockopt": ("cgroup", _CGROUP_SOCKOPT, 21),
    "cgroup/setsockopt": ("cgroup", _CGROUP_SOCKOPT, 22),
    "cgroup/dev": ("cgroup", _CGROUP_DEVICE, 6),
}  # fmt: skip


class Hook:
    """A hook as a section names it.

    Attributes:
        way: How a program is attached to it, a key of the table above.
        kind: The section without what follows its name, such as `kprobe`.
        target: What follows it, such as the name of a function; empty where nothing does.
        program_type: bpf_prog_type, 0 for a section that is not in the table.
        attach_type: bpf_attach_type.
        sleepable: Whether the section asks for a program that may sleep.
    """

    __slots__ = ("attach_type", "kind", "program_type", "sleepable", "target", "way")

    def __init__(self, section: str) -> None:
        section = section.lstrip("?")
        name, _, target = section.partition("/")
        self.sleepable = name.endswith(".s")
        name = name.removesuffix(".s")
        found = _SECTIONS.get(f"{name}/{target}")
        if found is not None:
            name, target = f"{name}/{target}", ""
        else:
            found = _SECTIONS.get(name, ("none", 0, 0))
        self.kind = name
        self.target = target
        self.way, self.program_type, self.attach_type = found


def hook_of(section: str) -> Hook:
    """Return the hook that a section names."""
    return Hook(section)


# Kinds that hang on a trampoline, and those that need kprobes.
_TRAMPOLINES = ("fentry", "fexit", "fmod_ret", "freplace", "lsm")
_KPROBES = ("kprobe", "kretprobe", "ksyscall", "kretsyscall")
_RETURN_0 = b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"  # r0 = 0; exit
_EVENTS = "/sys/bus/event_source/devices"
_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

_refusals: dict[str, tuple[str, int, str] | None] = {}


def kind_refusal(hook: Hook) -> tuple[str, int, str] | None:
    """Return why this kernel takes no program on hooks of a kind at all, or None if it may take one.

    It is asked without the program and without the kernel's BTF, once a process for each kind: a sure no saves trying,
    anything else is for the trial to show.

    Returns:
        The phase that would fail ("load" or "attach"), the error number and the reason.
    """
    if hook.kind in _refusals:
        return _refusals[hook.kind]
    answer = None
    if hook.kind in _KPROBES:
        answer = _kprobe_refusal()
    elif hook.kind in _TRAMPOLINES:
        answer = _trampoline_refusal(hook)
    _refusals[hook.kind] = answer
    return answer


def _kprobe_refusal() -> tuple[str, int, str] | None:
    """The kernel has kprobes if it has their event source or their file in tracefs."""
    if not os.access(_EVENTS, os.F_OK) or os.access(f"{_EVENTS}/kprobe", os.F_OK):
        return None
    if any(os.access(f"{tracefs}/kprobe_events", os.F_OK) for tracefs in _TRACEFS):
        return None
    return "attach", errno.ENOENT, "this kernel has no kprobes (it is built without CONFIG_KPROBE_EVENTS)"


def _trampoline_refusal(hook: Hook) -> tuple[str, int, str] | None:
    """A program for BTF type 1, no function, is refused with EINVAL; EPERM to a process that may is a policy."""
    from .privilege import missing_capabilities

    fd = system_calls.program_load(hook.program_type, _RETURN_0, expected_attach_type=hook.attach_type, attach_btf_id=1)
    if fd >= 0:
        os.close(fd)
    if fd == -errno.EPERM and not missing_capabilities():
        return "load", errno.EPERM, f"{describe(errno.EPERM)}: this kernel refuses every {hook.kind} program"
    return None
