# SPDX-License-Identifier: Apache-2.0
"""Work in a second thread while the first has something else to do."""

from __future__ import annotations

from threading import Thread

from .generics import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
else:
    T = None

__all__ = ["Background"]


class Background(Generic[T]):
    """One call that runs beside the thread that made it; `result` waits for it, and nothing else does."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        """Return what the call returned, or raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result
