# SPDX-License-Identifier: Apache-2.0
"""Signals held back while kernel objects are made or freed, so that nothing is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["signals_held"]

# A fault must still end the process at once.
_HELD = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep signals of this thread back until the block ends, so that nothing is left half made or half freed.

    An interrupt that came meanwhile is raised when the block has ended. Source: pthread_sigmask(3).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
