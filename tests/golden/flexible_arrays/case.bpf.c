/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An array without a length adds nothing to its struct. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	__u32 length;
	__u32 data[];
};

struct named {
	__u64 size;
	char name[];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct named);
} names SEC(".maps");
