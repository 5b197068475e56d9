/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A hole in the middle. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct hole {
	__u32 pid;
	__u64 time;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hole);
} values SEC(".maps");
