# SPDX-License-Identifier: Apache-2.0
"""Maps, variables, streams and errors of the runtime on the running kernel, by a probe made for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import (
    AttachError,
    MapError,
    MapFullError,
    RecordError,
    VariableError,
    VerifierError,
    possible_cpus,
    ring_buffer,
)
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
GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("calls")
    return make_module(directory, write_source(directory, "calls", SOURCE))


@pytest.fixture
def probe(made: ModuleType) -> Iterator[Any]:
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
        "update map 'pairs': E2BIG, argument list too long; it holds at most 8 entries. "
        "Delete some, or make it larger before load."
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


def test_an_exception_of_the_user_loses_no_record(probe: Any) -> None:
    probe.attach()
    call(9)
    with pytest.raises(ZeroDivisionError):
        for event in probe.maps.call_events.poll(1):
            if event.number == 3:
                1 / 0  # noqa: B018
    call(1)
    assert [event.number for event in probe.maps.call_events.poll(0)] == [4, 6, 7, 8, 9]


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
    assert array.flags.owndata
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


def test_the_compiled_consumer_reads_the_same(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of CPUs that may reorder memory, which is libbpf's own consumer."""
    monkeypatch.setattr(ring_buffer, "_ORDERED", False)
    opened = made.Calls.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as probe:
        probe.attach()
        call(1009)
        events = list(probe.maps.call_events.poll(1))
        assert [event.number for event in events] == kept(range(1, 1010))
        assert list(probe.maps.call_events.poll(0)) == []


def test_a_closed_probe_refuses_politely(made: ModuleType) -> None:
    probe = made.Calls.open_and_load()
    maps = probe.maps
    probe.close()
    with pytest.raises(MapError, match="poll map 'call_events': the probe is closed"):
        list(maps.call_events.poll(0))
    with pytest.raises(MapError, match="look up in map 'numbers': the probe is closed"):
        maps.numbers[0]


def test_the_verifiers_refusal_names_program_file_line_and_instruction(tmp_path: Path) -> None:
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
    with pytest.raises(VerifierError) as caught:
        module.Refused.open_and_load()
    error = caught.value
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
