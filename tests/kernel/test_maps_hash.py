# SPDX-License-Identifier: Apache-2.0
"""Hash maps on the running kernel: in bulk, per CPU, while they change, from several threads, without batches."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ebpf_runtime.maps
from ebpf_runtime import MapError, MapFullError, Record, RecordError, arrays, bitfield, nested, possible_cpus
from ebpf_runtime.features import has_program_type
from ebpf_runtime.maps import walk
from ebpf_runtime.maps.assembled import Assembled, exit_, move
from tests.support.kernel import open_files, release
from tests.support.maps import SOURCE
from tests.support.sources import make_module, write_source

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.kernel

ENOTSUPP = 524  # the kernel's own, which errno has not
CPUS = range(possible_cpus())
dumps = pytest.mark.skipif(has_program_type(31) is False, reason="the kernel has no syscall programs (before 5.14)")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("kinds")
    return make_module(directory, write_source(directory, "kinds", SOURCE))


@pytest.fixture
def maps(made: ModuleType) -> Iterator[Any]:
    with made.Kinds.open_and_load() as probe:
        yield probe.maps


class Refusing:
    """libbpf, of which some functions answer with an error as a kernel would that lacks their command."""

    def __init__(self, library: Any, refusals: dict[str, int]) -> None:
        self._library = library
        self._refusals = refusals
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name not in self._refusals:
            return getattr(self._library, name)

        def refuse(*_arguments: object) -> int:
            self.asked.append(name)
            return -self._refusals[name]

        return refuse

    def __getitem__(self, name: str) -> Any:
        return self._library[name]


BATCHES = ("bpf_map_lookup_batch", "bpf_map_lookup_and_delete_batch", "bpf_map_update_batch")
IN_ONE_STEP = "bpf_map_lookup_and_delete_elem"


# A guest's kernel refuses by itself what it cannot do.
REFUSED = ("one by one", "in two steps", "by an old kernel")


@pytest.fixture(params=["in batches", *(pytest.param(name, marks=pytest.mark.any_kernel) for name in REFUSED)])
def way(request: pytest.FixtureRequest) -> Callable[[Any], Refusing]:
    """Make a map do with what older kernels can."""
    refusals: dict[str, dict[str, int]] = {
        "in batches": {},
        "one by one": dict.fromkeys(BATCHES, ENOTSUPP),
        "in two steps": dict.fromkeys((*BATCHES, IN_ONE_STEP), ENOTSUPP),
        "by an old kernel": dict.fromkeys((*BATCHES, IN_ONE_STEP), errno.EINVAL),
    }

    def limit(entries: Any) -> Refusing:
        limited = entries._lib = Refusing(entries._lib, refusals[request.param])
        return limited

    return limit


def test_all_is_read_in_every_way(maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.small)
    expected = {number: number * 3 for number in range(9973)}
    maps.small.update(expected)
    assert len(maps.small) == 9973
    assert dict(maps.small.items()) == expected
    assert sorted(maps.small) == list(expected)
    assert sorted(maps.small.values()) == list(expected.values())
    keys, values = maps.small.columns()
    assert (keys.format, values.format) == ("I", "Q")
    assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == expected
    key_array, value_array = maps.small.to_numpy()
    assert dict(zip(key_array.tolist(), value_array.tolist(), strict=True)) == expected
    assert maps.small == expected


def test_records_are_read_in_every_way(made: ModuleType, maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.wide)
    expected = {
        made.WideKey(number=number, zero=0): made.WideValue(count=number, balance=-number, ranks=(1, number))
        for number in range(5003)
    }
    maps.wide.update(expected.items())
    assert dict(maps.wide.items()) == expected
    keys, values = maps.wide.to_numpy()
    assert sorted(keys["number"].tolist()) == list(range(5003))
    assert (values["count"] == keys["number"]).all()
    assert (values["balance"] == -keys["number"].astype("i8")).all()
    assert (values["ranks"][:, 1] == keys["number"]).all()
    plain_keys, plain_values = maps.wide.columns()
    assert (len(plain_keys), len(plain_values)) == (5003 * 16, 5003 * 20)


def test_drain_takes_every_entry_out(maps: Any, way: Callable[[Any], Refusing]) -> None:
    asked = way(maps.small).asked
    expected = {number: number * 7 for number in range(4999)}
    maps.small.update(expected)
    asked.clear()
    assert dict(maps.small.drain()) == expected
    assert len(maps.small) == 0
    assert list(maps.small.drain()) == []
    # A refused command is asked for once a walk and no more.
    assert asked.count("bpf_map_lookup_and_delete_batch") <= 2
    assert asked.count(IN_ONE_STEP) <= 1


@pytest.mark.any_kernel
def test_what_an_interrupted_drain_took_out_comes_next(maps: Any) -> None:
    expected = {number: number for number in range(100)}
    maps.small.update(expected)
    found = dict(itertools.islice(maps.small.drain(), 3))
    assert len(maps.small) == 0
    maps.small[1000] = 1
    with pytest.raises(ZeroDivisionError):
        for key, value in maps.small.drain():
            found[key] = value
            if len(found) == 50:
                1 / 0  # noqa: B018
    found |= dict(maps.small.drain())
    assert found == {**expected, 1000: 1}


@pytest.mark.any_kernel
def test_a_signal_anywhere_in_a_drain_loses_nothing(maps: Any) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    expected = {number: number for number in range(20000)}
    interrupted = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay_us in range(200, 4200, 100):
            maps.small.update(expected)
            found: list[tuple[int, int]] = []
            try:
                signal.setitimer(signal.ITIMER_REAL, delay_us / 1e6)
                found.extend(maps.small.drain())  # keeps what it was given before the interrupt
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            found.extend(maps.small.drain())
            assert (len(found), dict(found)) == (20000, expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted >= 10


@pytest.mark.any_kernel
def test_several_threads_drain_one_map(maps: Any) -> None:
    expected = {number: number for number in range(20000)}
    maps.small.update(expected)
    next(maps.small.drain())
    found: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: found.extend(list(maps.small.drain()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(dict(found)) == 19999
    assert dict(found).items() <= expected.items()
    assert list(maps.small.drain()) == []


def test_pop_is_one_step_where_the_kernel_can(maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.small)
    maps.small[5] = 50
    assert maps.small.pop(5) == 50
    assert maps.small.pop(5, None) is None
    with pytest.raises(KeyError):
        maps.small.pop(5)
    maps.small.update({1: 10, 2: 20})
    assert sorted((maps.small.popitem(), maps.small.popitem())) == [(1, 10), (2, 20)]
    with pytest.raises(KeyError, match="map 'small' is empty"):
        maps.small.popitem()


def test_clear_in_every_way(maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.small)
    maps.small.update((number, number) for number in range(5000))
    maps.small.clear()
    assert len(maps.small) == 0
    assert dict(maps.small) == {}


def test_updates_say_where_the_map_is_full(maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.small)
    with pytest.raises(MapFullError) as caught:
        maps.small.update((number, 1) for number in range(20001))
    assert str(caught.value) == (
        "update map 'small': E2BIG, it is full; it holds at most 20000 entries. "
        "Delete some, or make it larger before load."
    )
    assert len(maps.small) == 20000


@pytest.mark.parametrize("all_before", [False, True], ids=["one goes", "all that were read go"])
def test_a_walk_that_is_sent_back_again_and_again_reads_each_entry_once(maps: Any, all_before: bool) -> None:
    """Without batches, deleting the entry that the walk stands on sends it to the beginning again."""
    maps.small._lib = Refusing(maps.small._lib, dict.fromkeys(BATCHES, ENOTSUPP))
    maps.small.update((number, number) for number in range(50))
    library = maps.small._lib
    following = library.bpf_map_get_next_key
    sent_back = 0
    asked: list[bytes] = []

    def next_key(fd: int, key: Any, found: Any) -> int:
        nonlocal sent_back
        current = bytes(key)[:4] if key is not None else b""
        if current and current not in asked:
            asked.append(current)
            # As if another process deleted the entry just before the kernel is asked for the one behind it.
            if sent_back < 3 and len(asked) % 12 == 0:
                sent_back += 1
                for gone in asked if all_before else [current]:
                    library.bpf_map_delete_elem(fd, gone)
        return int(following(fd, key, found))

    library.bpf_map_get_next_key = next_key
    keys = list(maps.small)
    assert sent_back == 3
    assert len(keys) == len(set(keys))
    left = set(maps.small)
    assert len(left) == (14 if all_before else 47)
    assert left <= set(keys)


def test_entries_that_stay_are_read_once_while_others_come_and_go(maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.small)
    stable = {number: number + 1 for number in range(5000)}
    maps.small.update(stable)
    done = threading.Event()

    def churn() -> None:
        for number in itertools.cycle(range(10000, 12000)):
            maps.small[number] = 0
            maps.small.delete(number - 500)
            if done.is_set():
                return

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(3):
            read = [item for item in maps.small.items() if item[0] < 10000]
            assert len(read) == len(stable)
            assert dict(read) == stable
    finally:
        done.set()
        writer.join()


@pytest.mark.any_kernel
def test_several_threads_read_one_map(maps: Any) -> None:
    expected = {number: number * 11 for number in range(3000)}
    maps.small.update(expected)
    wrong: list[object] = []

    def read(start: int) -> None:
        for number in (*range(start, 3000), *range(start)):
            if maps.small[number] != number * 11:
                wrong.append(number)
        if dict(maps.small.items()) != expected:
            wrong.append("items")
        keys, _ = maps.small.to_numpy(fast=True)
        if len(keys) != 3000:
            wrong.append("fast")

    threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 3000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda entries: len(entries.to_numpy()[0]), id="to_numpy"),
        pytest.param(lambda entries: sum(1 for _ in entries.items()), id="items"),
        pytest.param(lambda entries: sum(1 for _ in entries.drain()), id="drain"),
    ],
)
def test_other_threads_run_while_the_kernel_reads(maps: Any, read: Callable[[Any], int]) -> None:
    """The interpreter takes no turns away here: another thread runs where its lock is given up, or never."""
    maps.small.update((number, number) for number in range(20000))
    started, done = threading.Event(), threading.Event()
    turns = 0

    def count() -> None:
        nonlocal turns
        started.set()
        while not done.is_set():
            turns += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    other = threading.Thread(target=count)
    try:
        sys.setswitchinterval(1000)  # before the thread waits for its turn
        other.start()
        started.wait()
        before = turns
        assert read(maps.small) == 20000
        after = turns
    finally:
        sys.setswitchinterval(interval)
        done.set()
        other.join()
    assert after > before


@dumps
def test_the_fast_dump_reads_the_same(made: ModuleType, maps: Any) -> None:
    maps.wide.update(
        (made.WideKey(number=number, zero=0), made.WideValue(count=number, balance=-1, ranks=(2, 3)))
        for number in range(19997)
    )
    keys, values = maps.wide.to_numpy(fast=True)
    assert maps.wide._dump is not None
    assert sorted(keys["number"].tolist()) == list(range(19997))
    assert (values["count"] == keys["number"]).all()
    assert values["ranks"].tolist() == [[2, 3]] * 19997
    # What was read is the caller's: the next dump leaves it alone.
    maps.wide.clear()
    maps.wide.update(
        (made.WideKey(number=number, zero=0), made.WideValue(count=7, balance=7, ranks=(7, 7)))
        for number in range(10000)
    )
    again, _ = maps.wide.to_numpy(fast=True)
    assert sorted(keys["number"].tolist()) == list(range(19997))
    assert sorted(again["number"].tolist()) == list(range(10000))


@pytest.mark.any_kernel
@dumps
def test_the_fast_dump_is_left_out_where_it_does_not_pay(maps: Any) -> None:
    maps.small.update((number, number) for number in range(100))
    keys, _ = maps.small.to_numpy(fast=True)
    assert sorted(keys.tolist()) == list(range(100))
    assert maps.small._dump is None
    maps.small.update((number, number) for number in range(5000))
    maps.small.to_numpy(fast=True, max_bytes=20000 * 16 - 1)
    assert maps.small._dump is None
    keys, _ = maps.small.to_numpy(fast=True, max_bytes=20000 * 16)
    assert maps.small._dump is not None
    assert sorted(keys.tolist()) == list(range(5000))


def test_counting_needs_no_walk(maps: Any) -> None:
    maps.small.update((number, number) for number in range(7919))
    asked = Refusing(maps.small._lib, {"bpf_map_lookup_batch": ENOTSUPP})
    maps.small._lib = asked
    assert len(maps.small) == 7919
    if release() >= (6, 6):
        assert asked.asked == []
    asked.asked.clear()
    maps.small._counter, maps.small._counted = None, False
    assert len(maps.small) == 7919
    assert asked.asked == ["bpf_map_lookup_batch"]


def test_a_sum_of_less_than_nothing_is_no_number_of_entries(maps: Any) -> None:
    """As the kernel may have it while entries come and go on several CPUs."""
    maps.small[1] = 2
    assert len(maps.small) == 1
    counter = maps.small._counter
    if counter is None:
        pytest.skip("the kernel cannot count entries (before 6.6)")
    program = counter._program
    for returned, expected in ((-1, 0), (7, 7), (30000, 20000)):
        counter._program = Assembled("constant", move(0, returned) + exit_())
        try:
            assert len(maps.small) == expected
            assert [len(column) for column in maps.small.columns()] == [1, 1]
        finally:
            counter._program.close()
            counter._program = program


def test_memory_is_made_ready_where_the_number_of_entries_is_known(maps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    @contextmanager
    def note(parts: Any) -> Iterator[None]:
        asked.append([len(part) for part in parts])
        yield

    monkeypatch.setattr(walk, "made_ready", note)
    maps.small.update((number, number) for number in range(5000))
    maps.small.columns()
    room = 5000 + 4096 if maps.small._counter is not None else 0
    assert asked == [[4 * room, 8 * room] if room else []]


def test_lru_maps_forget_instead_of_being_full(maps: Any) -> None:
    for number in range(1000):
        maps.lru[number] = number
    assert 0 < len(maps.lru) <= 64
    assert all(key == value for key, value in maps.lru.items())
    maps.lru_per_cpu[1] = tuple(CPUS)
    assert maps.lru_per_cpu[1] == tuple(CPUS)


def test_per_cpu_values_all_and_reduced(made: ModuleType, maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.per_cpu)
    expected = {number: tuple(number + 100 * cpu for cpu in CPUS) for number in range(5003)}
    maps.per_cpu.update(expected)
    assert dict(maps.per_cpu.items()) == expected
    assert dict(maps.per_cpu.reduced("sum")) == {number: sum(values) for number, values in expected.items()}
    assert maps.per_cpu.sum(7) == sum(expected[7])
    assert (maps.per_cpu.min(7), maps.per_cpu.max(7)) == (min(expected[7]), max(expected[7]))
    keys, values = maps.per_cpu.to_numpy()
    assert values.shape == (5003, len(CPUS))
    assert {key: tuple(row) for key, row in zip(keys.tolist(), values.tolist(), strict=True)} == expected
    for how, function in (("sum", sum), ("max", max), ("min", min)):
        keys, values = maps.per_cpu.to_numpy(reduce=how)
        assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == {
            number: function(cells) for number, cells in expected.items()
        }
    assert dict(maps.per_cpu.drain()) == expected
    assert len(maps.per_cpu) == 0


def test_per_cpu_sums_have_64_bits(maps: Any) -> None:
    maps.per_cpu[1] = (0xFFFFFFFF,) * len(CPUS)
    assert maps.per_cpu.sum(1) == 0xFFFFFFFF * len(CPUS)
    _, values = maps.per_cpu.to_numpy(reduce="sum")
    assert values.tolist() == [0xFFFFFFFF * len(CPUS)]


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU's value is the sum")
def test_sums_that_64_bits_do_not_hold_are_refused(maps: Any) -> None:
    cells = maps.cells
    cells[1] = (1 << 63, 1 << 63, *CPUS[2:])
    assert cells.sum(1) == (1 << 64) + sum(CPUS[2:])
    with pytest.raises(RecordError) as caught:
        cells.to_numpy(reduce="sum")
    assert str(caught.value) == "sum the values of map 'cells': a sum does not fit uint64. Take the values of all CPUs."
    assert cells.to_numpy(reduce="max")[1] == 1 << 63
    low, high = -(1 << 63), (1 << 63) - 1
    for values in ([low, low], [high, 1]):
        with pytest.raises(RecordError) as caught:
            arrays.reduced(numpy.array([[5, 6], values]), "sum", "signed")
        assert str(caught.value) == (
            "sum the values of map 'signed': a sum does not fit int64. Take the values of all CPUs."
        )
    fits = numpy.array([[low, high], [high, low], [low, 0], [0, high]])
    assert arrays.reduced(fits, "sum", "signed").tolist() == [-1, -1, low, high]


def test_per_cpu_records_are_reduced_by_member(made: ModuleType, maps: Any) -> None:
    maps.wide_per_cpu[3] = tuple(made.WideValue(count=cpu + 1, balance=-cpu, ranks=(cpu, 1)) for cpu in CPUS)
    total = maps.wide_per_cpu.sum(3)
    assert total == made.WideValue(count=sum(cpu + 1 for cpu in CPUS), balance=-sum(CPUS), ranks=(sum(CPUS), len(CPUS)))
    _, values = maps.wide_per_cpu.to_numpy(reduce="sum")
    assert values["count"].tolist() == [total.count]
    assert values["balance"].tolist() == [total.balance]
    assert values["ranks"].tolist() == [list(total.ranks)]
    assert maps.wide_per_cpu.max(3).ranks == (max(CPUS), 1)


def test_records_with_a_union_are_not_reduced(made: ModuleType, maps: Any) -> None:
    value = made.EitherValue.zeroed(count=1, reads=2, last=3)
    maps.either[1] = (value,) * len(CPUS)
    values = made.EitherValues(count=1, of=(value, value))
    maps.eithers[1] = (values,) * len(CPUS)
    assert maps.either[1][0].writes == maps.eithers[1][0].of[1].writes == 2
    for entries in (maps.either, maps.eithers):
        for how in ("sum", "max", "min"):
            for use in (
                lambda entries, how: getattr(entries, how)(1),
                lambda entries, how: list(entries.reduced(how)),
                lambda entries, how: entries.to_numpy(reduce=how),
            ):
                with pytest.raises(RecordError) as caught:
                    use(entries, how)
                assert str(caught.value) == (
                    f"{how} the values of map {entries.name!r}: 'reads' and 'writes' of EitherValue have the same "
                    "bytes. Take the values of all CPUs."
                )
                assert caught.value.name == entries.name


def bits_of(made: ModuleType, cpu: int) -> Any:
    return made.BitsValue(
        low=cpu % 8,
        middle=8000 - cpu,
        high=-300 * (cpu + 1),
        first=31 - cpu % 8,
        across=(1 << 60) + cpu,
        last=-1 - cpu % 4,
    )


@pytest.mark.parametrize("how", ["sum", "max", "min"])
def test_bitfields_are_reduced_without_their_neighbours(made: ModuleType, maps: Any, how: Any) -> None:
    combine: Any = {"sum": sum, "max": max, "min": min}[how]
    each = [bits_of(made, cpu) for cpu in CPUS]
    maps.bits[1] = tuple(each)
    maps.all_bits[0] = tuple(made.BitsValues(count=cpu, of=(each[cpu], each[-1 - cpu])) for cpu in CPUS)
    _, values = maps.bits.to_numpy(reduce=how)
    whole = maps.all_bits.to_numpy(reduce=how)
    assert whole["count"].tolist() == [combine(CPUS)]
    for member in ("low", "middle", "high", "first", "across", "last"):
        expected = combine([getattr(value, member) for value in each])
        assert values[member].tolist() == [expected]
        assert whole["of"][member].tolist() == [[expected, expected]]
    if how != "sum":  # sums of bitfields do not fit into them
        assert next(maps.bits.reduced(how)) == (1, made.BitsValue(**{n: int(values[n][0]) for n in values.dtype.names}))


def test_sums_of_bitfields_that_64_bits_do_not_hold_are_refused(made: ModuleType, maps: Any) -> None:
    maps.bits[1] = tuple(made.BitsValue.zeroed(across=(1 << 64) - 1 - cpu) for cpu in CPUS)
    with pytest.raises(RecordError) as caught:
        maps.bits.to_numpy(reduce="sum")
    assert str(caught.value) == "sum the values of map 'bits': a sum does not fit uint64. Take the values of all CPUs."


def test_bitfields_of_the_other_byte_order_are_reduced(made: ModuleType) -> None:
    class Big(Record, c_name="struct big", size=10, byte_order="big"):
        __slots__ = ()

        low: int = bitfield(0, 3)
        across: int = bitfield(3, 64)
        high: int = bitfield(67, 13, signed=True)

    records = [Big(low=5, across=(1 << 62) + 7, high=-9), Big(low=6, across=3, high=-4000)]
    values = numpy.frombuffer(b"".join(map(bytes, records)), arrays.dtype(Big)).reshape(1, 2)
    assert arrays.reduced(values, "sum", "big", nested(0, Big)).tolist() == [(11, (1 << 62) + 10, -4009)]


def test_other_reductions_are_refused(maps: Any) -> None:
    maps.per_cpu[1] = (1,) * len(CPUS)
    for entries, use in (
        (maps.per_cpu, lambda entries: list(entries.reduced("avg"))),
        (maps.per_cpu, lambda entries: entries.to_numpy(reduce="avg")),
        (maps.cells, lambda entries: list(entries.reduced("avg"))),
        (maps.cells, lambda entries: entries.to_numpy(reduce="avg")),
    ):
        with pytest.raises(RecordError) as caught:
            use(entries)
        assert str(caught.value) == f"reduce map '{entries.name}': 'avg' is none of sum, max and min."


def test_an_empty_map_gives_empty_columns(maps: Any) -> None:
    for entries in (maps.small, maps.wide, maps.per_cpu):
        keys, values = entries.to_numpy()
        assert (len(keys), len(values)) == (0, 0)
        plain_keys, plain_values = entries.columns()
        assert (len(plain_keys), len(plain_values)) == (0, 0)
        assert list(entries.items()) == []
    assert maps.per_cpu.to_numpy(reduce="sum")[1].tolist() == []


def test_each_text_key_that_is_read_finds_its_entry(maps: Any, way: Callable[[Any], Refusing]) -> None:
    way(maps.texts)
    blocks = [
        b"\xff\xfe",
        b"ab\0cd",
        b"ab",
        b"ab\\xff",
        b"ab\xff",
        b"",
        b"\0x",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"12345678",
    ]
    expected = {block: number for number, block in enumerate(blocks)}
    maps.texts.update(expected)
    assert {os.fsencode(key): value for key, value in maps.texts.items()} == expected
    assert {os.fsencode(key): maps.texts[key] for key in maps.texts} == expected
    assert dict(maps.texts) == dict(maps.texts.items())
    assert len(dict(maps.texts)) == len(maps.texts) == len(blocks)
    assert (maps.texts["ab"], maps.texts["ab\0cd"], maps.texts["é"], maps.texts[b"ab"]) == (2, 1, 7, 2)
    for key in list(maps.texts.keys())[:3]:
        assert maps.texts.pop(key) == expected.pop(os.fsencode(key))
        assert key not in maps.texts
    taken = dict(maps.texts.popitem() for _ in expected)
    assert {os.fsencode(key): value for key, value in taken.items()} == expected
    with pytest.raises(KeyError, match="map 'texts' is empty"):
        maps.texts.popitem()


def test_keys_of_several_texts_find_their_entries(maps: Any) -> None:
    maps.text_pairs.update({(b"a\0b", b"\xff"): 1, ("a", "b"): 2})
    assert dict(maps.text_pairs) == {("a\0b", "\udcff"): 1, ("a", "b"): 2}


def test_text_that_no_bytes_can_be_is_no_key(maps: Any) -> None:
    assert "\ud800" not in maps.texts
    with pytest.raises(RecordError) as caught:
        maps.texts["\ud800"]
    assert str(caught.value) == "set field 'text': '\\ud800' does not fit text: it is no text that UTF-8 can say."


@pytest.mark.any_kernel
def test_keys_that_do_not_fit_are_refused(maps: Any) -> None:
    for key, text in ((-1, "-1 does not fit u32"), ("one", "'one' does not fit u32"), (1 << 32, "does not fit u32")):
        with pytest.raises(RecordError, match=text):
            maps.small[key]
        with pytest.raises(RecordError, match=text):
            maps.small.delete(key)
        with pytest.raises(RecordError, match=text):
            maps.small.update({key: 1})
        assert key not in maps.small
    with pytest.raises(RecordError, match="'two' does not fit u64"):
        maps.small[1] = "two"


@pytest.mark.any_kernel
def test_the_collector_runs_again_after_reading(maps: Any) -> None:
    maps.small.update((number, number) for number in range(5000))
    assert gc.isenabled()
    for _ in maps.small.items():
        assert gc.isenabled()
        break
    gc.disable()
    try:
        list(maps.small.items())
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.any_kernel
@pytest.mark.parametrize("used", [False, True], ids=["never used", "counted and dumped before"])
def test_a_closed_map_says_so(made: ModuleType, used: bool, tmp_path: Path) -> None:
    with made.Kinds.open_and_load() as probe:
        small = probe.maps.small
        if used:
            small.update((number, number) for number in range(5000))
            assert len(small) == len(small.to_numpy(fast=True)[0]) == 5000
    uses: list[tuple[str, Callable[[], Any]]] = [
        ("look up in map 'small'", lambda: small[1]),
        ("look up in map 'small'", lambda: small.get(1)),
        ("look up in map 'small'", lambda: 1 in small),
        ("look up in map 'small'", lambda: small.pop(1)),
        ("update map 'small'", lambda: small.update({1: 1})),
        ("delete from map 'small'", lambda: small.delete(1)),
        ("iterate over map 'small'", lambda: list(small.items())),
        ("take out of map 'small'", lambda: list(small.drain())),
        ("take out of map 'small'", small.clear),
        ("iterate over map 'small'", lambda: len(small)),
        ("iterate over map 'small'", small.to_numpy),
        ("iterate over map 'small'", lambda: small.to_numpy(fast=True)),
        ("iterate over map 'small'", small.columns),
        ("ask about map 'small'", lambda: small.id),
        ("ask about map 'small'", lambda: small.flags),
        ("freeze map 'small'", small.freeze),
        (f"pin map 'small' at {tmp_path}/small", lambda: small.pin(tmp_path / "small")),
    ]
    for what, use in uses:
        with pytest.raises(MapError) as caught:
            use()
        assert str(caught.value) == f"{what}: the probe is closed."


@pytest.mark.any_kernel
def test_a_map_that_another_thread_closes_meanwhile_raises_no_raw_error(maps: Any) -> None:
    maps.small.update((number, number) for number in range(5000))
    maps.small.to_numpy(fast=True)
    if (dump := maps.small._dump) is not None:
        dump.close()  # as a thread would that has come so far
        with pytest.raises(MapError) as caught:
            maps.small.to_numpy(fast=True)
        assert str(caught.value) == "iterate over map 'small': EBADF, bad file descriptor."
    len(maps.small)
    if (counter := maps.small._counter) is not None:
        counter.close()
        with pytest.raises(MapError) as caught:
            len(maps.small)
        assert str(caught.value) == "count the entries of map 'small': EBADF, bad file descriptor."


def kinds_of_files() -> list[str]:
    return sorted(entry.partition(" ")[2] for entry in open_files())


@pytest.mark.any_kernel
def test_nothing_leaks_in_many_rounds(made: ModuleType) -> None:
    with made.Kinds.open_and_load() as probe:
        small = probe.maps.small
        small.update((number, number) for number in range(5000))
        small.to_numpy(fast=True)
        before = kinds_of_files()
        for _ in range(1000):
            len(small)
            small[1] = small[2]
            next(iter(small.items()))
        for _ in range(20):
            held = small.to_numpy(fast=True)
            small.to_numpy(fast=True)
            del held
        assert kinds_of_files() == before
        cells = len(small._cells)
        assert cells == 1


@pytest.mark.any_kernel
def test_threads_that_come_first_together_get_one_object(made: ModuleType) -> None:
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        for _ in range(15):
            with made.Kinds.open_and_load() as probe:
                found: list[Any] = []
                barrier = threading.Barrier(8)

                def use(probe: Any = probe, found: list[Any] = found, barrier: threading.Barrier = barrier) -> None:
                    barrier.wait()
                    found.append(probe.maps.small)

                threads = [threading.Thread(target=use) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert len(found) == 8
                assert len(set(map(id, found))) == 1
                assert found[0] is probe.maps.small
            assert found[0].fd == -1
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.any_kernel
def test_a_map_is_one_object_for_a_signal_handler_too(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    map_class = ebpf_runtime.maps.map_class

    def interrupted(kind: str) -> Any:
        monkeypatch.undo()  # a handler that runs while the map is made
        found.append(probe.maps.small)
        return map_class(kind)

    with made.Kinds.open_and_load() as probe:
        monkeypatch.setattr(ebpf_runtime.maps, "map_class", interrupted)
        assert probe.maps.small is found[0]
    monkeypatch.undo()
    with made.Kinds.open_and_load() as probe:

        def closed(kind: str) -> Any:
            probe.close()
            return map_class(kind)

        monkeypatch.setattr(ebpf_runtime.maps, "map_class", closed)
        with pytest.raises(MapError, match=r"^use map 'small': the probe is closed\.$"):
            _ = probe.maps.small


@pytest.mark.any_kernel
def test_threads_that_come_first_together_make_one_counter_and_one_dump(made: ModuleType) -> None:
    before = kinds_of_files()
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        for _ in range(15):
            with made.Kinds.open_and_load() as probe:
                small = probe.maps.small
                small.update((number, number) for number in range(3001))
                read: list[int] = []
                barrier = threading.Barrier(8)

                def use(small: Any = small, read: list[int] = read, barrier: threading.Barrier = barrier) -> None:
                    barrier.wait()
                    read.append(len(small))
                    read.append(len(small.to_numpy(fast=True)[0]))

                threads = [threading.Thread(target=use) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert read == [3001] * 16
    finally:
        sys.setswitchinterval(interval)
    assert kinds_of_files() == before


@pytest.mark.any_kernel
def test_reading_takes_memory_for_a_batch_and_not_for_the_map(maps: Any) -> None:
    def peak(entries: Any) -> int:
        tracemalloc.start()
        try:
            for _ in entries:
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small: list[int] = []
    large: list[int] = []
    for size, peaks in ((9000, small), (20000, large)):
        maps.small.clear()
        maps.small.update((number, number) for number in range(size))
        peaks += [peak(maps.small), peak(maps.small.values()), peak(maps.small.items()), peak(maps.small.drain())]
    for few, many in zip(small, large, strict=True):
        assert many < 1.3 * few
