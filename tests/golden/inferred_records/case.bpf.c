/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records that no macro names: the calls that write them tell their types. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define RECORD_BYTES sizeof(struct through_macro)
#define SUBMIT(x)    bpf_ringbuf_submit(x, 0)

struct reserved {
	__u32 pid;
	__u32 uid;
};

typedef struct {
	__u64 time;
} untagged_t;

struct through_macro {
	__u64 time;
	__u32 pid;
	__u8 pad0[4];
};

struct through_helper {
	char comm[16];
};

struct sampled {
	__s32 result;
};

/* Reserved as what it is. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} reserves SEC(".maps");

/* Reserved as bytes, and filled as what it is. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} macros SEC(".maps");

/* Reserved and sent by helpers that take the map. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} helpers SEC(".maps");

/* Copied from the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} outputs SEC(".maps");

/* A number. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} numbers SEC(".maps");

/* Samples in a perf buffer. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

static __always_inline void *start(void *map, __u64 size)
{
	return bpf_ringbuf_reserve(map, size, 0);
}

static __always_inline void send(void *ctx, const void *data, __u64 size)
{
	bpf_perf_event_output(ctx, &samples, 0xffffffffULL, (void *)data, size);
}

static long each(__u32 index, void *ctx)
{
	untagged_t record = { .time = index };

	bpf_ringbuf_output(&outputs, &record, sizeof(record), 0);
	return 0;
}

SEC("tp/sched/sched_process_exec")
int writes(void *ctx)
{
	struct sampled sample = { .result = 1 };
	struct through_helper *by_helper;
	struct reserved *record;
	__u64 *number;
	void *bytes;

	record = bpf_ringbuf_reserve(&reserves, sizeof(*record), 0);
	if (record) {
		record->pid = 1;
		record->uid = 2;
		SUBMIT(record);
	}
	bytes = bpf_ringbuf_reserve(&macros, RECORD_BYTES, 0);
	if (bytes) {
		__builtin_memset(bytes, 0, RECORD_BYTES);
		SUBMIT(bytes);
	}
	by_helper = start(&helpers, sizeof(*by_helper));
	if (by_helper) {
		__builtin_memset(by_helper, 0, sizeof(*by_helper));
		SUBMIT(by_helper);
	}
	number = bpf_ringbuf_reserve(&numbers, sizeof(*number), 0);
	if (number) {
		*number = 3;
		SUBMIT(number);
	}
	bpf_loop(2, each, (void *)0, 0);
	send(ctx, &sample, sizeof sample);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
