# SPDX-License-Identifier: Apache-2.0
"""Signals end a wait, and nothing else."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ebpf_collector.stop import STOP_SIGNALS, Stopped, StopSignals, terminable
from ebpf_runtime import signals_held


def ignore(left_s: float) -> None:
    pass


def test_wait_takes_its_time() -> None:
    with StopSignals() as stop:
        start = time.monotonic()
        assert not stop.wait(0.05, ignore)
        assert time.monotonic() - start >= 0.05
        assert stop.received is None


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signal_ends_the_wait(number: signal.Signals) -> None:
    with StopSignals() as stop:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), number))
        timer.start()
        start = time.monotonic()
        assert stop.wait(60, ignore)
        assert time.monotonic() - start < 5
        timer.join()
        assert stop.received is number


def test_signal_before_the_wait_ends_it_at_once() -> None:
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60, ignore)


def test_signal_that_another_thread_takes_ends_the_wait_too() -> None:
    # It does not interrupt the system call of the waiting thread, as one that comes just before
    # that call does not.
    done = threading.Event()
    taker = threading.Thread(target=done.wait)
    taker.start()
    assert taker.ident is not None
    with StopSignals() as stop:
        timer = threading.Timer(0.1, signal.pthread_kill, (taker.ident, signal.SIGTERM))
        timer.start()
        start = time.monotonic()
        assert stop.wait(60, ignore)
        assert time.monotonic() - start < 0.6
    timer.join()
    done.set()
    taker.join()


def test_second_signal_interrupts() -> None:
    with StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_long_work_ends_at_once_and_no_more_begins(number: signal.Signals) -> None:
    with StopSignals() as stop:
        with stop.at_once():
            pass
        with pytest.raises(Stopped), stop.at_once():
            os.kill(os.getpid(), number)
            pytest.fail("it went on")
        with pytest.raises(Stopped), stop.at_once():
            pytest.fail("it began")
        assert stop.received is number
        assert stop.wait(60, ignore)


def test_what_is_held_back_ends_the_work_once_it_is_done() -> None:
    done = False
    with StopSignals() as stop, pytest.raises(Stopped), stop.at_once(), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        done = True
    assert done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_ends_by_a_signal_as_by_an_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, terminable():
        os.kill(os.getpid(), number)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable(), StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.wait(0.01, ignore)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ticks_tell_what_is_left() -> None:
    ticks: list[float] = []
    with StopSignals() as stop:
        stop.wait(1.1, ticks.append)
    assert ticks[0] == pytest.approx(1.1, abs=0.05)
    assert ticks[1] == pytest.approx(0.1, abs=0.09)


def test_everything_is_put_back() -> None:
    handlers = [signal.getsignal(number) for number in STOP_SIGNALS]
    descriptors = set(Path("/proc/self/fd").iterdir())
    with StopSignals() as stop:
        stop.wait(0.01, ignore)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == handlers
    assert set(Path("/proc/self/fd").iterdir()) == descriptors
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    assert wakeup == -1
