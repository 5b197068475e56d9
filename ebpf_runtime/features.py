# SPDX-License-Identifier: Apache-2.0
"""What the running kernel can do, found out by trying: yes, no or could-not-tell.

Only the first two are remembered, for the life of the process.
"""

from __future__ import annotations

import errno
import os
from struct import pack

from . import perf_events, system_calls
from .errors import AttachError, LoadError, describe
from .hooks import Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    E = TypeVar("E", AttachError, LoadError)

__all__ = [
    "cookie_floor_of",
    "floor_of",
    "has_program_type",
    "is_missing",
    "is_unnamed",
    "iterator_floor_of",
    "lacking",
]

_RETURN_0 = b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"  # r0 = 0; exit
_RETURN_1 = b"\xb7\0\0\0\1\0\0\0\x95\0\0\0\0\0\0\0"
_NO_DEVICE = (1 << 31) - 1
_TCX_INGRESS = 46
# By way of attaching: target of a link, what more it takes, and the error number that tells that it was sought.
_IMPOSSIBLE = {
    "tcx": (_NO_DEVICE, bytes(16), errno.ENODEV),
    "netkit": (_NO_DEVICE, bytes(16), errno.ENODEV),
    "kprobe_multi": (0, pack("=IIQQQ", 0, 1, 0, 1, 0), errno.EFAULT),
    "uprobe_multi": (0, pack("=QQQQIIIxxxx", 1, 1, 0, 0, 1, 0, 0), errno.EFAULT),
}
# By section's name: what only kernels that have the kind name in their BTF.
_NAMES = {
    "lsm_cgroup": b"BPF_LSM_CGROUP",
    "fsession": b"BPF_TRACE_FSESSION",
    "sk_skb/verdict": b"BPF_SK_SKB_VERDICT",
    "xdp.frags": b"xdp_has_frags",
    "xdp.frags/devmap": b"xdp_has_frags",
    "xdp.frags/cpumap": b"xdp_has_frags",
}
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
# Types whose programs name a type of the kernel's BTF, and cannot be tried without one.
_BY_BTF = (26, 27, 28, 29)

# By section's name first, then by way of attaching: what it is called, and the first kernel on which it is attached.
_FLOORS = {
    "socket": ("socket filters", "3.19"),
    "action": ("actions of filters", "4.1"),
    "ksyscall": ("kprobes (CONFIG_KPROBE_EVENTS)", "4.1"),
    "kretsyscall": ("kprobes (CONFIG_KPROBE_EVENTS)", "4.1"),
    "tracepoint": ("programs on tracepoints", "4.7"),
    "perf_event": ("programs on perf events", "4.9"),
    "lwt_in": ("programs of routes (CONFIG_LWTUNNEL_BPF)", "4.10"),
    "lwt_out": ("programs of routes (CONFIG_LWTUNNEL_BPF)", "4.10"),
    "lwt_xmit": ("programs of routes (CONFIG_LWTUNNEL_BPF)", "4.10"),
    "lwt_seg6local": ("programs of segment routing (CONFIG_IPV6_SEG6_BPF)", "4.18"),
    "sk_msg": ("sk_msg programs (CONFIG_NET_SOCK_MSG)", "4.17"),
    "sockmap": ("sk_skb programs (CONFIG_BPF_STREAM_PARSER)", "4.14"),
    "sk_skb/verdict": ("sk_skb programs without a parser", "5.13"),
    "reuseport": ("sk_reuseport programs", "4.19"),
    "sk_reuseport/migrate": ("sk_reuseport programs that move connections", "5.14"),
    "raw_tracepoint.w": ("raw tracepoints that write", "5.2"),
    "raw_tp.w": ("raw tracepoints that write", "5.2"),
    "fmod_ret": ("fmod_ret programs", "5.7"),
    "fsession": ("fsession programs", "7.0"),
    "freplace": ("freplace programs", "5.6"),
    "struct_ops": ("struct_ops", "5.6"),
    "xdp/devmap": ("XDP programs of devmaps", "5.8"),
    "xdp/cpumap": ("XDP programs of cpumaps", "5.9"),
    "xdp.frags": ("XDP programs that take fragments", "5.18"),
    "xdp.frags/devmap": ("XDP programs that take fragments", "5.18"),
    "xdp.frags/cpumap": ("XDP programs that take fragments", "5.18"),
    "syscall": ("syscall programs", "5.14"),
    "cgroup/getpeername4": ("cgroup programs on getpeername", "5.8"),
    "cgroup/getpeername6": ("cgroup programs on getpeername", "5.8"),
    "cgroup/getsockname4": ("cgroup programs on getsockname", "5.8"),
    "cgroup/getsockname6": ("cgroup programs on getsockname", "5.8"),
    "cgroup/sock_release": ("cgroup programs on the release of sockets", "5.9"),
    "cgroup/connect_unix": ("cgroup programs on Unix sockets", "6.7"),
    "cgroup/sendmsg_unix": ("cgroup programs on Unix sockets", "6.7"),
    "cgroup/recvmsg_unix": ("cgroup programs on Unix sockets", "6.7"),
    "cgroup/getpeername_unix": ("cgroup programs on Unix sockets", "6.7"),
    "cgroup/getsockname_unix": ("cgroup programs on Unix sockets", "6.7"),
    "kprobe.session": ("kprobe sessions (CONFIG_FPROBE)", "6.10"),
    "uprobe.session": ("uprobe sessions", "6.13"),
    "kprobe": ("kprobes (CONFIG_KPROBE_EVENTS)", "4.1"),
    "lsm": ("LSM programs (CONFIG_BPF_LSM, lsm=bpf)", "5.7"),
    "lsm_cgroup": ("LSM programs of cgroups", "6.0"),
    "sk_lookup": ("sk_lookup programs", "5.9"),
    "flow_dissector": ("links of flow dissectors", "5.8"),
    "xdp": ("BPF links of network devices", "5.9"),
    "tcx": ("tcx", "6.6"),
    "netkit": ("netkit (CONFIG_NETKIT)", "6.7"),
    "netfilter": ("netfilter programs (CONFIG_NETFILTER_BPF_LINK)", "6.4"),
    "cgroup": ("BPF links of cgroups (CONFIG_CGROUP_BPF)", "5.7"),
    "iter": ("iterators", "5.8"),
    "tracing": ("BPF trampolines", "5.5"),
    "raw_tp": ("raw tracepoints", "4.17"),
    "uprobe": ("uprobes (CONFIG_UPROBE_EVENTS)", "4.3"),
    "usdt": ("uprobes (CONFIG_UPROBE_EVENTS)", "4.3"),
    "kprobe_multi": ("kprobes on many functions at once (CONFIG_FPROBE)", "5.18"),
    "uprobe_multi": ("uprobes on many functions at once", "6.6"),
    "lirc": ("programs of infrared receivers (CONFIG_BPF_LIRC_MODE2)", "4.18"),
}
# What iterators walk -> the first kernel that has them.
_ITERATORS = {
    "bpf_map": "5.8", "ipv6_route": "5.8", "netlink": "5.8", "task": "5.8", "task_file": "5.8",
    "bpf_map_elem": "5.9", "bpf_prog": "5.9", "bpf_sk_storage_map": "5.9", "tcp": "5.9", "udp": "5.9",
    "sockmap": "5.10", "task_vma": "5.12", "unix": "5.15", "bpf_link": "5.19", "ksym": "6.0", "cgroup": "6.1",
    "kmem_cache": "6.13", "dmabuf": "6.16",
}  # fmt: skip
# The first kernel with cookies, by section's name first, then by way of attaching.
_COOKIES = {
    "tp_btf": "6.10",
    "raw_tp": "6.10",
    "tracing": "5.19",
    "tracepoint": "5.15",
    "perf_event": "5.15",
    "kprobe": "5.15",
    "libbpf": "5.15",
    "uprobe": "5.15",
}
_answers: dict[tuple[int, int], bool] = {}


def floor_of(hook: Hook) -> tuple[str, str]:
    """Return what a hook's feature is called and the first kernel that has it; empty for a section of nobody's."""
    return _FLOORS.get(hook.kind) or _FLOORS.get(hook.way) or (f"{hook.kind} programs", "")


def iterator_floor_of(hook: Hook) -> tuple[str, str]:
    """Return what iterators over a kind of object are called and the first kernel that has them; empty for unknown."""
    return f"iterators of kind {hook.target!r}", _ITERATORS.get(hook.target, "")


def cookie_floor_of(hook: Hook) -> tuple[str, str]:
    """Return what the cookies of a hook are called and the first kernel that has them."""
    return f"cookies of {hook.kind} programs", _COOKIES.get(hook.kind) or _COOKIES[hook.way]


def lacking(error: type[E], action: str, name: str, number: int, missing: tuple[str, str], log: str = "") -> E:
    """Return the error for a feature that this kernel lacks.

    Args:
        error: Its class.
        action: What was tried, and with what.
        name: The program's name.
        number: The error number.
        missing: The feature, and the first kernel that has it, or nothing.
        log: What libbpf said.
    """
    feature, floor = missing
    since = f", Linux {floor} has" if floor else ""
    return error(
        f"{action}: {describe(number)}; this kernel has no {feature}{since}.",
        name=name,
        errno=number,
        log=log,
        feature=feature,
        minimum_kernel=floor,
    )


def is_unnamed(hook: Hook) -> bool:
    """Return whether the kernel's BTF has not the name that comes with a kind; False also where nothing tells."""
    name = _NAMES.get(hook.kind)
    if name is None:
        return False
    from pathlib import Path

    try:
        return b"\0" + name + b"\0" not in Path(_KERNEL_BTF).read_bytes()
    except OSError:
        return False


def has_program_type(program_type: int, attach_type: int = 0) -> bool | None:
    """Return whether the kernel takes programs of a type, by loading one that does nothing; None: could not tell.

    Source: bpf(2) BPF_PROG_LOAD, which answers EINVAL to a type that the kernel does not have.
    """
    known = _answers.get((program_type, attach_type))
    if known is not None:
        return known
    if program_type in _BY_BTF or not program_type:
        return None
    numbers = set()
    for code in (_RETURN_0, _RETURN_1):  # kinds differ in what they may return
        flags = 1 << 4 if program_type == 31 else 0  # programs of type syscall must be able to sleep
        fd = system_calls.program_load(program_type, code, flags=flags, expected_attach_type=attach_type)
        if fd >= 0:
            os.close(fd)
            _answers[program_type, attach_type] = True
            return True
        numbers.add(-fd)
    if numbers == {errno.EINVAL}:
        _answers[program_type, attach_type] = False
        return False
    return None


def is_missing(hook: Hook, number: int) -> bool:
    """Return whether a refusal with an error number means that the kernel lacks the hook's feature at all."""
    if number not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.ENOTTY, 524):
        return False
    if hook.way == "kprobe":
        from .kind_refusals import kind_refusal

        return kind_refusal(hook) is not None
    if hook.way in ("uprobe", "usdt"):
        return not perf_events.has_source("uprobe") and not os.access(f"{perf_events.tracefs()}/uprobe_events", os.F_OK)
    if number == errno.ENOENT:  # where the kernel lists no functions none is found, either
        return hook.way == "kprobe_multi" and _has_link(hook) is False
    if is_unnamed(hook) or has_program_type(hook.program_type, hook.attach_type) is False:
        return True
    return _has_link(hook) is False


def _has_link(hook: Hook) -> bool | None:
    """Ask for a link to what cannot be: a kernel with such links looks for it.

    That is a device (ENODEV), or a list of functions where no memory is (EFAULT).
    """
    if hook.way not in _IMPOSSIBLE:
        return None
    fd = system_calls.program_load(hook.program_type, _RETURN_0, expected_attach_type=hook.attach_type)
    if fd < 0:
        return None
    target, more, sought = _IMPOSSIBLE[hook.way]
    answer = system_calls.link_create(fd, target, hook.attach_type or _TCX_INGRESS, more=more)
    os.close(fd)
    return {-sought: True, -errno.EINVAL: False, -errno.EOPNOTSUPP: False}.get(answer)
