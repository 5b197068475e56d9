/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A hole at the end, in a struct inside. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct inner {
	__u64 time;
	__u8 kind;
};

struct outer {
	struct inner inner;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outer);
} values SEC(".maps");
