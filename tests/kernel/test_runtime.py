# SPDX-License-Identifier: Apache-2.0
"""Maps, variables, streams and errors of the runtime on the running kernel, by a probe made for it."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import (
    AttachError,
    CoReError,
    MapError,
    MapFullError,
    ProbeConfig,
    RecordError,
    VariableError,
    VerifierError,
    possible_cpus,
)
from ebpf_runtime.streams import ring_buffer
from tests.support.kernel import open_files
from tests.support.programs import GETPPID
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel


SOURCE = """
/* A key of two words. */
struct pair_key {
	__u32 left;
	__s32 right;
};

/* A value of several widths. */
struct pair_value {
	__u64 count;
	__s64 balance;
	char name[12];
	bool seen;
	__u8 flags[3];
};

/* One call of getppid. */
struct call_event {
	__u64 number;
	__u32 pid;
	__u32 cpu;
};

/* Pid whose calls are reported. */
const volatile __u32 wanted_pid = 0;
const volatile __u64 wanted_call = 0;
__u64 calls = 0;
__u64 dropped = 0;
__s32 step = 1;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct pair_key);
	__type(value, struct pair_value);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __s64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u16);
	__type(value, __u32);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} call_events SEC(".maps");
RINGBUF_RECORD(call_events, struct call_event);

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct call_event *event;

	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	calls += step;
	event = bpf_ringbuf_reserve(&call_events, sizeof(*event), 0);
	if (!event) {
		dropped++;
		return 0;
	}
	event->number = calls;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->cpu = bpf_get_smp_processor_id();
	if (calls % 5 == 0)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
	return 0;
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("calls")
    return make_module(directory, write_source(directory, "calls", SOURCE))


@pytest.fixture(params=["own mapping", "libbpf's consumer"])
def probe(made: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The probe, its ring read in both ways: our own, and that of CPUs that may reorder memory."""
    monkeypatch.setattr(ring_buffer, "_ORDERED", request.param == "own mapping")
    opened = made.Calls.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as loaded:
        yield loaded


def call(times: int) -> None:
    for _ in range(times):
        os.getppid()


def kept(numbers: range) -> list[int]:
    """Return the numbers that the probe submits; every fifth it discards."""
    return [number for number in numbers if number % 5]


def test_hash_map_is_a_mapping(made: ModuleType, probe: Any) -> None:
    pairs = probe.maps.pairs
    key = made.PairKey(left=7, right=-9)
    value = made.PairValue(count=1 << 63, balance=-5, name="Grüße", seen=True, flags=b"\x01\x02\x03")

    assert key not in pairs
    assert pairs.get(key) is None
    with pytest.raises(KeyError):
        pairs[key]
    pairs[key] = value
    assert pairs[key] == value
    assert pairs[key].name == "Grüße"
    assert key in pairs
    assert len(pairs) == 1
    assert dict(pairs) == {key: value}
    with pytest.raises(MapError, match="update map 'pairs': EEXIST"):
        pairs.update_elem(key, value, exist=False)
    other = key.replace(left=8)
    with pytest.raises(MapError, match="update map 'pairs': ENOENT"):
        pairs.update_elem(other, value, exist=True)
    pairs.update({other: value.replace(count=2)})
    assert pairs.pop(other).count == 2
    assert pairs.delete(key) is True
    assert pairs.delete(key) is False
    with pytest.raises(KeyError):
        del pairs[key]
    assert len(pairs) == 0


def test_a_full_map_says_so(made: ModuleType, probe: Any) -> None:
    value = made.PairValue.zeroed()
    for left in range(8):
        probe.maps.pairs[made.PairKey(left=left, right=0)] = value
    with pytest.raises(MapFullError) as caught:
        probe.maps.pairs[made.PairKey(left=8, right=0)] = value
    assert str(caught.value) == (
        "update map 'pairs': E2BIG, it is full; it holds at most 8 entries. Delete some, or make it larger before load."
    )


def test_iteration_yields_each_key_once_while_entries_go(made: ModuleType, probe: Any) -> None:
    pairs = probe.maps.pairs
    keys = {made.PairKey(left=left, right=1) for left in range(8)}
    for key in keys:
        pairs[key] = made.PairValue.zeroed()
    seen = []
    for key in pairs:
        seen.append(key)
        del pairs[key]
    assert sorted(key.left for key in seen) == list(range(8))
    assert len(pairs) == 0


def test_walks_clearing_and_popping(made: ModuleType, probe: Any) -> None:
    pairs = probe.maps.pairs
    keys = [made.PairKey(left=left, right=1) for left in range(4)]
    for key in keys:
        pairs[key] = made.PairValue.zeroed(count=key.left)
    items = pairs.items()
    first, _ = next(iter(items))
    for key in keys:
        if key != first:
            del pairs[key]
    assert [value.count for value in pairs.values()] == [first.left]
    assert list(items) == [(first, made.PairValue.zeroed(count=first.left))]
    assert "no key" not in pairs
    assert pairs.popitem() == (first, made.PairValue.zeroed(count=first.left))
    with pytest.raises(KeyError, match="map 'pairs' is empty"):
        pairs.popitem()
    for key in keys:
        pairs[key] = made.PairValue.zeroed()
    pairs.clear()
    assert len(pairs) == 0


@pytest.mark.any_kernel
def test_values_that_do_not_fit_are_refused(made: ModuleType, probe: Any) -> None:
    with pytest.raises(RecordError, match="-1 does not fit u32"):
        made.PairKey(left=-1, right=0)
    with pytest.raises(RecordError, match="does not fit PairKey"):
        probe.maps.pairs[made.PairValue.zeroed()] = made.PairValue.zeroed()
    with pytest.raises(RecordError, match="does not fit s64"):
        probe.maps.numbers[0] = 1 << 63


def test_array_map_is_a_sequence(probe: Any) -> None:
    numbers = probe.maps.numbers
    numbers[2] = -42
    assert list(numbers) == [0, 0, -42, 0]
    assert len(numbers) == 4
    with pytest.raises(IndexError, match="map 'numbers' has entries 0 to 3, not 4"):
        numbers[4]


def test_per_cpu_values_come_one_for_each_possible_cpu(probe: Any) -> None:
    values = tuple(range(11, 11 + possible_cpus()))
    probe.maps.per_cpu[3] = values
    assert probe.maps.per_cpu[3] == values
    assert dict(probe.maps.per_cpu) == {3: values}
    with pytest.raises(RecordError, match="has not one value for each"):
        probe.maps.per_cpu[3] = (1,) * (possible_cpus() + 1)


def test_variables_are_the_programs_own_memory(probe: Any) -> None:
    probe.attach()
    call(3)
    assert probe.bss.calls == 3
    probe.data.step = 10
    call(1)
    assert probe.bss.calls == 13
    probe.bss.calls = 0
    call(2)
    assert probe.bss.calls == 20
    with pytest.raises(VariableError, match="read-only once loaded"):
        probe.rodata.wanted_pid = 1
    with pytest.raises(RecordError, match="does not fit s32"):
        probe.data.step = 1 << 31


def test_poll_delivers_each_record_once_and_in_order(probe: Any) -> None:
    probe.attach()
    call(1009)
    events = list(probe.maps.call_events.poll(1))
    assert [event.number for event in events] == kept(range(1, 1010))
    assert {event.pid for event in events} == {os.getpid()}
    assert list(probe.maps.call_events.poll(0)) == []


def test_the_stream_wraps_around(probe: Any) -> None:
    probe.attach()
    numbers: list[int] = []
    for _ in range(30):
        call(501)
        numbers += [event.number for event in probe.maps.call_events.poll(1)]
    assert numbers == kept(range(1, 30 * 501 + 1))
    assert probe.bss.dropped == 0


def test_records_outlive_the_ring_and_the_probe(made: ModuleType) -> None:
    opened = made.Calls.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as probe:
        probe.attach()
        call(3)
        events = list(probe.maps.call_events.poll(1))
        call(4000)
        list(probe.maps.call_events.poll(1))
    assert [event.number for event in events] == [1, 2, 3]


@pytest.mark.any_kernel
def test_an_exception_of_the_user_loses_no_record(probe: Any) -> None:
    probe.attach()
    call(9)
    with pytest.raises(ZeroDivisionError):
        for event in probe.maps.call_events.poll(1):
            if event.number == 3:
                1 / 0  # noqa: B018
    call(1)
    assert [event.number for event in probe.maps.call_events.poll(0)] == [4, 6, 7, 8, 9]


@pytest.mark.any_kernel
def test_iterators_share_the_stream(probe: Any) -> None:
    """What one iterator took no other sees, whoever is suspended where."""
    probe.attach()
    call(4)
    suspended = probe.maps.call_events.poll(1)
    numbers = [next(suspended).number]
    numbers += [event.number for event in probe.maps.call_events.poll(0)]
    assert numbers == [1, 2, 3, 4]
    assert list(suspended) == []
    call(4)
    nested: list[int] = []
    for event in probe.maps.call_events.poll(1):
        nested.append(event.number)
        nested += [inner.number for inner in probe.maps.call_events.poll(0)]
    assert nested == [6, 7, 8]


def test_a_record_of_another_size_is_dropped_and_told(tmp_path: Path) -> None:
    code = (
        SOURCE.replace("bpf_ringbuf_discard(event, 0)", "bpf_ringbuf_discard(event, 0), short_record()")
        .replace(
            'SEC("raw_tp',
            "static __always_inline void short_record(void)\n{\n\t__u8 byte = 1;\n\n"
            '\tbpf_ringbuf_output(&call_events, &byte, 1, 0);\n}\n\nSEC("raw_tp',
        )
        .replace(
            "if (calls % 5 == 0)\n\t\tbpf_ringbuf_discard(event, 0), short_record();",
            "if (calls % 5 == 0) {\n\t\tbpf_ringbuf_discard(event, 0);\n\t\tshort_record();\n\t}",
        )
    )
    opened = make_module(tmp_path, write_source(tmp_path, "uneven", code)).Uneven.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as probe:
        probe.attach()
        call(7)
        numbers = []
        with pytest.raises(RecordError, match="a record of 1 bytes is no CallEvent of 16"):
            for event in probe.maps.call_events.poll(1):
                numbers.append(event.number)
        assert numbers == [1, 2, 3, 4]
        pytest.importorskip("numpy")
        assert probe.maps.call_events.read_array()["number"].tolist() == [6, 7]
        call(3)
        with pytest.raises(RecordError, match="a record of 1 bytes is no CallEvent of 16"):
            probe.maps.call_events.read_array()
        call(1)
        assert probe.maps.call_events.read_array()["number"].tolist() == [8, 9, 11]


def test_poll_waits_for_the_first_record_and_no_longer(probe: Any) -> None:
    probe.attach()
    started = time.monotonic()
    assert list(probe.maps.call_events.poll(0.2)) == []
    assert 0.2 <= time.monotonic() - started < 5
    timer = threading.Timer(0.2, call, (1,))
    timer.start()
    events = list(probe.maps.call_events.poll(30))
    timer.join()
    assert len(events) == 1


def test_an_interrupt_ends_a_wait_at_once(probe: Any) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in probe.maps.call_events:
            pass
    timer.join()
    assert time.monotonic() - started < 10


def test_arrays_own_their_records_and_borrowed_ones_do_not(probe: Any) -> None:
    numpy = pytest.importorskip("numpy")
    probe.attach()
    call(4)
    array = probe.maps.call_events.read_array()
    assert array["number"].tolist() == [1, 2, 3, 4]
    assert array.base.flags.owndata
    assert array.flags.writeable
    call(4)  # the fifth is discarded: the others are not evenly spaced
    with probe.maps.call_events.borrow() as borrowed:
        assert borrowed["number"].tolist() == [6, 7, 8]
    call(1)
    with pytest.raises(ZeroDivisionError), probe.maps.call_events.borrow() as borrowed:
        assert not borrowed.flags.owndata
        1 / 0  # noqa: B018
    with probe.maps.call_events.borrow() as borrowed:
        assert borrowed["number"].tolist() == [9]
        assert borrowed.dtype.itemsize == 16
    assert probe.maps.call_events.read_array().size == 0
    assert numpy.all(array["pid"] == os.getpid())


@pytest.mark.any_kernel
def test_a_closed_probe_refuses_politely(made: ModuleType) -> None:
    probe = made.Calls.open_and_load()
    maps = probe.maps
    events, numbers = maps.call_events, maps.numbers
    probe.close()
    with pytest.raises(MapError, match="poll map 'call_events': the probe is closed"):
        list(events.poll(0))
    with pytest.raises(MapError, match="look up in map 'numbers': the probe is closed"):
        numbers[0]
    with pytest.raises(MapError) as caught:
        maps.pairs  # noqa: B018
    assert str(caught.value) == "use map 'pairs': the probe is closed."


@pytest.mark.any_kernel
def test_a_forgotten_probe_is_freed_where_warnings_are_errors(
    made: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_files()
    raised: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: raised.append(str(what.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        made.Calls.open_and_load()
        gc.collect()
    assert raised == ["probe 'calls' was never closed"]
    assert open_files() == before


@pytest.mark.parametrize("co_re", [True, False])
def test_the_verifiers_refusal_names_program_file_line_and_instruction(tmp_path: Path, co_re: bool) -> None:
    code = """
/* Reads through a scalar. */
SEC("raw_tp/sys_enter")
int bad_access(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 address = ctx->args[1];

	return *(volatile int *)address;
}
"""
    source = write_source(tmp_path, "refused", code)
    line = source.read_text().splitlines().index("\treturn *(volatile int *)address;") + 1
    module = make_module(tmp_path, source)
    config = ProbeConfig(
        enable_co_re=co_re, allow_runtime_compiled_fallback=False, runtime_compiler_output_dir=tmp_path / "build"
    )
    with pytest.raises((VerifierError, CoReError)) as caught:
        module.Refused.open_and_load(config)
    error = caught.value.__cause__ if co_re else caught.value
    assert isinstance(error, VerifierError)
    assert error.program == "bad_access"
    assert error.source_file.endswith("refused.bpf.c")
    assert error.source_line == line
    assert error.instruction > 0
    assert "invalid mem access" in error.reason
    assert str(error).startswith(f"load program 'bad_access' at {error.source_file}:{line}, instruction ")
    assert "\n" not in str(error)
    assert "processed" in error.log


def test_a_missing_hook_is_an_attach_error_and_detaches_the_others(tmp_path: Path) -> None:
    code = """
SEC("raw_tp/sched_switch")
int present(void *ctx)
{
	return 0;
}

SEC("raw_tp/no_such_tracepoint")
int absent(void *ctx)
{
	return 0;
}
"""
    module = make_module(tmp_path, write_source(tmp_path, "absent_hook", code))
    with module.AbsentHook.open_and_load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.attach()
        assert str(caught.value).startswith("attach program 'absent' to raw_tp/no_such_tracepoint: ENOENT")
        assert all(link is None for _, link in probe.links)


def test_an_iterator_gives_typed_rows(tmp_path: Path) -> None:
    code = """
struct task_row {
	__u32 tgid;
	__u32 pid;
};

/* One row for each task. */
SEC("iter/task")
int dump_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_row row = {};

	if (!task)
		return 0;
	row.tgid = task->tgid;
	row.pid = task->pid;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
ITER_RECORD(dump_tasks, struct task_row);
"""
    types = """
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));
"""
    module = make_module(tmp_path, write_source(tmp_path, "tasks", types + code))
    with module.Tasks.open_and_load() as probe:
        dump = probe.programs.dump_tasks
        with pytest.raises(AttachError, match="read iterator 'dump_tasks': it is not attached"):
            list(dump.rows())
        probe.attach()
        processes = {row.tgid for row in dump.rows()}
        assert {os.getpid(), os.getppid()} <= processes
        rows = {(row.tgid, row.pid) for row in dump.rows()}
        threads = {int(path.name) for path in Path("/proc/self/task").iterdir()}
        assert threads == {pid for tgid, pid in rows if tgid == os.getpid()}
        pytest.importorskip("numpy")
        assert os.getpid() in dump.read_array()["tgid"].tolist()
    with pytest.raises(AttachError, match="read iterator 'dump_tasks': it is not attached"):
        list(dump.rows())


@pytest.mark.any_kernel
def test_what_stands_for_kernel_objects_cannot_be_copied(probe: Any) -> None:
    link = probe.programs.on_call.attach()
    for handle in (probe, probe.maps, probe.maps.pairs, probe.programs.on_call, link, probe.rodata):
        with pytest.raises(TypeError, match=f"copy or pickle {type(handle).__name__}: it stands for kernel objects"):
            copy.copy(handle)
        with pytest.raises(TypeError, match="copy or pickle"):
            pickle.dumps(handle)


def test_closing_the_probe_detaches_links_made_by_hand(made: ModuleType) -> None:
    with made.Calls.open_and_load() as probe:
        link = probe.programs.on_call.attach()
        assert link.fd >= 0
    assert link.fd == -1


@pytest.mark.any_kernel
@pytest.mark.parametrize("threads", [0, 1])
def test_interrupts_are_neither_lost_nor_leave_anything(made: ModuleType, threads: int) -> None:
    """Interrupts at many moments, also where another thread takes them: each is seen, nothing stays."""

    class Interrupted(Exception):
        pass

    raised = seen = 0

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal raised
        raised += 1
        raise Interrupted

    made.Calls.open_and_load().close()
    done = threading.Event()
    for _ in range(threads):
        threading.Thread(target=done.wait, daemon=True).start()
    files = open_files()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # an interrupt may come before `with` has the probe
            for step in range(120):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0005 + step * 0.0005)
                    with made.Calls.open_and_load() as probe:
                        probe.attach()
                        while True:
                            os.getppid()
                except Interrupted:
                    seen += 1
                gc.collect()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        done.set()
    assert raised == seen == 120
    assert open_files() == files
