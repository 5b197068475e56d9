# SPDX-License-Identifier: Apache-2.0
"""SIGINT, SIGTERM and SIGHUP as a wish to end, heard where it does no harm."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

__all__ = ["STOP_SIGNALS", "StopSignals", "Stopped", "terminable"]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal came inside `StopSignals.at_once()`; no error, and not to be caught as one."""


class StopSignals:
    """Inside its `with` block the first SIGINT, SIGTERM or SIGHUP only ends `wait()`, or what is done `at_once()`.

    The second one raises KeyboardInterrupt, in case the work between two waits does not end.
    A signal that was ignored before, as by nohup(1), stays so.
    Only for the main thread: the interpreter delivers signals there.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        """The first signal that came, None while none did."""
        self._at_once = False

    def __enter__(self) -> Self:
        # A signal that comes between a look at `received` and the wait for it must end the wait
        # all the same, so the interpreter's own handler writes to this pipe at once.
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._previous = [(number, signal.signal(number, self._handle)) for number in _heeded()]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float, tick: Callable[[float], None]) -> bool:
        """Return False when *seconds* have passed, True as soon as a signal has come.

        Args:
            tick: Called with the seconds that are left, about once a second.
        """
        end = time.monotonic() + seconds
        while self.received is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            tick(left)
            select.select([self._reader], [], [], min(left, 1.0))
            self._empty_pipe()
        return True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """End the block by the first signal: for long work that leaves nothing half done.

        Raises:
            Stopped: It came, be it before the block.
        """
        self._at_once = True
        try:
            if self.received is not None:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def _empty_pipe(self) -> None:
        # Other signals with handlers write to it too.
        try:
            while os.read(self._reader, 64):
                pass
        except BlockingIOError:
            pass

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if self._at_once:
            raise Stopped


def _heeded() -> list[signal.Signals]:
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP take the way of Ctrl-C, so that they leave nothing behind either.

    Raises:
        SystemExit: One came.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = [(number, signal.signal(number, interrupt)) for number in _heeded() if number != signal.SIGINT]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
