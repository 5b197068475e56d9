/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Functions of the kernel, and variables that are nobody else's: both stay out of the module. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct bpf_map;

extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;

static __u64 hot SEC(".data.hot");
__hidden __u64 hidden SEC(".bss.hidden");
__u64 shown;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} total SEC(".maps");

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	hot++;
	hidden += hot;
	shown += hidden;
	if (bpf_map_sum_elem_count)
		bpf_map_sum_elem_count((const struct bpf_map *)&total);
	bpf_rcu_read_lock();
	return 0;
}
