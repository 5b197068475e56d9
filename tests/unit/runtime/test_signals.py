# SPDX-License-Identifier: Apache-2.0
"""Signals that are held come after the block, whichever thread takes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from ebpf_runtime import signals_held
from ebpf_runtime.handles import signals_let_through


@pytest.fixture
def came() -> Iterator[list[int]]:
    """The signals that the handlers of this test saw."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def from_another_thread(number: int) -> None:
    """Let a thread that holds nothing take a signal of the process."""
    thread = threading.Thread(target=lambda: os.kill(os.getpid(), number))
    thread.start()
    thread.join()


@pytest.mark.parametrize("send", [lambda number: os.kill(os.getpid(), number), from_another_thread])
def test_signals_come_after_the_block(came: list[int], send: Callable[[int], None]) -> None:
    with signals_held():
        send(signal.SIGTERM)
        time.sleep(0.01)
        assert came == []
    assert came == [signal.SIGTERM]


def test_an_interrupt_is_raised_after_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt):
        with signals_held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all of it")
        done.append("nothing more")
    assert done == ["all of it"]


def test_the_error_of_the_block_is_not_lost(came: list[int]) -> None:
    with pytest.raises(ValueError, match="of the block"), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("of the block")
    assert came == [signal.SIGTERM]


def test_an_inner_block_does_not_end_the_outer_one(came: list[int]) -> None:
    with signals_held():
        with signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
        assert came == []
    assert came == [signal.SIGTERM]


def test_long_work_may_let_them_through(came: list[int]) -> None:
    with signals_held():
        signal.raise_signal(signal.SIGTERM)
        with signals_let_through():
            assert came == [signal.SIGTERM]
            signal.raise_signal(signal.SIGUSR1)
            assert came == [signal.SIGTERM, signal.SIGUSR1]
        signal.raise_signal(signal.SIGTERM)
        assert len(came) == 2
    assert came == [signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM]


def test_outside_of_a_hold_nothing_needs_to_be_let_through(came: list[int]) -> None:
    with signals_let_through():
        signal.raise_signal(signal.SIGTERM)
    assert came == [signal.SIGTERM]


def test_everything_is_put_back(came: list[int]) -> None:
    def state() -> tuple[object, ...]:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return mask, *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))

    before = state()
    with signals_held():
        assert state() != before
    assert state() == before


def test_a_fault_is_never_held() -> None:
    with signals_held():
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert held.isdisjoint({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT})
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= held


def test_a_child_hears_of_its_own_children() -> None:
    code = "import signal; print(signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    with signals_held():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_another_thread_may_hold_its_own() -> None:
    errors: list[BaseException] = []

    def hold() -> None:
        try:
            with signals_held():
                assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        except BaseException as error:
            errors.append(error)

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert errors == []
    assert signal.getsignal(signal.SIGTERM) is handler
