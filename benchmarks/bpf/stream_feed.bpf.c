/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fills a ring buffer or a perf buffer, a thousand records for each getppid() of one process.
 *
 * Kernel: 5.8.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

#define BURST	  1000
#define NO_WAKEUP 1		/* BPF_RB_NO_WAKEUP */
#define THIS_CPU  0xffffffffULL /* BPF_F_CURRENT_CPU */

/* One record, 64 bytes, nine fields. */
struct feed_event {
	/* Running number, from 0. */
	__u64 number;
	__u32 pid;
	__u32 cpu;
	__u64 sent_bytes;
	__u64 received_bytes;
	__u64 cookie;
	__u32 state;
	__s32 result;
	char name[16];
};

/* The same with three counters more, 88 bytes. */
struct long_event {
	struct feed_event event;
	__u64 counters[3];
};

/* Process whose calls count. */
const volatile __u32 wanted_pid = 0;
/* Number of getppid() on this architecture. */
const volatile __u64 wanted_call = 0;
/* Where records go: 0 nowhere, 1 uniform, 2 mixed, 3 perf. */
__u32 target = 0;
/* Records written so far. */
__u64 written = 0;
/* Records there was no room for. */
__u64 dropped = 0;
/* What decides on sizes. */
__u32 chance = 1;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} uniform SEC(".maps");
RINGBUF_RECORD(uniform, struct feed_event);

/* Records of 64 and of 88 bytes, in random order. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} mixed SEC(".maps");
RINGBUF_RECORD(mixed, struct feed_event);
RINGBUF_RECORD(mixed, struct long_event);

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");
PERF_RECORD(perf, struct feed_event);

static __always_inline void fill(struct feed_event *event)
{
	event->number = written++;
	event->pid = wanted_pid;
	event->cpu = bpf_get_smp_processor_id();
	event->sent_bytes = event->number * 3;
	event->received_bytes = event->number * 5;
	event->cookie = ~event->number;
	event->state = 7;
	event->result = -1;
	__builtin_memcpy(event->name, "stream_feed\0\0\0\0", 16);
}

static __always_inline void send_mixed(struct long_event *event)
{
	long result;

	chance = chance * 1664525 + 1013904223;
	if (chance >> 31)
		result = bpf_ringbuf_output(&mixed, &event->event, sizeof(event->event), NO_WAKEUP);
	else
		result = bpf_ringbuf_output(&mixed, event, sizeof(*event), NO_WAKEUP);
	if (result)
		dropped++;
}

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct long_event event = {};

	if (!target || pid != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	for (int i = 0; i < BURST; i++) {
		fill(&event.event);
		if (target == 1) {
			if (bpf_ringbuf_output(&uniform, &event.event, sizeof(event.event),
					       NO_WAKEUP))
				dropped++;
		} else if (target == 2) {
			send_mixed(&event);
		} else if (bpf_perf_event_output(ctx, &perf, THIS_CPU, &event.event,
						 sizeof(event.event))) {
			dropped++;
		}
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
