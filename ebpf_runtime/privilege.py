# SPDX-License-Identifier: Apache-2.0
"""Which capabilities BPF needs and this process has, and what the kernel allows to nobody."""

from __future__ import annotations

import os

__all__ = ["lockdown", "missing_capabilities"]

_STATUS = "/proc/self/status"
_LOCKDOWN = "/sys/kernel/security/lockdown"
_STATUS_BYTES = 1 << 16
_SYS_ADMIN = 21
_SYS_ADMIN_NAME = "CAP_SYS_ADMIN"
_NET_ADMIN_BIT = 12
_NET_ADMIN = "CAP_NET_ADMIN"
_NEEDED = {39: "CAP_BPF", 38: "CAP_PERFMON"}


def missing_capabilities(*more: str) -> tuple[str, ...]:
    """Return the capabilities that loading and attaching programs needs and this process lacks.

    CAP_SYS_ADMIN stands for all of them but CAP_NET_ADMIN, and is what kernels before 5.8 ask for.

    Args:
        more: "CAP_NET_ADMIN" for what attaches to networks and cgroups; "CAP_SYS_ADMIN" for what nothing else gives.

    Source: /proc/self/status, field CapEff; capabilities(7).
    """
    try:
        fd = os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ()  # no /proc: it cannot be told
    try:
        status = os.read(fd, _STATUS_BYTES).decode("ascii", "replace")
    finally:
        os.close(fd)
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            network = () if _NET_ADMIN not in more or effective >> _NET_ADMIN_BIT & 1 else (_NET_ADMIN,)
            if effective >> _SYS_ADMIN & 1:
                return network
            administrator = (_SYS_ADMIN_NAME,) if _SYS_ADMIN_NAME in more else ()
            return (*(name for bit, name in _NEEDED.items() if not effective >> bit & 1), *network, *administrator)
    return ()


def lockdown() -> str:
    """Return what the kernel is locked down for: "none", "integrity", "confidentiality"; empty where it does not tell.

    It is shown, and explains what was refused; what is tried does not depend on it.

    Source: securityfs, lockdown; kernel_lockdown(7). Kernel: 5.4.
    """
    from pathlib import Path

    try:
        text = Path(_LOCKDOWN).read_text()
    except OSError:
        return ""
    return text.partition("[")[2].partition("]")[0]
