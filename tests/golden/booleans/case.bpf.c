/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Truth values. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct booleans {
	bool one;
	_Bool two;
	bool many[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct booleans);
} values SEC(".maps");
