/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A packed struct: nothing is where its alignment would have it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct __attribute__((packed)) packed {
	__u8 kind;
	__u64 number; /* at offset 1 */
	__u16 half;
	__u32 words[2];
};

struct around {
	struct packed inner;
	__u8 pad0[1];
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct around);
} values SEC(".maps");
