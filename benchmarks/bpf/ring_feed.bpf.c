/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fills a ring buffer with records of 64 bytes, a thousand for each getppid() of one process.
 *
 * Kernel: 5.8.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

#define BURST 1000
#define NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP */

/* One record, 64 bytes. */
struct feed_event {
	/* Running number, from 0. */
	__u64 number;
	/* Process that asked for it. */
	__u32 pid;
	__u32 zero;
	/* Ballast. */
	__u64 ballast[6];
};

/* Process whose calls count. */
const volatile __u32 wanted_pid = 0;
/* Number of getppid() on this architecture. */
const volatile __u64 wanted_call = 0;
/* Records written so far. */
__u64 written = 0;
/* Records there was no room for. */
__u64 dropped = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} feed SEC(".maps");
RINGBUF_RECORD(feed, struct feed_event);

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (pid != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	for (int i = 0; i < BURST; i++) {
		struct feed_event *event = bpf_ringbuf_reserve(&feed, sizeof(*event), 0);

		if (!event) {
			dropped++;
			continue;
		}
		event->number = written++;
		event->pid = pid;
		event->zero = 0;
		for (int j = 0; j < 6; j++)
			event->ballast[j] = j;
		bpf_ringbuf_submit(event, NO_WAKEUP);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
