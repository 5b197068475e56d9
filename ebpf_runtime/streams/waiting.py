# SPDX-License-Identifier: Apache-2.0
"""Waiting for records: by a thread, and by a task of asyncio."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
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
    """

    def __init__(self, fds: Iterable[int]) -> None:
        self._process = os.getpid()
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._futures: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        for fd in (self._wakeup, *fds):
            self._epoll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def add(self, fd: int) -> None:
        """Wait for one more file descriptor, from now on."""
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
                woken = bool(self._epoll.poll(SLICE_S if left is None else min(SLICE_S, left)))
        return True

    async def wait_async(self, ready: Callable[[], bool]) -> None:
        """Return when *ready* says yes; a cancelled task leaves nothing behind, and takes nothing away."""
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
            loop.add_reader(self._epoll.fileno(), self._settle, loop)
            try:
                await future
                woken = True
            finally:
                del self._futures[future]
                if loop not in self._futures.values() and not self._epoll.closed:
                    loop.remove_reader(self._epoll.fileno())

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        for future, owner in list(self._futures.items()):
            if owner is loop and not future.done():
                future.set_result(None)

    def wake(self) -> None:
        """Let whoever waits ask again, now and from now on; a forked child leaves its parent alone."""
        if os.getpid() != self._process:
            return
        os.eventfd_write(self._wakeup, 1)
        for loop in set(self._futures.values()):
            with suppress(RuntimeError):  # the loop is closed, and its tasks never run again
                loop.remove_reader(self._epoll.fileno())
                loop.call_soon_threadsafe(self._settle, loop)

    def close(self) -> None:
        self._epoll.close()
        os.close(self._wakeup)
