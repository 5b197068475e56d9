/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One map, one program, one variant, one variable: one line each. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

/* The map. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} m SEC(".maps");

/* The variable. */
__u64 v;

/* The program. */
SEC("?raw_tp/sys_enter")
VARIANT(raw_tp)
int p(void *ctx)
{
	v++;
	return 0;
}
