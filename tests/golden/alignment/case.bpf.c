/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Aligned and empty structs, arrays of arrays of structs. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct aligned {
	__u8 small;
	__u8 pad0[15];
	__u32 number __attribute__((aligned(16)));
	__u8 pad1[12];
} __attribute__((aligned(32)));

struct empty {
};

struct holder {
	struct empty nothing;
	struct aligned rows[2][2];
	unsigned __int128 wide;
	__u8 pad0[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct holder);
} values SEC(".maps");

int matrix[2][3];
