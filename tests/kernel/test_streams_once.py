# SPDX-License-Identifier: Apache-2.0
"""Every record is delivered exactly once and in order, whatever is interleaved and wherever it is interrupted."""

from __future__ import annotations

import gc
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from struct import unpack_from
from types import FrameType, ModuleType
from typing import Any

import pytest

from ebpf_runtime.streams import stream as streams
from tests.support.kernel import open_files
from tests.support.streams import WAYS, burst, on_one_cpu, open_feed, read_by, typed

pytestmark = pytest.mark.kernel

TARGETS = {"uniform": 0, "mixed": 1, "typed": 1, "perf": 2}


class Interrupted(Exception):
    """What the signal handler raises, as Ctrl-C does."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    read_by(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture(autouse=True)
def signals_are_as_before() -> Iterator[None]:
    """Fail where an interrupt left signals blocked, or another handler in place."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT)
    yield
    after = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_SETMASK, before[0])
    assert after == before


@contextmanager
def stream_of(probe: Any, name: str) -> Iterator[Any]:
    if name != "typed":
        yield getattr(probe.maps, name)
        return
    with typed(probe) as ring:
        yield ring


def number(record: Any) -> int:
    if isinstance(record, tuple):
        return int(record[0])
    return int(unpack_from("<Q", record)[0]) if isinstance(record, bytes) else int(record.number)


def some(chance: random.Random, records: Iterator[Any], found: list[Any]) -> None:
    """Take some of the records, then stop, or raise."""
    for _ in range(chance.choice((1, 5, 1000))):
        for record in records:
            found.append(record)
            break


def turn(chance: random.Random, stream: Any, found: list[Any]) -> None:
    """Read in one of all ways."""
    forms = ["poll", "poll", "stop", "consume", "raise", "batch"]
    one_type = stream._value is not None and not hasattr(stream._value, "unpack_sized")
    if one_type:
        forms += ["tuples", "array"]
    if hasattr(stream, "borrow"):
        forms += ["borrow batch", "borrow and raise"]
        if one_type:
            forms += ["borrow"]
    match chance.choice(forms):
        case "poll":
            found.extend(stream.poll(0))
        case "stop":
            some(chance, stream.poll(0), found)
        case "tuples":
            some(chance, stream.poll_tuples(0), found)
        case "consume":
            stream.consume(found.append)
        case "raise":
            limit = len(found) + chance.randrange(1, 50)

            def note(record: Any) -> None:
                found.append(record)
                if len(found) == limit:
                    raise ZeroDivisionError

            with suppress(ZeroDivisionError):
                stream.consume(note)
        case "batch":
            found.extend(stream.read_batch())
        case "array":
            found.extend((item,) for item in stream.read_array()["number"].tolist())
        case "borrow":
            with stream.borrow() as array:
                found.extend((item,) for item in array["number"].tolist())
        case "borrow batch":
            with stream.borrow_batch() as batch:
                found.extend(batch)
        case "borrow and raise":
            with pytest.raises(ZeroDivisionError), stream.borrow_batch():
                1 / 0  # noqa: B018


@pytest.mark.parametrize("name", TARGETS)
# One seed says whether the kernel's streams are as we read them.
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.any_kernel) for seed in range(1, 6))])
def test_random_interleavings(
    feed: ModuleType, way: str, name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    chance = random.Random(seed)
    found: list[Any] = []
    suspended: list[Iterator[Any]] = []
    with open_feed(feed) as probe, on_one_cpu(), stream_of(probe, name) as stream:
        if name == "perf":
            stream.open(16)
        probe.bss.target = TARGETS[name]
        for _ in range(150):
            monkeypatch.setattr(streams, "_PIECE", chance.choice((8, 1000, streams._PIECE)))
            burst(probe, chance.choice((0, 1, 7, 64, 300)))
            if chance.random() < 0.2:
                suspended.append(stream.poll(0))
                some(chance, suspended[-1], found)
            if suspended and chance.random() < 0.2:
                found.extend(suspended.pop(chance.randrange(len(suspended))))
            turn(chance, stream, found)
        found.extend(stream.poll(0))
        assert all(next(rest, None) is None for rest in suspended)
        total, dropped = probe.bss.calls, probe.bss.dropped
    numbers = [number(record) for record in found]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == total - dropped
    if not dropped:
        assert numbers == list(range(1, total + 1))


@pytest.mark.any_kernel
@pytest.mark.parametrize(
    ("form", "name"),
    # The mixed records have no type here, so no tuples and no arrays.
    [*product(("poll", "batch"), TARGETS), *product(("tuples", "array"), ("uniform", "perf"))],
)
def test_interrupts_at_any_moment(
    feed: ModuleType, way: str, name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that raises, as that of Ctrl-C: what it interrupts takes nothing away."""
    pytest.importorskip("numpy")
    monkeypatch.setattr(streams, "_PIECE", 1000)
    found: list[Any] = []
    whole: list[Any] = []
    interrupts = 0
    armed = False
    usual_s = 1e-4  # what an undisturbed reading takes

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts, armed
        if armed:
            armed = False
            interrupts += 1
            raise Interrupted

    gc.collect()
    files = open_files()
    gc.disable()  # what is raised in a finalizer of something else goes nowhere
    before = signal.signal(signal.SIGALRM, interrupt)
    chance = random.Random(form)
    with open_feed(feed) as probe, on_one_cpu(), stream_of(probe, name) as stream:
        if name == "perf":
            stream.open(64)
        probe.bss.target = TARGETS[name]
        try:
            for count in range(400):
                burst(probe, 100)
                try:
                    armed = count % 8 > 0  # or nothing would ever be read where the machine is slow
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 1.5 * usual_s))
                    started = time.perf_counter()
                    # Neither extend() nor a display runs handlers between taking an item and keeping it.
                    if form == "poll":
                        found.extend(stream.poll(0))
                    elif form == "tuples":
                        found.extend(stream.poll_tuples(0))
                    elif form == "batch":
                        whole += [stream.read_batch()]
                    else:
                        whole += [stream.read_array()]
                    if not armed:
                        usual_s = time.perf_counter() - started
                    armed = False
                except Interrupted:
                    pass
                finally:
                    armed = False
                    signal.setitimer(signal.ITIMER_REAL, 0)
                for item in whole:
                    found.extend(zip(item["number"].tolist()) if form == "array" else item)
                whole.clear()
        finally:
            armed = False
            signal.signal(signal.SIGALRM, before)
            gc.enable()
        found.extend(stream.poll(0))
        total, dropped = probe.bss.calls, probe.bss.dropped
    assert dropped == 0
    assert interrupts > 20
    assert [number(record) for record in found] == list(range(1, total + 1))
    gc.collect()
    assert open_files() == files  # a buffer that cannot be unmapped keeps one
