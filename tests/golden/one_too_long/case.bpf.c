/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One program that fits a line of its own, but not that of its tuple; one map that fits neither. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u8[16]);
} calls_of_each_system_call_in_the_last_hour_by_process_group SEC(".maps");

SEC("raw_tp/sched_process_exit_by_the_longest_name")
int on_the_end_of_a_process_that_nobody_ever_saw(void *ctx)
{
	return 0;
}
