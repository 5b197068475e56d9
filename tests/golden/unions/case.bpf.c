/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every member of a union is a view of the same bytes. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct pair {
	__u32 first;
	__u32 second;
};

/* A number, or what it is made of. */
union either {
	__u64 number;
	struct pair pair;
	__u8 bytes[8];
	char text[8];
	__u32 low : 12;
	float ratio;
};

union empty_arm {
	struct {
	} none;
	__u32 some;
};

struct event {
	union either either;
	union either row[2];
	union empty_arm arm;
	__u8 pad0[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} values SEC(".maps");

union either latest;
