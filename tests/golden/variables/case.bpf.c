/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Variables of three sections; static ones are the object's own business. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum level {
	LEVEL_OFF,
	LEVEL_ON,
};

struct limits {
	__u32 low;
	__u32 high;
};

/* Say more. */
const volatile bool verbose = true;
const volatile __u32 target_pid = 0;
const volatile char prefix[16] = "x";
const volatile struct limits limits = { .low = 1, .high = 2 };
static const volatile int own_constant = 3;

/* Calls between two readings. */
__u64 interval = 1000;
enum level level = LEVEL_ON;
static int own_number = 5;

__u64 calls; /* Calls so far. */
__s32 errors[4];
static __u64 own_counter;
__attribute__((visibility("hidden"))) __u64 hidden;

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	calls += interval + own_constant + own_number + target_pid;
	own_counter++;
	hidden++;
	if (verbose)
		errors[level & 3]++;
	return 0;
}
