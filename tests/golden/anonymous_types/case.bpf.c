/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Types without a name are called like the place they stand in. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	struct {
		__u32 number;
		__u32 count;
	} inner;
	union {
		__u64 whole;
		struct {
			__u32 low;
			__u32 high;
		} halves;
	} either[2];
	enum {
		SMALL,
		LARGE,
	} kind;
	__u8 pad0[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} values SEC(".maps");

/* A variable whose type has no name, either. */
struct {
	__u64 total;
} counter;
