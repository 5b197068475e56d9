# SPDX-License-Identifier: Apache-2.0
"""The CPUs that per-CPU maps have values for."""

from __future__ import annotations

from .errors import EbpfError, describe

__all__ = ["possible_cpus"]


def possible_cpus() -> int:
    """Return the number of possible CPUs: the length of every per-CPU value.

    Raises:
        LibraryNotFoundError: There is no libbpf.
        EbpfError: The kernel does not say (/sys is not mounted).
    Source: /sys/devices/system/cpu/possible, libbpf libbpf_num_possible_cpus().
    """
    from .libbpf import library

    count: int = library().libbpf_num_possible_cpus()
    if count < 0:
        raise EbpfError(f"count the possible CPUs: {describe(-count)}. Mount sysfs on /sys.", errno=-count)
    return count
