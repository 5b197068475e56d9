/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An atomic value of a map. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, _Atomic __u64);
} values SEC(".maps");
