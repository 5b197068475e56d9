/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A member without a name. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	struct {
		__u32 number;
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} values SEC(".maps");
