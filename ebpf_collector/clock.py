# SPDX-License-Identifier: Apache-2.0
"""The kernel's clock of BPF records, turned into wall-clock time."""

import time

__all__ = ["unix_seconds"]


def unix_seconds(monotonic_ns: int) -> float:
    """Return the Unix time, in seconds, of a CLOCK_MONOTONIC reading in nanoseconds.

    The two clocks are compared now: when the wall clock was set, or the machine slept, after the
    reading was taken, the result is off by that much.
    Source: bpf_ktime_get_ns() is CLOCK_MONOTONIC.
    """
    offset_ns = time.time_ns() - time.monotonic_ns()
    return (monotonic_ns + offset_ns) / 1e9
