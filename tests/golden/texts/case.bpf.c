/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* char arrays are text. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct texts {
	char comm[16];
	char names[3][8];
	char letter;
	const char one[1];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct texts);
} values SEC(".maps");
