/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A stream with records of several types that say which they are. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

/* What happened to a process. */
enum process_kind {
	PROCESS_KIND_STARTED = 1,
	PROCESS_KIND_ENDED = 2,
};

/* It began another program. */
struct started {
	/* What this is. */
	enum process_kind kind KIND(PROCESS_KIND_STARTED);
	__u32 pid;
};

/* It ended. */
struct ended {
	/* What this is. */
	enum process_kind kind KIND(PROCESS_KIND_ENDED);
	__s32 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} processes SEC(".maps");

SEC("tp/sched/sched_process_exec")
int process_exec(void *ctx)
{
	struct started record = { .kind = PROCESS_KIND_STARTED, .pid = 1 };

	bpf_ringbuf_output(&processes, &record, sizeof(record), 0);
	return 0;
}

SEC("tp/sched/sched_process_exit")
int process_exit(void *ctx)
{
	struct ended record = { .kind = PROCESS_KIND_ENDED, .code = 1 };

	bpf_ringbuf_output(&processes, &record, sizeof(record), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
