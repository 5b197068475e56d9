# SPDX-License-Identifier: Apache-2.0
"""Which capabilities BPF needs and this process has."""

from __future__ import annotations

from pathlib import Path

__all__ = ["missing_capabilities"]

_SYS_ADMIN = 21
_NEEDED = {39: "CAP_BPF", 38: "CAP_PERFMON"}


def missing_capabilities() -> tuple[str, ...]:
    """Return the capabilities that loading and attaching programs needs and this process lacks.

    CAP_SYS_ADMIN stands for all of them, and is what kernels before 5.8 ask for.

    Source: /proc/self/status, field CapEff; capabilities(7).
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return ()  # no /proc: it cannot be told
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            if effective >> _SYS_ADMIN & 1:
                return ()
            return tuple(name for bit, name in _NEEDED.items() if not effective >> bit & 1)
    return ()
