/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bitfields. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct flags {
	__u32 low : 3;
	__u32 high : 29;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flags);
} values SEC(".maps");
