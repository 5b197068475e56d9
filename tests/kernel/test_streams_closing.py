# SPDX-License-Identifier: Apache-2.0
"""Closing a probe while its streams are in use: by threads, in blocks, by tasks, by pollers."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context
from itertools import product
from types import FrameType, ModuleType
from typing import Any, TypeVarTuple

import pytest

from ebpf_runtime import CloseError, MapError, Poller
from tests.support.kernel import open_files
from tests.support.streams import WAYS, burst, open_feed, read_by

pytestmark = pytest.mark.kernel

Ts = TypeVarTuple("Ts")


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start a thread; what it returns, or raises as a MapError, is in the list."""
    said: list[object] = []

    def run() -> None:
        try:
            said.append(function())
        except MapError as error:
            said.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, said


def stopped_in(name: str, function: Callable[[], object], meanwhile: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls *function*, and lets another thread call *meanwhile* where it first calls *name*.

    It stops there for a second at most, so that the other one may wait for it.
    """

    def trace(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_name == name:
            sys.settrace(None)
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join(1)

    def run() -> object:
        sys.settrace(trace)
        try:
            return function()
        finally:
            sys.settrace(None)

    return run


READS: dict[str, Callable[[Any], object]] = {
    "poll": lambda stream: [event.number for event in stream.poll(0)],
    "batch": lambda stream: [event.number for event in stream.read_batch()],
    "unread_bytes": lambda stream: stream.unread_bytes,
}
CASES = [
    *product(("poll", "batch"), ("uniform", "perf"), WAYS),
    *product(("unread_bytes",), ("uniform",), WAYS),  # perf buffers do not tell
]


@pytest.mark.parametrize(("form", "name", "way"), CASES)
def test_a_thread_that_reads_keeps_the_memory(
    feed: ModuleType, form: str, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed just before the memory is looked at: nothing has waited, so nothing tells of the reader but itself."""
    read_by(way, monkeypatch)
    gc.collect()
    files = open_files()
    with open_feed(feed) as probe:
        stream = getattr(probe.maps, name)
        probe.bss.target = 2 if name == "perf" else 0
        if name == "perf":
            stream.open(8)
        burst(probe, 3)
        assert stream._waiter is None
        # Where libbpf reads, release() comes before it is asked.
        place = "release" if way == "libbpf" and form != "unread_bytes" else "written"
        thread, said = in_thread(stopped_in(place, lambda: READS[form](stream), probe.close))
        thread.join(30)
        assert not thread.is_alive()
    # What is drained is delivered, unless poll() looks for more.
    expected: tuple[object, ...] = ([1, 2, 3], f"poll map {name!r}: the probe is closed.")
    assert said[0] in {"poll": expected, "batch": expected[:1], "unread_bytes": (3 * 40,)}[form]
    with pytest.raises(MapError) as caught:
        list(stream.poll(0))
    assert str(caught.value) == f"poll map {name!r}: the probe is closed."
    gc.collect()
    assert open_files() == files


def test_closing_does_not_wait_for_a_block_of_another_thread(feed: ModuleType) -> None:
    """That thread may wait for the one that closes."""
    pytest.importorskip("numpy")
    gc.collect()
    files = open_files()
    inside, leave = threading.Event(), threading.Event()
    with open_feed(feed) as probe:
        ring = probe.maps.uniform
        assert list(ring.poll(0.001)) == []  # it has a waiter
        burst(probe, 3)

        def hold() -> list[int]:
            with ring.borrow() as array:
                inside.set()
                leave.wait(30)
                numbers: list[int] = array["number"].tolist()
                return numbers

        thread, said = in_thread(hold)
        assert inside.wait(30)
        rescue = threading.Timer(5, leave.set)
        rescue.start()
        started = time.monotonic()
        probe.close()
        assert time.monotonic() - started < 4
        with pytest.raises(MapError) as caught:
            ring.read_batch()
        assert str(caught.value) == "read map 'uniform': the probe is closed."
        leave.set()
        thread.join()
        rescue.cancel()
        rescue.join()
    assert said == [[1, 2, 3]]
    gc.collect()
    assert open_files() == files


class Deaf(asyncio.SelectorEventLoop):
    """A loop that fails in its own way when it is called from outside."""

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        raise LookupError("nobody hears")


def leave_a_task_waiting(stream: Any, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    async def read() -> None:
        async for _ in stream:
            pass

    task = loop.create_task(read())
    while stream._waiter is None or not stream._waiter._futures:
        loop.run_until_complete(asyncio.sleep(0))
    return task


# Its task never ends, which asyncio tells when it is forgotten.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_that_waits_in_a_closed_loop_keeps_nothing(feed: ModuleType) -> None:
    gc.collect()
    files = open_files()
    with open_feed(feed) as probe:
        loop = asyncio.new_event_loop()
        task = leave_a_task_waiting(probe.maps.uniform, loop)
        loop.close()
        probe.close()
    assert open_files() == files
    assert not task.done()
    del task
    gc.collect()


def test_whatever_fails_all_the_rest_is_freed(feed: ModuleType) -> None:
    gc.collect()
    files = open_files()
    loop = Deaf()
    with open_feed(feed) as probe:
        probe.maps.perf.open(8)
        task = leave_a_task_waiting(probe.maps.uniform, loop)
        with pytest.raises(CloseError) as caught:
            probe.close()
        assert str(caught.value) == "close probe 'feed': free what it holds: nobody hears."
        assert [type(failure) for failure in caught.value.failures] == [LookupError]
        probe.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert open_files() == files


async def said_by(iterable: Any) -> str:
    """Return the text of the MapError that ends an iteration."""
    with pytest.raises(MapError) as caught:
        async for _ in iterable:
            pass
    return str(caught.value)


def test_no_poller_of_a_closed_stream(feed: ModuleType) -> None:
    gc.collect()
    with open_feed(feed) as probe, open_feed(feed) as other:
        opened, ring, perf = other.maps.uniform, probe.maps.uniform, probe.maps.perf
        probe.close()
        files = open_files()
        for stream, action in ((perf, "open map 'perf'"), (ring, "poll map 'uniform'")):
            with pytest.raises(MapError) as caught:
                Poller(opened, stream)
            assert str(caught.value) == f"{action}: the probe is closed."
            assert asyncio.run(said_by(stream)) == f"{action}: the probe is closed."
            del caught  # with the poller, which pytest fails for where it cannot be forgotten
            gc.collect()
            assert open_files() == files


@pytest.mark.parametrize("name", ["uniform", "perf"])
def test_closing_a_stream_ends_iteration_that_waits_for_it(feed: ModuleType, name: str) -> None:
    """A task that waits for one stream alone, and one that waits for it among others."""
    closed = "poll map {!r}: the probe is closed."

    async def main(probe: Any, poller: Poller, several: Poller) -> list[str]:
        tasks = [asyncio.create_task(said_by(item)) for item in (poller, several)]
        await asyncio.sleep(0.05)
        probe.close()
        return await asyncio.wait_for(asyncio.gather(*tasks), 10)

    gc.collect()
    files = open_files()
    with open_feed(feed) as probe, open_feed(feed) as other:
        with (
            Poller(getattr(probe.maps, name)) as poller,
            Poller(other.maps.mixed, getattr(probe.maps, name)) as several,
        ):
            assert asyncio.run(main(probe, poller, several)) == [closed.format(name)] * 2
        assert not other.maps.mixed._watchers
    assert open_files() == files


@pytest.mark.parametrize("name", ["uniform", "perf"])
def test_closing_a_stream_ends_a_thread_that_waits_for_it(feed: ModuleType, name: str) -> None:
    gc.collect()
    files = open_files()
    with open_feed(feed) as probe, Poller(getattr(probe.maps, name)) as poller:
        thread, said = in_thread(lambda: list(poller.poll(None)))
        time.sleep(0.05)
        probe.close()
        thread.join(10)
        assert said == [f"poll map {name!r}: the probe is closed."]
    assert open_files() == files


def test_a_poller_that_is_closed_says_so(feed: ModuleType) -> None:
    """Before a wait, and during one of a thread or a task."""
    closed = "poll maps 'uniform', 'perf': the poller is closed."

    async def main(poller: Poller) -> str:
        task = asyncio.create_task(said_by(poller))
        await asyncio.sleep(0.05)
        poller.close()
        return await asyncio.wait_for(task, 10)

    with open_feed(feed) as probe:
        streams = probe.maps.uniform, probe.maps.perf
        probe.maps.perf.open(8)
        gc.collect()
        files = open_files()
        poller = Poller(*streams)
        thread, said = in_thread(lambda: list(poller.poll(60)))
        time.sleep(0.05)
        started = time.monotonic()
        poller.close()
        thread.join()
        assert time.monotonic() - started < 10
        assert said == [closed]
        for read in (lambda: list(poller.poll(0)), lambda: next(iter(poller)), lambda: poller.consume(print)):
            with pytest.raises(MapError) as caught:
                read()
            assert str(caught.value) == closed
        assert asyncio.run(main(Poller(*streams))) == closed
        assert open_files() == files


def test_a_child_that_closes_a_poller_disturbs_no_wait(feed: ModuleType) -> None:
    with open_feed(feed) as probe, Poller(probe.maps.uniform) as poller:
        child = os.fork()
        if not child:
            try:
                poller.close()
                probe.maps.uniform._close()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        cpu = time.thread_time()
        assert list(poller.poll(0.3)) == []
        assert time.thread_time() - cpu < 0.15
        burst(probe, 1)
        assert [(stream.name, event.number) for stream, event in poller.poll(1)] == [("uniform", 1)]
