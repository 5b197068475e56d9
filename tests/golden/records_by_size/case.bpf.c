/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Streams with records of several types that differ in size. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct started {
	__u32 pid;
	char comm[16];
};

struct ended {
	__u32 pid;
	__s32 code;
};

struct crashed {
	__u32 pid;
	__s32 signal;
	__u64 address;
};

/* Found at the calls. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} processes SEC(".maps");

/* Bound by macros. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");
PERF_RECORD(samples, struct ended);
PERF_RECORD(samples, struct crashed);

SEC("tp/sched/sched_process_exec")
int started(void *ctx)
{
	struct started record = { .pid = 1 };

	bpf_ringbuf_output(&processes, &record, sizeof(record), 0);
	return 0;
}

SEC("tp/sched/sched_process_exit")
int ended(void *ctx)
{
	struct ended record = { .pid = 1 };

	bpf_ringbuf_output(&processes, &record, sizeof(record), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
