/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Floating point numbers, which programs cannot compute with but can pass on. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct floats {
	double wide;
	float narrow;
	float many[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct floats);
} values SEC(".maps");
