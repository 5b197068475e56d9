/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Members of structs and unions without a name belong to the struct around them. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	__u32 kind; /* Which of the members below counts. */
	struct {
		__u32 number; /* Of a struct without a name. */
		union {
			__u32 count; /* When kind is 1. */
			struct {
				__u16 low;
				__u16 high;
			};
			char text[4];
		};
	};
	__u32 between;
	union {
		__u64 only;
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} values SEC(".maps");
