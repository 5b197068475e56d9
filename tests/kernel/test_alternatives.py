# SPDX-License-Identifier: Apache-2.0
"""Streams with records of two types, read from the kernel's own rings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import CompileError, ProbeConfig, RecordError
from tests.support.programs import GETPPID
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

COUNT = 13

# Call 3, 6, 9 … writes the second type, every other call the first; call 13 one that has neither size nor kind.
SOURCE = """
enum call_kind {
	CALL_KIND_FIRST = 1,
	CALL_KIND_THIRD = 3,
};

/* By size. */
struct small_call {
	__u32 number;
	__u32 pid;
};

struct large_call {
	__u64 number;
	__u64 square;
	char comm[16];
};

/* By kind. */
struct first_call {
	__u32 number;
	enum call_kind kind KIND(CALL_KIND_FIRST);
};

struct third_call {
	__s32 minus;
	enum call_kind kind KIND(CALL_KIND_THIRD);
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} by_size SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} by_kind SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

const volatile __u32 wanted_pid;
const volatile __u32 wanted_call;
__u32 calls;

SEC("raw_tp/sys_enter")
int count_calls(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct small_call small = {};
	struct large_call large = {};
	struct first_call *first;
	struct third_call *third;

	if (pid != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	calls++;
	if (calls % 3) {
		small.number = calls;
		small.pid = pid;
		bpf_ringbuf_output(&by_size, &small, sizeof(small), 0);
		bpf_perf_event_output(ctx, &samples, 0xffffffffULL, &small, sizeof(small));
		first = bpf_ringbuf_reserve(&by_kind, sizeof(*first), 0);
		if (!first)
			return 0;
		first->number = calls;
		first->kind = calls == 13 ? 7 : CALL_KIND_FIRST;
		bpf_ringbuf_submit(first, 0);
		return 0;
	}
	large.number = calls;
	large.square = calls * calls;
	bpf_get_current_comm(large.comm, sizeof(large.comm));
	bpf_ringbuf_output(&by_size, &large, sizeof(large), 0);
	bpf_perf_event_output(ctx, &samples, 0xffffffffULL, &large, sizeof(large));
	third = bpf_ringbuf_reserve(&by_kind, sizeof(*third), 0);
	if (!third)
		return 0;
	third->minus = -(__s32)calls;
	third->kind = CALL_KIND_THIRD;
	bpf_ringbuf_submit(third, 0);
	return 0;
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("kinds")
    return make_module(directory, write_source(directory, "kinds", SOURCE))


@pytest.fixture
def probe(made: ModuleType) -> Iterator[Any]:
    """The probe after `COUNT` calls."""
    opened = made.Kinds.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as loaded:
        loaded.maps.samples.poll(0)  # a perf buffer takes samples once somebody reads it
        list(loaded.maps.samples.poll(0))
        loaded.attach()
        for _ in range(COUNT):
            os.getppid()
        yield loaded


def expected(made: ModuleType, number: int) -> Any:
    if number % 3:
        return made.SmallCall(number=number, pid=os.getpid())
    comm = Path("/proc/self/comm").read_text().rstrip("\n")
    return made.LargeCall(number=number, square=number**2, comm=comm)


@pytest.mark.parametrize("stream", ["by_size", "samples"])
def test_records_are_told_apart_by_size(stream: str, made: ModuleType, probe: Any) -> None:
    found = list(getattr(probe.maps, stream).poll(1.0))
    key = [record.number for record in found]
    assert sorted(key) == list(range(1, COUNT + 1))
    assert sorted(found, key=lambda record: record.number) == [expected(made, n) for n in range(1, COUNT + 1)]


def test_records_are_told_apart_by_kind_and_an_unknown_one_is_told(made: ModuleType, probe: Any) -> None:
    kinds = made.CallKind
    found: list[Any] = []
    with pytest.raises(RecordError) as caught:
        found.extend(probe.maps.by_kind.poll(1.0))
    # What extend had taken before the error is lost to it; the ring is not read twice.
    assert str(caught.value) == (
        "read ring buffer 'by_kind': a record tagged <CallKind.UNKNOWN_7: 7> is none of FirstCall | ThirdCall. "
        "Mark its type with KIND(…)."
    )
    for _ in range(2):
        os.getppid()
    assert list(probe.maps.by_kind.poll(1.0)) == [
        made.FirstCall(number=14, kind=kinds.FIRST),
        made.ThirdCall(minus=-15, kind=kinds.THIRD),
    ]


@pytest.mark.any_kernel
def test_each_kind_is_matched_by_its_class(made: ModuleType, probe: Any) -> None:
    told = []
    with pytest.raises(RecordError):
        for event in probe.maps.by_kind.poll(1.0):
            match event:
                case made.FirstCall(number=number):
                    told.append(number)
                case made.ThirdCall(minus=minus):
                    told.append(minus)
    assert told == [1, 2, -3, 4, 5, -6, 7, 8, -9, 10, 11, -12]


@pytest.mark.any_kernel
def test_records_of_several_types_have_no_common_array(probe: Any) -> None:
    pytest.importorskip("numpy")
    with pytest.raises(RecordError) as caught:
        probe.maps.by_size.read_array()
    assert str(caught.value) == (
        "read ring buffer 'by_size' as an array: its records are of several types, SmallCall | LargeCall. Use poll()."
    )
    assert len(list(probe.maps.by_size.poll(0))) == COUNT


@pytest.mark.any_kernel
def test_what_is_compiled_on_the_host_has_the_same_types(made: ModuleType, tmp_path: Path) -> None:
    config = ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=str(tmp_path))
    with made.Kinds.open_and_load(config) as probe:
        assert probe.origin == "compiled"
    by_size = next(item for item in made._OBJECT.maps if item.name == "by_size")
    fields = by_size.value.fields
    by_size.value.fields = fields[:1]
    try:
        with pytest.raises(CompileError, match="the value of map 'by_size' is one of 2 types, the module says 1"):
            made.Kinds.open(ProbeConfig(enable_co_re=False, runtime_compiler_output_dir=str(tmp_path / "new")))
    finally:
        by_size.value.fields = fields
