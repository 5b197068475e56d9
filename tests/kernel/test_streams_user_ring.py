# SPDX-License-Identifier: Apache-2.0
"""User ring buffers: records from Python that a program drains."""

from __future__ import annotations

import errno
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from ebpf_runtime import MapError, MapFullError, RecordError
from tests.support.kernel import open_files
from tests.support.streams import USER_RING_REFUSAL, call, open_feed, said_in_a_child

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(USER_RING_REFUSAL), reason=USER_RING_REFUSAL)]

REFUSED = (
    "write user ring buffer 'inbox': it belongs to process {}, and a forked child must not write it. "
    "Open the probe in the child."
)
ROOM = 4096 // 24  # records of 16 bytes and a header


@pytest.fixture
def probe(feed: ModuleType) -> Iterator[Any]:
    with open_feed(feed) as loaded:
        loaded.bss.target = 4
        yield loaded


def order(feed: ModuleType, amount: int) -> Any:
    return feed.Order(amount=amount, from_=7, zero=0)


@contextmanager
def written_by_another_thread(inbox: Any) -> Iterator[threading.Event]:
    """Have a thread write a record of 5 in a block of reserve(), which it leaves at the event, or when this ends."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with inbox.reserve() as memory:
            memory[:8] = (5).to_bytes(8, "little")
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    try:
        yield leave
    finally:
        leave.set()
        thread.join()


def test_the_program_takes_every_record_once(feed: ModuleType, probe: Any) -> None:
    sent = 0
    for turn in range(10):
        for number in range(101):
            probe.maps.inbox.submit(order(feed, turn * number))
            sent += turn * number
        call()
    assert (probe.bss.orders, probe.bss.amount) == (1010, sent)


def test_reserved_memory_is_written_in_place_and_discarded_where_the_block_raises(probe: Any) -> None:
    with probe.maps.inbox.reserve() as memory:
        assert len(memory) == 16
        memory[:8] = (77).to_bytes(8, "little")
    with pytest.raises(ZeroDivisionError), probe.maps.inbox.reserve() as memory:
        memory[:8] = (1000).to_bytes(8, "little")
        1 / 0  # noqa: B018
    with pytest.raises(ValueError, match="released"):
        memory[0]
    call()
    assert (probe.bss.orders, probe.bss.amount) == (1, 77)


def test_a_full_ring_refuses_and_has_room_again_when_drained(feed: ModuleType, probe: Any) -> None:
    inbox = probe.maps.inbox
    for _ in range(ROOM):
        inbox.submit(order(feed, 1))
    for timeout in (0, 0.05):
        with pytest.raises(MapFullError) as caught:
            inbox.submit(order(feed, 1), timeout=timeout)
        assert str(caught.value) == (
            "write user ring buffer 'inbox': ENOSPC, no space left on device; it has no room for 16 bytes. "
            "Have the program drain it, wait longer, or make it larger before load."
        )
        assert caught.value.errno == 28
    call()
    inbox.submit(order(feed, 2))
    call()
    assert (probe.bss.orders, probe.bss.amount) == (ROOM + 1, ROOM + 2)


def test_a_writer_waits_until_the_program_has_drained(feed: ModuleType, probe: Any) -> None:
    inbox = probe.maps.inbox
    for _ in range(ROOM):
        inbox.submit(order(feed, 1))
    timer = threading.Timer(0.2, call)
    timer.start()
    started = time.monotonic()
    inbox.submit(order(feed, 5), timeout=30)
    assert 0.1 < time.monotonic() - started < 20
    timer.join()
    call()
    assert (probe.bss.orders, probe.bss.amount) == (ROOM + 1, ROOM + 5)


def test_threads_take_turns(feed: ModuleType, probe: Any) -> None:
    def write() -> None:
        for _ in range(40):
            probe.maps.inbox.submit(order(feed, 1))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    call()
    assert (probe.bss.orders, probe.bss.amount) == (160, 160)


def test_what_does_not_fit_is_refused(feed: ModuleType, probe: Any) -> None:
    with pytest.raises(RecordError, match=r"does not fit Order\.$"):
        probe.maps.inbox.submit(b"bytes")
    call()
    assert probe.bss.orders == 0


@pytest.mark.parametrize("size", [4089, 4096, 1 << 20, 1 << 30, (1 << 32) - 8, (1 << 32) + 16, 1 << 70])
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_what_never_fits_is_refused_by_its_whole_size(probe: Any, size: int, timeout: float) -> None:
    with pytest.raises(MapError) as caught, probe.maps.inbox.reserve(size, timeout):
        pass
    assert type(caught.value) is MapError
    assert str(caught.value) == f"write user ring buffer 'inbox': a record of {size} bytes never fits."
    assert caught.value.errno == errno.E2BIG
    call()
    assert probe.bss.orders == 0


@pytest.mark.parametrize("size", [-1, -(1 << 32) + 16, "a", 16.0, b"16"])
def test_what_is_no_size_is_refused(feed: ModuleType, probe: Any, size: Any) -> None:
    inbox = probe.maps.inbox
    with pytest.raises(MapError) as caught, inbox.reserve(size):
        pass
    assert str(caught.value) == f"write user ring buffer 'inbox': size {size!r} is not from 0 to 4088."
    for least_and_most in (0, 4088):
        with inbox.reserve(least_and_most) as memory:
            assert len(memory) == least_and_most
            memory[:] = bytes(least_and_most)
        call()
    inbox.submit(order(feed, 5))
    call()
    assert (probe.bss.orders, probe.bss.amount) == (2, 5)  # the program passes over the one of no bytes


def test_closing_frees_the_ring(feed: ModuleType) -> None:
    gc.collect()  # what earlier tests left in cycles is not to go meanwhile
    before = open_files()
    with open_feed(feed) as probe:
        probe.maps.inbox.submit(order(feed, 1))
    assert open_files() == before
    with pytest.raises(MapError) as caught:
        probe.maps.inbox.submit(order(feed, 1))
    assert str(caught.value) == "write map 'inbox': the probe is closed."


def test_a_record_that_is_reserved_stays_when_the_probe_is_closed(feed: ModuleType) -> None:
    gc.collect()
    before = open_files()
    with open_feed(feed) as probe:
        inbox = probe.maps.inbox
        with inbox.reserve(4000) as memory:
            probe.close()
            memory[:] = b"x" * 4000
            with pytest.raises(MapError) as caught:
                inbox.submit(order(feed, 1))
            assert str(caught.value) == "write map 'inbox': the probe is closed."
    assert open_files() == before


def is_mapped() -> bool:
    return "anon_inode:bpf-map" in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("kept", ["slice", "array"])
def test_what_is_kept_of_a_reserved_record_can_be_looked_at_when_the_probe_is_closed(
    feed: ModuleType, kept: str
) -> None:
    """In a child first, which would die of it alone."""
    gc.collect()
    before, was_mapped = open_files(), is_mapped()
    with open_feed(feed) as probe:
        probe.bss.target = 4
        with probe.maps.inbox.reserve() as memory:
            memory[:8] = (5).to_bytes(8, "little")
            view: Any = memory[:8] if kept == "slice" else pytest.importorskip("numpy").frombuffer(memory, "u1")
        call()
        assert (probe.bss.orders, probe.bss.amount) == (1, 5)
        with pytest.raises(LookupError), probe.maps.inbox.reserve() as memory:
            other: Any = memory[8:] if kept == "slice" else pytest.importorskip("numpy").frombuffer(memory, "u1")
            raise LookupError
        call()
        assert (probe.bss.orders, probe.bss.amount) == (1, 5)
    child = os.fork()
    if not child:
        try:
            os._exit(view[0] + len(other))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5 + len(other)
    assert view[0] == 5
    view[0] = 6  # of the closed ring, which nobody drains
    assert view[0] == 6
    del view, other, memory
    gc.collect()  # pytest.raises() has the frame that the memory was made in
    assert (open_files(), is_mapped()) == (before, was_mapped)


def test_records_of_any_size_are_written_where_the_program_takes_them(probe: Any) -> None:
    """Also around the end of the ring."""
    sent = 0
    for number in range(2000):
        with probe.maps.inbox.reserve(16 + number % 201) as memory:
            assert len(memory) == 16 + number % 201
            memory[:] = bytes([255]) * len(memory)
            memory[:8] = number.to_bytes(8, "little")
        sent += number
        if number % 7 == 0:
            call()
    call()
    assert (probe.bss.orders, probe.bss.amount) == (2000, sent)


def test_closing_ends_the_waits_of_other_threads(feed: ModuleType) -> None:
    """Of one that waits for room, and of one that waits for its turn."""
    errors: list[str] = []
    gc.collect()
    before = open_files()
    with open_feed(feed) as probe:
        inbox = probe.maps.inbox
        for _ in range(ROOM):
            inbox.submit(order(feed, 1))

        def write() -> None:
            with pytest.raises(MapError) as caught:
                inbox.submit(order(feed, 1), timeout=None)
            errors.append(str(caught.value))

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert errors == ["write map 'inbox': the probe is closed."] * 2
    assert open_files() == before


def test_a_second_record_in_a_block_is_refused(feed: ModuleType, probe: Any) -> None:
    inbox = probe.maps.inbox
    with inbox.reserve() as memory:
        for timeout in (0, 0.01, None):
            with pytest.raises(MapError) as caught:
                inbox.submit(order(feed, 1000), timeout=timeout)
            assert str(caught.value) == (
                "write user ring buffer 'inbox': EBUSY, device or resource busy; this thread is in a block of "
                "reserve(). Write before or after it."
            )
            assert caught.value.errno == errno.EBUSY
        memory[:8] = (5).to_bytes(8, "little")
    inbox.submit(order(feed, 2))
    call()
    assert (probe.bss.orders, probe.bss.amount) == (2, 7)


def test_the_turn_of_another_thread_is_waited_for_and_not_for_ever(feed: ModuleType, probe: Any) -> None:
    inbox = probe.maps.inbox
    with written_by_another_thread(inbox) as leave:
        for timeout, least in ((0, 0.2), (0.3, 0.3)):
            started = time.monotonic()
            with pytest.raises(MapError) as caught:
                inbox.submit(order(feed, 1000), timeout)
            assert least <= time.monotonic() - started < 10
            assert str(caught.value) == (
                "write user ring buffer 'inbox': EBUSY, device or resource busy; another thread is in a block of "
                "reserve(). Have it end the block, or wait longer."
            )
            assert caught.value.errno == errno.EBUSY
        timer = threading.Timer(0.3, leave.set)
        timer.start()
        inbox.submit(order(feed, 2), timeout=None)
        timer.join()
    call()
    assert (probe.bss.orders, probe.bss.amount) == (2, 7)


def test_a_forked_child_is_refused_and_leaves_the_ring_alone(feed: ModuleType, probe: Any) -> None:
    """Also one forked while another thread of the parent has the turn, and one that leaves the block it was made in."""
    inbox = probe.maps.inbox
    with written_by_another_thread(inbox):
        assert said_in_a_child(lambda: inbox.submit(order(feed, 1000))) == REFUSED.format(os.getpid())
    assert said_in_a_child(lambda: inbox.submit(order(feed, 1000))) == REFUSED.format(os.getpid())
    child = -1
    try:
        with inbox.reserve() as memory:
            child = os.fork()
            if not child:
                inbox._close()
                memory[:8] = (2).to_bytes(8, "little")
                raise LookupError
            assert os.waitpid(child, 0)[1] == 0
    except LookupError:
        os._exit(0)
    finally:
        if not child:
            os._exit(1)
    call()
    assert (probe.bss.orders, probe.bss.amount) == (2, 7)


def test_an_interrupt_at_any_moment_leaves_the_turn_to_others(feed: ModuleType, probe: Any) -> None:
    """Of a record that never fits: nothing of the ring is held then."""
    inbox = probe.maps.inbox
    armed = False
    interrupts = 0

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal armed, interrupts
        if armed:
            armed = False
            interrupts += 1
            raise LookupError

    chance = random.Random(0)
    gc.disable()  # what is raised in a finalizer of something else goes nowhere
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(3000):
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 4e-5))
                with suppress(MapError), inbox.reserve(1 << 20):
                    pass
                armed = False
            except LookupError:
                pass
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert not inbox._turn.locked()
            assert not inbox._writers
    finally:
        armed = False
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert interrupts > 20
    inbox.submit(order(feed, 3))
    call()
    assert (probe.bss.orders, probe.bss.amount) == (1, 3)
