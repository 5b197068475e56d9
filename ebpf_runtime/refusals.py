# SPDX-License-Identifier: Apache-2.0
"""Why a hook refuses a program, and what to do: capabilities, features, names that are near."""

from __future__ import annotations

import errno

from .errors import AttachError, PermissionDeniedError, describe
from .features import cookie_floor_of, floor_of, is_missing, lacking
from .nearby import near_names
from .privilege import missing_capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .hooks import Hook

__all__ = ["attach_error", "no_cookies", "refuse_without_lsm"]

_LSM_LIST = "/sys/kernel/security/lsm"

_NETWORK = ("xdp", "tcx", "netkit", "netns", "netfilter", "sockmap", "cgroup")
_WORDS = {
    errno.EBUSY: "Another program is attached there already.",
    errno.EEXIST: "Another program is attached there already.",
}


def attach_error(name: str, hook: Hook, where: str, number: int, log: str) -> AttachError | PermissionDeniedError:
    """Return the error for a program that its hook refused.

    Args:
        name: The program's name.
        where: The hook, as the text says it.
        number: The error number.
        log: What libbpf said.
    """
    action = f"attach program {name!r} to {where}"
    if number in (errno.EPERM, errno.EACCES):
        missing = missing_capabilities("CAP_NET_ADMIN") if hook.way in _NETWORK else missing_capabilities()
        if missing:
            return PermissionDeniedError(
                f"{action}: {describe(number)}, this process lacks {' and '.join(missing)}. "
                "Run as root, or grant the capabilities (setcap, AmbientCapabilities=).",
                name=name,
                errno=number,
            )
    if is_missing(hook, number):
        return lacking(AttachError, action, name, number, floor_of(hook), log)
    hint = _WORDS.get(number, "")
    if number == errno.EOPNOTSUPP and hook.way == "usdt":
        hint = "Before Linux 5.15 the probes of a library are attached in one process: say which, attach(pid=...)."
    if number == errno.EBADF and hook.way == "cgroup":
        hint = "It is no directory of a cgroup of version 2."
    if number == errno.E2BIG and hook.way == "netns":
        hint = _WORDS[errno.EBUSY]
    if number == errno.ENOENT:
        near = near_names(hook)
        hint = f"Near names: {', '.join(near)}." if near else _absent(hook)
    return AttachError(f"{action}: {describe(number)}.{' ' if hint else ''}{hint}", name=name, errno=number, log=log)


def no_cookies(name: str, hook: Hook, where: str, number: int) -> AttachError:
    """Return the error for a cookie that the kernel does not take where it takes the program without one."""
    return lacking(AttachError, f"attach program {name!r} to {where}", name, number, cookie_floor_of(hook))


def refuse_without_lsm(name: str, where: str) -> None:
    """Refuse where the kernel was booted without the BPF LSM: it attaches its programs all the same, and runs none.

    Raises:
        AttachError: It was, as far as securityfs is mounted to tell.
    """
    from pathlib import Path

    try:
        active = Path(_LSM_LIST).read_text().strip()
    except OSError:
        return
    if "bpf" in active.split(","):
        return
    raise AttachError(
        f"attach program {name!r} to {where}: the kernel runs no LSM programs, it was booted with lsm={active}. "
        f"Boot it with lsm={active},bpf.",
        name=name,
        feature="the BPF LSM (CONFIG_BPF_LSM, lsm=bpf)",
        minimum_kernel="5.7",
    )


def _absent(hook: Hook) -> str:
    """What to look at where nothing is near."""
    return {
        "kprobe": "The hook is not in this kernel; see /sys/kernel/tracing/available_filter_functions.",
        "kprobe_multi": "The hook is not in this kernel; see /sys/kernel/tracing/available_filter_functions.",
        "raw_tp": "The hook is not in this kernel; see /sys/kernel/tracing/events/.",
        "tracepoint": "The hook is not in this kernel; see /sys/kernel/tracing/events/.",
        "uprobe": "There is no such file or function; see nm -D.",
        "uprobe_multi": "There is no such file.",
        "usdt": "There is no such file or probe; see readelf -n.",
    }.get(hook.way, "")
