/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two types of records that a perf buffer pads to the same size. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct small {
	__u32 pid;
};

struct large {
	__u32 pid;
	__u32 uid;
	__u32 gid;
};

struct middle {
	__u32 pid;
	__u32 uid;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");
PERF_RECORD(samples, struct small);
PERF_RECORD(samples, struct large);
PERF_RECORD(samples, struct middle);
