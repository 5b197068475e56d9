/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The macro and the code disagree about a record. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct said {
	__u32 pid;
};

struct written {
	__u32 pid;
	__u32 uid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
RINGBUF_RECORD(events, struct said);

SEC("tp/sched/sched_process_exec")
int writes(void *ctx)
{
	struct written record = { .pid = 1 };

	bpf_ringbuf_output(&events, &record, sizeof(record), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
