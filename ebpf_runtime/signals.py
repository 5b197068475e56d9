# SPDX-License-Identifier: Apache-2.0
"""Signals held back while kernel objects are made or freed, so that nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["signals_held", "signals_released"]

# A fault must still end the process at once.
_HELD = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

_thread = threading.local()  # the mask from before the outermost block


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep signals of this thread back until the block ends, so that nothing is left half made or half freed.

    An interrupt that came meanwhile is raised when the block has ended. Source: pthread_sigmask(3).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    outermost = not hasattr(_thread, "before")
    if outermost:
        _thread.before = before
    try:
        yield
    finally:
        if outermost:
            del _thread.before
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signals_released() -> Iterator[None]:
    """Let signals through again inside of `signals_held`, for work that takes long and holds no kernel object."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signal.pthread_sigmask(signal.SIG_SETMASK, getattr(_thread, "before", held))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
