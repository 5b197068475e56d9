/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Arrays of numbers, of arrays, of enums and of pointers. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum color {
	COLOR_RED,
	COLOR_BLUE,
};

struct arrays {
	__u64 counts[4];
	void *frames[2];
	__s32 grid[3][2];
	enum color colors[5];
	__u16 one[1];
	__u8 pad0[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arrays);
} values SEC(".maps");
