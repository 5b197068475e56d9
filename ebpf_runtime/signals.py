# SPDX-License-Identifier: Apache-2.0
"""Signals held back while kernel objects are made or freed, so that nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["signals_held", "signals_let_through"]

# A fault must still end the process at once.
_HELD = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


_outermost = threading.local()


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep signals of this thread back until the block ends, so that nothing is left half made or half freed.

    An interrupt that came meanwhile is raised when the block has ended. Source: pthread_sigmask(3).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    outermost = getattr(_outermost, "mask", None)
    if outermost is None:
        _outermost.mask = before
    try:
        yield
    finally:
        _outermost.mask = outermost
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signals_let_through() -> Iterator[None]:
    """Inside `signals_held`: let signals in again for long work that owns nothing of the kernel."""
    outermost = getattr(_outermost, "mask", None)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if outermost is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, outermost)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
