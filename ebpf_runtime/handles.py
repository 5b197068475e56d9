# SPDX-License-Identifier: Apache-2.0
"""What stands for objects of the kernel: a note of those that this process has loaded, and signals held back while any
are made or freed, so that nothing is left half done.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import Literal, NoReturn, SupportsIndex

    _Handler = Callable[[int, FrameType | None], object]
else:
    # The functions behind `signal`, which wraps enumerations around their numbers: importing that takes longer than
    # loading a small probe.
    import _signal as signal

__all__ = ["Handle", "forget", "loaded", "loaded_lock", "note", "signals_held", "signals_let_through"]


class Handle:
    """Base of what owns file descriptors or memory of libbpf; a copy would free them twice, so there are none."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"copy or pickle {type(self).__name__}: it stands for kernel objects of this process alone")


loaded_lock = allocate_lock()  # while it is held, no file descriptor in the note is closed
# By the id of the owner, which is a probe from its loading until it closes: (module, (kind, name, file descriptor)).
loaded: dict[int, tuple[str, Sequence[tuple[Literal["map", "program"], str, int]]]] = {}


def note(owner: object, module: str, objects: Sequence[tuple[Literal["map", "program"], str, int]]) -> None:
    """Note what *owner* has loaded, as (kind, name, file descriptor)."""
    with loaded_lock:
        loaded[id(owner)] = (module, objects)


def forget(owner: object) -> None:
    """Forget what *owner* had loaded; to be called before its file descriptors are closed."""
    with loaded_lock:
        loaded.pop(id(owner), None)


# A fault must still end the process at once.
_HELD = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
# A child inherits what is blocked, and one that waits for children of its own would wait for ever.
_BLOCKED = _HELD - {signal.SIGCHLD}


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
        for number in _HELD:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                try:
                    signal.signal(number, self._note)
                except ValueError:  # not the main thread, which alone runs handlers
                    self._handlers.clear()
                    return

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


_holds: dict[int, _Hold] = {}  # by thread


class signals_held:
    """Keep signals of this thread back until the block ends, so that nothing is left half made or half freed.

    An interrupt that came meanwhile is raised when the block has ended. Source: pthread_sigmask(3), signal(7).
    """

    __slots__ = ("_hold",)

    def __enter__(self) -> None:
        self._hold: _Hold | None = None
        if get_ident() in _holds:
            return
        hold = _Hold()
        try:
            self._hold = _holds[get_ident()] = hold
            hold.begin()
        except BaseException:
            self._end(hold)
            raise

    def __exit__(self, *_error: object) -> None:
        if self._hold is not None:
            self._end(self._hold)

    @staticmethod
    def _end(hold: _Hold) -> None:
        _holds.pop(get_ident(), None)
        hold.end()


class signals_let_through:
    """Inside `signals_held`: let signals in again for long work that owns nothing of the kernel."""

    __slots__ = ("_hold",)

    def __enter__(self) -> None:
        self._hold = _holds.get(get_ident())
        if self._hold is not None:
            self._hold.end()

    def __exit__(self, *_error: object) -> None:
        if self._hold is not None:
            self._hold.begin()
