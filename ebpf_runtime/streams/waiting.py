# SPDX-License-Identifier: Apache-2.0
"""Waiting for records: by a thread, and by a task of asyncio."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["SLICE_S", "Waiter"]

# A handler written in Python runs when a wait ends. A signal ends it at once, but not where it came just before, or
# where another thread took it; so no single wait is longer than this.
SLICE_S = 0.2

_PAUSE_S = 0.0005  # between looks at a record that is reserved and not yet committed


class Waiter:
    """One epoll over file descriptors, which `wake` interrupts.

    What is readable need not have a record: one that is reserved and not committed makes a ring buffer readable at
    once. So time decides, not the number of wake-ups, and between two looks that found nothing there is a pause.

    It may be closed while a thread or a task waits, for which *ready* is asked once more then, and is to raise.
    """

    def __init__(self, fds: Iterable[int]) -> None:
        self._process = os.getpid()
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._futures: dict[asyncio.Future[bool], asyncio.AbstractEventLoop] = {}
        # Waking is not to write to a file that has got the number of the closed one.
        self._lock = RLock()
        try:
            for fd in (self._wakeup, *fds):
                self._epoll.register(fd, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._epoll.fileno()

    def add(self, fd: int) -> None:
        """Wait for one more file descriptor, from now on; does nothing once it is closed."""
        with self._lock:
            if not self._epoll.closed:
                self._epoll.register(fd, select.EPOLLIN)

    def wait(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Return whether *ready* said yes before the time was over; it is asked once at least."""
        deadline = None if timeout is None else time.monotonic() + timeout
        woken = False
        while not ready():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            if woken:
                time.sleep(_PAUSE_S if left is None else min(_PAUSE_S, left))
                woken = False
            else:
                try:
                    woken = bool(self._epoll.poll(SLICE_S if left is None else min(SLICE_S, left)))
                except (OSError, ValueError):
                    if not self._epoll.closed:
                        raise
        return True

    async def wait_async(self, ready: Callable[[], bool], every: float | None = None) -> None:
        """Return when *ready* says yes; a cancelled task leaves nothing behind, and takes nothing away.

        *ready* is asked when something is readable, and also each *every* seconds where that is given.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        woken = False
        while not ready():
            if woken:
                await asyncio.sleep(_PAUSE_S)
                woken = False
                continue
            future = loop.create_future()
            self._futures[future] = loop
            timer = None if every is None else loop.call_later(every, _settle, future, False)
            try:
                loop.add_reader(self._epoll.fileno(), self._settle_all, loop)
                woken = await future
            except (OSError, ValueError):
                if not self._epoll.closed:
                    raise
            finally:
                if timer is not None:
                    timer.cancel()
                del self._futures[future]
                if loop not in self._futures.values() and not self._epoll.closed:
                    loop.remove_reader(self._epoll.fileno())

    def _settle_all(self, loop: asyncio.AbstractEventLoop) -> None:
        for future, owner in list(self._futures.items()):
            if owner is loop:
                _settle(future, True)

    def wake(self) -> None:
        """Let whoever waits ask again, now and from now on; a forked child leaves its parent alone."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._epoll.closed:
                return
            os.eventfd_write(self._wakeup, 1)
            for loop in set(self._futures.values()):
                with suppress(RuntimeError):  # the loop is closed, and its tasks never run again
                    loop.remove_reader(self._epoll.fileno())
                    loop.call_soon_threadsafe(self._settle_all, loop)

    def close(self) -> None:
        """Free both; a second call does nothing."""
        with self._lock:
            if not self._epoll.closed:
                self._epoll.close()
                os.close(self._wakeup)


def _settle(future: asyncio.Future[bool], woken: bool) -> None:
    if not future.done():
        future.set_result(woken)
