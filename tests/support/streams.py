# SPDX-License-Identifier: Apache-2.0
"""A probe that fills every kind of stream, and the ways to read them: by plain loads, the compiled helper, libbpf."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ebpf_runtime import MapError, Record, RingBuffer, nested, one_of, u8, u32, u64
from ebpf_runtime.streams import perf_buffer, ring_buffer
from tests.support.kernel import helper_refusal, map_refusal
from tests.support.walker import compiled_walker

__all__ = [
    "BY_NUMBER",
    "GETPPID",
    "LOOP_REFUSAL",
    "MIXED_SIZES",
    "RING",
    "SOURCE",
    "USER_RING_REFUSAL",
    "WAYS",
    "Eight",
    "Seventeen",
    "SixtyFour",
    "TwentyFour",
    "burst",
    "call",
    "on_one_cpu",
    "open_feed",
    "read_by",
    "said_in_a_child",
    "typed",
]

GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
RING = 1 << 16
# Bytes of the records of `mixed`: those of number n are MIXED_SIZES[n % 4].
MIXED_SIZES = (8, 24, 64, 17)
WAYS = ("plain loads", "plain loads and helper", "helper", "libbpf")

LOOP_REFUSAL = helper_refusal("bpf_loop", 181, "5.17")
USER_RING_REFUSAL = map_refusal("USER_RINGBUF", 31, "6.1")


# Without bpf_loop() one record a call, and none is held.
SOURCE = f"""
#define HAS_LOOP {int(not LOOP_REFUSAL)}
#define HAS_USER_RING {int(not USER_RING_REFUSAL)}
"""
SOURCE += """
#define THIS_CPU 0xffffffffULL /* BPF_F_CURRENT_CPU */

/* One call. */
struct feed_event {
	__u64 number;
	__u32 pid;
	__u32 cpu;
	char name[8];
	__u64 twice;
};

/* One record from Python. */
struct order {
	__u64 amount;
	__u32 from;
	__u32 zero;
};

/* Pid whose calls are reported. */
const volatile __u32 wanted_pid = 0;
const volatile __u64 wanted_call = 0;
/* Where records go: 0 uniform, 1 mixed, 2 perf, 3 uniform and held, 4 drain orders. */
__u32 target = 0;
/* Records of each call. */
__u32 burst = 1;
/* Each so many records are discarded; 0: none. */
__u32 discard_every = 0;
/* What a held record waits for, in rounds of a loop. */
__u32 rounds = 0;
__u64 calls = 0;
__u64 dropped = 0;
__u64 orders = 0;
__u64 amount = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} uniform SEC(".maps");
RINGBUF_RECORD(uniform, struct feed_event);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} mixed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");
PERF_RECORD(perf, struct feed_event);

#if HAS_USER_RING
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} inbox SEC(".maps");
RINGBUF_RECORD(inbox, struct order);
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct feed_event[2]);
} scratch SEC(".maps");

#if HAS_LOOP
static long spin(__u32 index, void *context)
{
	return 0;
}
#endif

static void fill(struct feed_event *event, __u64 number)
{
	event->number = number;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->cpu = bpf_get_smp_processor_id();
	__builtin_memcpy(event->name, "feed\\0\\0\\0", 8);
	event->twice = 2 * number;
}

static void send_uniform(__u64 number)
{
	struct feed_event *event = bpf_ringbuf_reserve(&uniform, sizeof(*event), 0);

	if (!event) {
		dropped++;
		return;
	}
	fill(event, number);
#if HAS_LOOP
	if (target == 3)
		bpf_loop(rounds, spin, 0, 0);
#endif
	if (discard_every && number % discard_every == 0)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
}

static void send_mixed(__u64 number)
{
	__u32 zero = 0;
	struct feed_event *event = bpf_map_lookup_elem(&scratch, &zero);
	long result;

	if (!event)
		return;
	fill(event, number);
	switch (number % 4) {
	case 0:
		result = bpf_ringbuf_output(&mixed, event, 8, 0);
		break;
	case 1:
		result = bpf_ringbuf_output(&mixed, event, 24, 0);
		break;
	case 2:
		result = bpf_ringbuf_output(&mixed, event, 64, 0);
		break;
	default:
		result = bpf_ringbuf_output(&mixed, event, 17, 0);
	}
	if (result)
		dropped++;
}

#if HAS_USER_RING
static long take(struct bpf_dynptr *dynptr, void *context)
{
	struct order order;

	if (bpf_dynptr_read(&order, sizeof(order), dynptr, 0, 0))
		return 0;
	orders++;
	amount += order.amount;
	return 0;
}
#endif

struct work {
	struct bpf_raw_tracepoint_args *ctx;
};

static long send(__u32 index, struct work *work)
{
	__u64 number = ++calls;
	struct feed_event event;

	if (target == 1) {
		send_mixed(number);
	} else if (target == 2) {
		fill(&event, number);
		if (bpf_perf_event_output(work->ctx, &perf, THIS_CPU, &event, sizeof(event)))
			dropped++;
	} else {
		send_uniform(number);
	}
	return 0;
}

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct work work = { .ctx = ctx };

	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
#if HAS_USER_RING
	if (target == 4) {
		bpf_user_ringbuf_drain(&inbox, take, 0, 0);
		return 0;
	}
#endif
#if HAS_LOOP
	bpf_loop(burst, send, &work, 0);
#else
	send(0, &work);
#endif
	return 0;
}
"""


class Eight(Record, c_name="struct eight", size=8):
    __slots__ = ()

    number: int = u64(0)


class Seventeen(Record, c_name="struct seventeen", size=17):
    __slots__ = ()

    number: int = u64(0)
    pid: int = u32(8)
    first: int = u8(16)


class TwentyFour(Record, c_name="struct twenty_four", size=24):
    __slots__ = ()

    number: int = u64(0)
    pid: int = u32(8)


class SixtyFour(Record, c_name="struct sixty_four", size=64):
    __slots__ = ()

    number: int = u64(0)
    twice: int = u64(24)


BY_NUMBER = (Eight, TwentyFour, SixtyFour, Seventeen)  # as MIXED_SIZES


@contextmanager
def typed(probe: Any, *types: type[Record]) -> Iterator[RingBuffer[Any]]:
    """Open `mixed` as a stream of records of several types, by default all that it has, and have it filled."""
    probe.bss.target = 1
    fields = one_of(*(nested(0, record) for record in types or BY_NUMBER))
    ring: RingBuffer[Any] = RingBuffer("typed", "RINGBUF", probe.maps.mixed.fd, (0, 0, RING), None, fields)
    try:
        yield ring
    finally:
        ring._close()


def read_by(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the streams that are opened from now on read in one of the ways."""
    helper = compiled_walker() if "helper" in way else None
    for module in (ring_buffer, perf_buffer):
        monkeypatch.setattr(module, "_ORDERED", way.startswith("plain"))
        monkeypatch.setattr(module, "walker", lambda: helper)


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Stay on one CPU: a perf buffer is in order on each CPU alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def open_feed(module: Any, pid: int | None = None, *, ring_bytes: int = RING) -> Iterator[Any]:
    """Load and attach the probe for the calls of one process, by default this one."""
    opened = module.Feed.open()
    for ring in ("uniform", "mixed"):
        opened.resize(ring, ring_bytes)
    opened.rodata.wanted_pid = pid or os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as loaded:
        loaded.attach()
        yield loaded


def call(times: int = 1) -> None:
    for _ in range(times):
        os.getppid()


def burst(probe: Any, count: int) -> None:
    """Send *count* records, by one call where the kernel can."""
    if LOOP_REFUSAL:
        call(count)
        return
    probe.data.burst = count
    call()
    probe.data.burst = 1


def said_in_a_child(function: Callable[[], object]) -> str:
    """Return the text of the MapError that *function* raises in a forked child."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            function()
        except MapError as error:
            os.write(send, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(send)
    with os.fdopen(receive) as text:
        return text.read()
