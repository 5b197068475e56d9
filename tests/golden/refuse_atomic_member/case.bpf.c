/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A member that is atomic by the name of its type. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

typedef _Atomic __u64 counter_t;

struct totals {
	__u64 calls;
	counter_t bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} values SEC(".maps");
