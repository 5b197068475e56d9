# SPDX-License-Identifier: Apache-2.0
"""Streams by bcc, under the distribution's Python: streams_bcc.py ring|perf RECORDS.

The records are those of stream_feed.bpf.c.
"""

import os
import sys
import time
from importlib import import_module
from typing import Any

TEXT = """
struct feed_event {
	u64 number; u32 pid; u32 cpu; u64 sent_bytes; u64 received_bytes; u64 cookie; u32 state; int result; char name[16];
};
BPF_ARRAY(numbers, u64, 1);
%(buffer)s
RAW_TRACEPOINT_PROBE(sys_enter)
{
	struct feed_event event = {};
	u32 zero = 0;
	u64 *number;

	if (bpf_get_current_pid_tgid() >> 32 != %(pid)d || ctx->args[1] != %(call)d)
		return 0;
	number = numbers.lookup(&zero);
	if (!number)
		return 0;
	for (int i = 0; i < 1000; i++) {
		event.number = (*number)++;
		event.pid = %(pid)d;
		event.cpu = bpf_get_smp_processor_id();
		event.sent_bytes = event.number * 3;
		event.received_bytes = event.number * 5;
		event.cookie = ~event.number;
		event.state = 7;
		event.result = -1;
		__builtin_memcpy(event.name, "stream_feed", 12);
		%(output)s;
	}
	return 0;
}
"""
BUFFERS = {
    "ring": ("BPF_RINGBUF_OUTPUT(events, 4096);", "events.ringbuf_output(&event, sizeof(event), 1)"),
    "perf": ("BPF_PERF_OUTPUT(events);", "events.perf_submit(ctx, &event, sizeof(event))"),
}
GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]


def main() -> None:
    kind, records = sys.argv[1], int(sys.argv[2])
    bcc = import_module("bcc")
    buffer, output = BUFFERS[kind]
    probe = bcc.BPF(text=TEXT % {"buffer": buffer, "output": output, "pid": os.getpid(), "call": GETPPID})
    cpus = os.sched_getaffinity(0)
    events: Any = probe["events"]
    count = total = 0
    typed = True

    def on_event(_context: Any, data: Any, _size: int) -> int:
        nonlocal count, total
        count += 1
        if typed:
            event = events.event(data)
            fields = (
                event.number, event.pid, event.cpu, event.sent_bytes, event.received_bytes, event.cookie, event.state,
                event.result, event.name,
            )  # fmt: skip
            total += fields[0]
        return 0

    if kind == "ring":
        events.open_ring_buffer(on_event)
        drain = probe.ring_buffer_consume
    else:
        events.open_perf_buffer(on_event, page_cnt=8192)
        drain = probe.perf_buffer_consume
    print("ready", flush=True)
    for line in sys.stdin:
        typed = line.strip() == "typed"
        os.sched_setaffinity(0, {min(cpus)})  # a perf buffer is that of the CPU that fills it
        for _ in range(records // 1000):
            os.getppid()
        os.sched_setaffinity(0, cpus)
        count = 0
        started = time.perf_counter()
        drain()
        print(f"{time.perf_counter() - started:.9f} {count}", flush=True)


main()
