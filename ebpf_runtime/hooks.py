# SPDX-License-Identifier: Apache-2.0
"""What the section of a program says of its hook: program type, attach type and way of attaching.

Source: libbpf 1.7 src/libbpf.c, section_defs; Linux include/uapi/linux/bpf.h, bpf_prog_type and bpf_attach_type.
"""

from __future__ import annotations

__all__ = ["Hook", "hook_of"]

# enum bpf_prog_type without its prefix, in its order.
_PROGRAM_TYPES = (
    "UNSPEC", "SOCKET_FILTER", "KPROBE", "SCHED_CLS", "SCHED_ACT", "TRACEPOINT", "XDP", "PERF_EVENT", "CGROUP_SKB",
    "CGROUP_SOCK", "LWT_IN", "LWT_OUT", "LWT_XMIT", "SOCK_OPS", "SK_SKB", "CGROUP_DEVICE", "SK_MSG", "RAW_TRACEPOINT",
    "CGROUP_SOCK_ADDR", "LWT_SEG6LOCAL", "LIRC_MODE2", "SK_REUSEPORT", "FLOW_DISSECTOR", "CGROUP_SYSCTL",
    "RAW_TRACEPOINT_WRITABLE", "CGROUP_SOCKOPT", "TRACING", "STRUCT_OPS", "EXT", "LSM", "SK_LOOKUP", "SYSCALL",
    "NETFILTER",
)  # fmt: skip

# section: way of attaching, bpf_prog_type, bpf_attach_type. More may follow a slash, not after names with one.
# Ways: those of `programs`, and "libbpf" for what only libbpf attaches, "none" for what is attached by other means.
# Each is taken apart when a program hangs there: making a hundred tuples takes longer than opening a small probe.
_SECTIONS = {
    "kprobe": "kprobe KPROBE 0",
    "kretprobe": "kprobe KPROBE 0",
    "ksyscall": "libbpf KPROBE 0",
    "kretsyscall": "libbpf KPROBE 0",
    "kprobe.multi": "kprobe_multi KPROBE 42",
    "kretprobe.multi": "kprobe_multi KPROBE 42",
    "kprobe.session": "kprobe_multi KPROBE 56",
    "uprobe": "uprobe KPROBE 0",
    "uretprobe": "uprobe KPROBE 0",
    "uprobe.multi": "uprobe_multi KPROBE 48",
    "uretprobe.multi": "uprobe_multi KPROBE 48",
    "uprobe.session": "uprobe_multi KPROBE 57",
    "usdt": "usdt KPROBE 0",
    "tracepoint": "tracepoint TRACEPOINT 0",
    "tp": "tracepoint TRACEPOINT 0",
    "raw_tracepoint": "raw_tp RAW_TRACEPOINT 0",
    "raw_tp": "raw_tp RAW_TRACEPOINT 0",
    "raw_tracepoint.w": "raw_tp RAW_TRACEPOINT_WRITABLE 0",
    "raw_tp.w": "raw_tp RAW_TRACEPOINT_WRITABLE 0",
    "tp_btf": "tracing TRACING 23",
    "fentry": "tracing TRACING 24",
    "fexit": "tracing TRACING 25",
    "fmod_ret": "tracing TRACING 26",
    "fsession": "tracing TRACING 58",
    "freplace": "freplace EXT 0",
    "lsm": "tracing LSM 27",
    "lsm_cgroup": "cgroup LSM 43",
    "iter": "iter TRACING 28",
    "syscall": "none SYSCALL 0",
    "perf_event": "perf_event PERF_EVENT 41",
    "xdp": "xdp XDP 37",
    "xdp.frags": "xdp XDP 37",
    "xdp/devmap": "none XDP 33",
    "xdp.frags/devmap": "none XDP 33",
    "xdp/cpumap": "none XDP 35",
    "xdp.frags/cpumap": "none XDP 35",
    "tc": "tcx SCHED_CLS 0",
    "classifier": "tcx SCHED_CLS 0",
    "action": "none SCHED_ACT 0",
    "tc/ingress": "tcx SCHED_CLS 46",
    "tc/egress": "tcx SCHED_CLS 47",
    "tcx/ingress": "tcx SCHED_CLS 46",
    "tcx/egress": "tcx SCHED_CLS 47",
    "netkit/primary": "netkit SCHED_CLS 54",
    "netkit/peer": "netkit SCHED_CLS 55",
    "netfilter": "netfilter NETFILTER 45",
    "sk_lookup": "netns SK_LOOKUP 36",
    "flow_dissector": "netns FLOW_DISSECTOR 17",
    "sk_skb/stream_parser": "sockmap SK_SKB 4",
    "sk_skb/stream_verdict": "sockmap SK_SKB 5",
    "sk_skb/verdict": "sockmap SK_SKB 38",
    "sk_skb": "sockmap SK_SKB 0",
    "sk_msg": "sockmap SK_MSG 7",
    "socket": "socket SOCKET_FILTER 0",
    "sk_reuseport": "reuseport SK_REUSEPORT 39",
    "sk_reuseport/migrate": "reuseport SK_REUSEPORT 40",
    "lirc_mode2": "lirc LIRC_MODE2 16",
    "lwt_in": "none LWT_IN 0",
    "lwt_out": "none LWT_OUT 0",
    "lwt_xmit": "none LWT_XMIT 0",
    "lwt_seg6local": "none LWT_SEG6LOCAL 0",
    "struct_ops": "struct_ops STRUCT_OPS 44",
    "sockops": "cgroup SOCK_OPS 3",
    "cgroup_skb/ingress": "cgroup CGROUP_SKB 0",
    "cgroup_skb/egress": "cgroup CGROUP_SKB 1",
    "cgroup/skb": "cgroup CGROUP_SKB 0",
    "cgroup/sock_create": "cgroup CGROUP_SOCK 2",
    "cgroup/sock": "cgroup CGROUP_SOCK 2",
    "cgroup/sock_release": "cgroup CGROUP_SOCK 34",
    "cgroup/post_bind4": "cgroup CGROUP_SOCK 12",
    "cgroup/post_bind6": "cgroup CGROUP_SOCK 13",
    "cgroup/bind4": "cgroup CGROUP_SOCK_ADDR 8",
    "cgroup/bind6": "cgroup CGROUP_SOCK_ADDR 9",
    "cgroup/connect4": "cgroup CGROUP_SOCK_ADDR 10",
    "cgroup/connect6": "cgroup CGROUP_SOCK_ADDR 11",
    "cgroup/connect_unix": "cgroup CGROUP_SOCK_ADDR 49",
    "cgroup/sendmsg4": "cgroup CGROUP_SOCK_ADDR 14",
    "cgroup/sendmsg6": "cgroup CGROUP_SOCK_ADDR 15",
    "cgroup/sendmsg_unix": "cgroup CGROUP_SOCK_ADDR 50",
    "cgroup/recvmsg4": "cgroup CGROUP_SOCK_ADDR 19",
    "cgroup/recvmsg6": "cgroup CGROUP_SOCK_ADDR 20",
    "cgroup/recvmsg_unix": "cgroup CGROUP_SOCK_ADDR 51",
    "cgroup/getpeername4": "cgroup CGROUP_SOCK_ADDR 29",
    "cgroup/getpeername6": "cgroup CGROUP_SOCK_ADDR 30",
    "cgroup/getpeername_unix": "cgroup CGROUP_SOCK_ADDR 52",
    "cgroup/getsockname4": "cgroup CGROUP_SOCK_ADDR 31",
    "cgroup/getsockname6": "cgroup CGROUP_SOCK_ADDR 32",
    "cgroup/getsockname_unix": "cgroup CGROUP_SOCK_ADDR 53",
    "cgroup/sysctl": "cgroup CGROUP_SYSCTL 18",
    "cgroup/getsockopt": "cgroup CGROUP_SOCKOPT 21",
    "cgroup/setsockopt": "cgroup CGROUP_SOCKOPT 22",
    "cgroup/dev": "cgroup CGROUP_DEVICE 6",
}


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
            found = _SECTIONS.get(name, "none UNSPEC 0")
        self.kind = name
        self.target = target
        self.way, program_type, attach_type = found.split()
        self.program_type = _PROGRAM_TYPES.index(program_type)
        self.attach_type = int(attach_type)


def hook_of(section: str) -> Hook:
    """Return the hook that a section names."""
    return Hook(section)
