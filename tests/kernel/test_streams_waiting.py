# SPDX-License-Identifier: Apache-2.0
"""Waiting for records: with a time limit, for ever, by asyncio, for several streams, by threads, after a fork."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import MapError, Poller, poll_all
from tests.support.kernel import open_files
from tests.support.streams import (
    GETPPID,
    LOOP_REFUSAL,
    RING,
    USER_RING_REFUSAL,
    WAYS,
    burst,
    call,
    open_feed,
    read_by,
    said_in_a_child,
)

pytestmark = pytest.mark.kernel


@pytest.fixture(params=WAYS)
def probe(feed: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    read_by(request.param, monkeypatch)
    with open_feed(feed) as loaded:
        loaded.maps.perf.open(8)
        yield loaded


@pytest.fixture(params=["uniform", "perf"])
def stream(probe: Any, request: pytest.FixtureRequest) -> Any:
    """A ring buffer, then a perf buffer, into which `call` sends."""
    probe.bss.target = 2 if request.param == "perf" else 0
    return getattr(probe.maps, request.param)


def later(seconds: float, function: Callable[..., object], *arguments: Any) -> threading.Timer:
    timer = threading.Timer(seconds, function, arguments)
    timer.start()
    return timer


def after(begun: threading.Event, seconds: float, function: Callable[..., object], *arguments: Any) -> threading.Thread:
    """Start a thread that calls a function, some seconds after what it waits for has begun."""

    def run() -> None:
        begun.wait()
        time.sleep(seconds)
        function(*arguments)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def call_beside_python() -> None:
    """Call without Python's lock: other threads run while the program holds this one in the kernel."""
    ctypes.CDLL(None).syscall(GETPPID)


def test_a_wait_ends_with_the_first_record_or_the_time(stream: Any) -> None:
    started = time.monotonic()
    assert list(stream.poll(0.15)) == []
    assert 0.15 <= time.monotonic() - started < 5
    timer = later(0.15, call)
    assert len(list(stream.poll(30))) == 1
    assert time.monotonic() - started < 20
    timer.join()


def test_iteration_waits_for_each_next_record(stream: Any) -> None:
    timers = [later(0.05 * turn, call) for turn in (1, 2, 3)]
    found: list[int] = []
    for event in stream:
        found.append(event.number)
        if len(found) == 3:
            break
    assert found == [1, 2, 3]
    for timer in timers:
        timer.join()


@pytest.mark.skipif(bool(LOOP_REFUSAL), reason=LOOP_REFUSAL)
def test_a_record_that_is_being_written_neither_ends_a_wait_nor_spins(probe: Any) -> None:
    ring = probe.maps.uniform
    probe.bss.target = 3
    probe.bss.rounds = 1 << 23
    call_beside_python()  # how long a record is held differs between machines
    started = time.monotonic()
    call_beside_python()
    held = time.monotonic() - started
    assert [event.number for event in ring.poll(0)] == [1, 2]
    probe.bss.rounds = min((1 << 23) - 1, round((1 << 23) * 0.6 / held)) if held > 0.6 else (1 << 23)
    calls = max(1, round(0.6 / held))

    def hold() -> None:
        for _ in range(calls):
            call_beside_python()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        time.sleep(0.02)
        started, cpu = time.monotonic(), time.thread_time()
        limit = min(0.05, held / 4)
        found = [event.number for event in ring.poll(limit)]
        assert found or time.monotonic() - started >= limit
        assert time.thread_time() - cpu < 0.9 * (time.monotonic() - started) + 0.01
    finally:
        thread.join()
    found += [event.number for event in ring.poll(0)]
    assert found == list(range(3, 3 + calls))
    assert ring.unread_bytes == 0


def test_ctrl_c_ends_a_wait_and_loses_nothing(stream: Any) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        _interrupt_a_wait(stream)
    finally:
        signal.signal(signal.SIGINT, before)
    call(3)
    assert [event.number for event in stream.poll(1)] == [1, 2, 3]


def _interrupt_a_wait(stream: Any) -> None:
    begun = threading.Event()
    thread = after(begun, 0.2, os.kill, os.getpid(), signal.SIGINT)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        begun.set()
        for _ in stream:
            pass
    assert time.monotonic() - started < 10
    thread.join()


def test_ctrl_c_that_another_thread_takes_ends_a_wait_soon(stream: Any) -> None:
    """The system call is not interrupted then, as it is not by a signal that comes just before it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    begun = threading.Event()
    thread = after(begun, 0.3, signal.raise_signal, signal.SIGINT)  # lets the signal in
    started = time.monotonic()
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with pytest.raises(KeyboardInterrupt):
            begun.set()
            list(stream.poll(60))
    finally:
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 30
    call(3)
    assert [event.number for event in stream.poll(1)] == [1, 2, 3]


def test_async_iteration_waits_beside_other_tasks(stream: Any) -> None:
    async def main() -> list[int]:
        found: list[int] = []
        ticks = 0

        async def send() -> None:
            nonlocal ticks
            for _ in range(5):
                await asyncio.sleep(0.02)
                ticks += 1
                call(2)

        task = asyncio.create_task(send())
        async for event in stream:
            found.append(event.number)
            if len(found) == 10:
                break
        await task
        assert ticks == 5
        return found

    assert asyncio.run(main()) == list(range(1, 11))


@pytest.mark.any_kernel
def test_a_cancelled_task_leaves_every_record(stream: Any) -> None:
    async def main() -> None:
        found: list[int] = []

        async def read() -> None:
            async for event in stream:
                found.append(event.number)
                await asyncio.sleep(0)

        for turn in range(1, 4):
            task = asyncio.create_task(read())
            await asyncio.sleep(0.02)
            call(3)
            while len(found) < 2 * turn:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read()
        assert found == list(range(1, 10))
        assert not stream._waiter._futures

    asyncio.run(main())
    call()
    assert [event.number for event in stream.poll(1)] == [10]


def test_closing_wakes_a_task_that_waits(feed: ModuleType) -> None:
    async def main(probe: Any) -> None:
        async def read() -> None:
            async for _ in probe.maps.uniform:
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        probe.close()
        with pytest.raises(MapError, match=r"^poll map 'uniform': the probe is closed\.$"):
            await asyncio.wait_for(task, 10)

    with open_feed(feed) as probe:
        asyncio.run(main(probe))


def test_closing_wakes_a_thread_that_waits(feed: ModuleType) -> None:
    errors: list[str] = []
    before = open_files()

    def read(stream: Any) -> None:
        try:
            for _ in stream:
                pass
        except MapError as error:
            errors.append(str(error))

    with open_feed(feed) as probe:
        threads = [threading.Thread(target=read, args=(item,)) for item in (probe.maps.uniform, probe.maps.perf)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(errors) == ["poll map 'perf': the probe is closed.", "poll map 'uniform': the probe is closed."]
    assert open_files() == before


@pytest.mark.any_kernel
def test_a_second_thread_is_refused_while_one_waits(probe: Any) -> None:
    ring = probe.maps.uniform
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(event.number for event in ring.poll(30)))
    thread.start()
    while ring._reader is None:
        time.sleep(0.001)
    for read in (lambda: list(ring.poll(0)), ring.read_batch):
        with pytest.raises(MapError) as caught:
            read()
        assert str(caught.value).endswith(
            " map 'uniform': it is being read; a ring buffer has one consumer at a time. "
            "Read it in one thread, and not inside a block of borrow()."
        )
    call()
    thread.join()
    assert found == [1]
    call()
    assert [event.number for event in ring.poll(0)] == [2]


@pytest.mark.any_kernel
def test_threads_that_take_turns_get_each_record_once(probe: Any) -> None:
    ring = probe.maps.uniform
    found: list[list[int]] = [[], []]
    done = threading.Event()

    def read(mine: list[int]) -> None:
        while not done.is_set() or ring._pending:
            with suppress(MapError):  # the other one is reading
                mine.extend(event.number for event in ring.poll(0))

    threads = [threading.Thread(target=read, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for _ in range(200):
        while ring.unread_bytes > RING // 2:  # so that nothing is dropped, however slow the readers are
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        burst(probe, 31)
        time.sleep(0.0005)
    time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    last = [event.number for event in ring.poll(0)]
    assert probe.bss.dropped == 0
    assert sorted(found[0] + found[1] + last) == list(range(1, 200 * 31 + 1))


@pytest.mark.any_kernel
def test_a_forked_child_is_refused_and_takes_nothing(stream: Any) -> None:
    call(2)
    assert list(stream.poll(0.01))  # the epoll is there before the fork
    call(2)
    said = said_in_a_child(lambda: list(stream.poll(0)))
    noun = "perf buffer" if stream.name == "perf" else "ring buffer"
    assert said == (
        f"poll map {stream.name!r}: this {noun} belongs to process {os.getpid()}, and a forked child must not read it. "
        "Open the probe in the child."
    )
    assert [event.number for event in stream.poll(0)] == [3, 4]


def test_a_forked_child_that_closes_disturbs_no_wait(stream: Any, probe: Any) -> None:
    assert list(stream.poll(0.01)) == []
    child = os.fork()
    if not child:
        try:
            stream._close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    cpu = time.thread_time()
    assert list(stream.poll(0.3)) == []
    assert time.thread_time() - cpu < 0.15
    call()
    assert [event.number for event in stream.poll(1)] == [1]


def test_several_streams_in_one_wait(probe: Any) -> None:
    maps = probe.maps

    def send(targets: tuple[int, ...]) -> None:
        for target in targets:
            probe.bss.target = target
            call()

    timer = later(0.1, send, (0, 1, 2))
    found: dict[str, int] = {}
    deadline = time.monotonic() + 20
    while len(found) < 3 and time.monotonic() < deadline:
        for stream, _ in poll_all([maps.uniform, maps.mixed, maps.perf], timeout=1):
            found[stream.name] = found.get(stream.name, 0) + 1
    timer.join()
    assert found == {"uniform": 1, "mixed": 1, "perf": 1}

    files = open_files()
    with Poller(maps.uniform, maps.mixed, maps.perf) as poller:
        assert list(poller.poll(0.05)) == []
        send((2, 0, 0, 1))
        with pytest.raises(ZeroDivisionError):
            for stream, record in poller.poll(1):
                assert (stream, record.number) == (maps.uniform, 5)
                1 / 0  # noqa: B018
        assert [stream.name for stream, _ in poller.poll(1)] == ["uniform", "mixed", "perf"]
        seen: list[str] = []
        send((1, 1))
        assert poller.consume(lambda stream, _record: seen.append(stream.name)) == 2
        assert seen == ["mixed", "mixed"]

        async def take(count: int) -> list[str]:
            names: list[str] = []
            later(0.05, send, (0, 2))
            async for stream, _ in poller:
                names.append(stream.name)
                if len(names) == count:
                    break
            return names

        assert sorted(asyncio.run(take(2))) == ["perf", "uniform"]
    assert open_files() == files


def test_what_is_no_stream_is_refused_by_name(feed: ModuleType) -> None:
    files = open_files()
    with open_feed(feed) as probe:
        maps = probe.maps
        call()
        for given, words in (
            ((maps.scratch,), "map 'scratch': PerCpuArrayMap is no stream to read."),
            ((maps.uniform, 7), "7: int is no stream to read."),
            (([maps.uniform],), f"{[maps.uniform]!r}: list is no stream to read."),
            *([((maps.inbox,), "map 'inbox': UserRingBuffer is no stream to read.")] if not USER_RING_REFUSAL else []),
        ):
            with pytest.raises(TypeError) as caught:
                Poller(*given)
            assert str(caught.value) == f"poll {words} Give ring buffers and perf buffers."
            with pytest.raises(TypeError) as caught:
                next(poll_all(given, 0))
            assert str(caught.value) == f"poll {words} Give ring buffers and perf buffers."
        for name in ("uniform", "scratch"):
            with pytest.raises(TypeError) as caught:
                next(poll_all(getattr(maps, name), 0))
            assert str(caught.value) == (
                f"poll map {name!r}: poll_all() takes a sequence of streams. Give a list, or call its poll()."
            )
        with pytest.raises(MapError) as twice:
            Poller(maps.uniform, maps.mixed, maps.uniform)
        assert str(twice.value) == "poll map 'uniform': it is given twice. Give each stream once."
        assert twice.value.name == "uniform"
        assert [record.number for record in maps.uniform.poll(0)] == [1]
    del caught, twice
    assert open_files() == files
