/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Structs in structs, and in arrays of them. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct point {
	__s32 x;
	__s32 y;
};

struct line {
	struct point from;
	struct point to;
};

struct drawing {
	struct line lines[2];
	struct point corners[2][2];
	struct point origin;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct drawing);
} values SEC(".maps");
