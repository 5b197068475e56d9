# SPDX-License-Identifier: Apache-2.0
"""Signals held back while kernel objects are made or freed, so that nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["signals_held", "signals_let_through"]

# A fault must still end the process at once.
_BLOCKED = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_Handler = Callable[[int, FrameType | None], object]


class _Hold:
    """What one hold keeps back: the thread's mask and, in the main thread, the handlers written in Python.

    Blocking alone is not enough: in a process with other threads one of them takes the signal, and the handler then
    runs in the main thread all the same.
    """

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._handlers: dict[int, _Handler] = {}
        self._came: list[int] = []

    def begin(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread runs handlers
        for number in _BLOCKED:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._came.append(number)

    def end(self) -> None:
        """Put everything back, then handle what came; the first exception of a handler is raised."""
        error: BaseException | None = None
        left = list(self._handlers.items())
        try:
            while left:
                # Where another thread takes a signal, a handler that is back already may raise anywhere in here.
                try:
                    while left:
                        signal.signal(*left[-1])
                        del left[-1]
                except BaseException as raised:
                    error = error or raised
        finally:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            except BaseException as raised:
                error = error or raised
        came, self._came = self._came, []
        for number in came:
            try:
                self._handlers[number](number, None)
            except BaseException as raised:
                error = error or raised
        if error is not None:
            raise error


_outermost = threading.local()


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep signals of this thread back until the block ends, so that nothing is left half made or half freed.

    An interrupt that came meanwhile is raised when the block has ended. Source: pthread_sigmask(3), signal(7).
    """
    if getattr(_outermost, "hold", None) is not None:
        yield
        return
    hold = _Hold()
    try:
        _outermost.hold = hold
        hold.begin()
        yield
    finally:
        _outermost.hold = None
        hold.end()


@contextmanager
def signals_let_through() -> Iterator[None]:
    """Inside `signals_held`: let signals in again for long work that owns nothing of the kernel."""
    hold: _Hold | None = getattr(_outermost, "hold", None)
    if hold is None:
        yield
        return
    hold.end()
    try:
        yield
    finally:
        hold.begin()
