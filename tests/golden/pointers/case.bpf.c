/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pointers are addresses. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct elsewhere;

struct pointers {
	void *nothing;
	const char *text;
	struct elsewhere *far;
	struct pointers *own;
	int (*call)(int);
	void **twice;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pointers);
} values SEC(".maps");
