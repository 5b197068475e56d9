# SPDX-License-Identifier: Apache-2.0
"""What the running kernel can do, found out by trying: yes, no or could-not-tell.

Only the first two are remembered, for the life of the process.
"""

from __future__ import annotations

import errno
import os

from . import perf_events, system_calls
from .hooks import Hook

__all__ = ["floor_of", "has_program_type", "is_missing"]

_RETURN_0 = b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"  # r0 = 0; exit
_RETURN_1 = b"\xb7\0\0\0\1\0\0\0\x95\0\0\0\0\0\0\0"
_NO_DEVICE = (1 << 31) - 1
_TCX_INGRESS = 46
# Types whose programs name a type of the kernel's BTF, and cannot be tried without one.
_BY_BTF = (26, 27, 28, 29)

# By section's name first, then by way of attaching: what it is called, and the first kernel that has it.
_FLOORS = {
    "kprobe.multi": ("kprobes on many functions at once", "5.18"),
    "kretprobe.multi": ("kprobes on many functions at once", "5.18"),
    "kprobe.session": ("kprobe sessions", "6.10"),
    "uprobe.multi": ("uprobes on many functions at once", "6.6"),
    "uretprobe.multi": ("uprobes on many functions at once", "6.6"),
    "uprobe.session": ("uprobe sessions", "6.13"),
    "kprobe": ("kprobes (CONFIG_KPROBE_EVENTS)", "4.1"),
    "kretprobe": ("kprobes (CONFIG_KPROBE_EVENTS)", "4.1"),
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
    "lirc": ("programs of infrared receivers (CONFIG_BPF_LIRC_MODE2)", "4.18"),
}
_answers: dict[tuple[int, int], bool] = {}


def floor_of(hook: Hook) -> tuple[str, str]:
    """Return what a hook's feature is called and the first kernel that has it."""
    return _FLOORS.get(hook.kind) or _FLOORS.get(hook.way) or (f"{hook.kind} programs", "")


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
        from .hooks import kind_refusal

        return kind_refusal(hook) is not None
    if hook.way in ("uprobe", "usdt"):
        return not perf_events.has_source("uprobe") and not os.access(f"{perf_events.tracefs()}/uprobe_events", os.F_OK)
    if number == errno.ENOENT:
        return False
    if has_program_type(hook.program_type, hook.attach_type) is False:
        return True
    return _has_link(hook) is False


def _has_link(hook: Hook) -> bool | None:
    """Ask for a link to a device that cannot be: a kernel with such links looks for the device (ENODEV)."""
    if hook.way not in ("tcx", "netkit"):
        return None
    fd = system_calls.program_load(hook.program_type, _RETURN_0, expected_attach_type=hook.attach_type)
    if fd < 0:
        return None
    answer = system_calls.link_create(fd, _NO_DEVICE, hook.attach_type or _TCX_INGRESS, more=bytes(16))
    os.close(fd)
    return {-errno.ENODEV: True, -errno.EINVAL: False}.get(answer)
