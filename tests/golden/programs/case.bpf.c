/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs with and without variants and the question mark of those that do not load by default. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

/* Always there. */
SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	return 0;
}

/* Only on demand. */
SEC("?raw_tp/sys_exit")
int on_exit(void *ctx)
{
	return 0;
}

/* The best one. */
SEC("?fentry/do_exit")
VARIANT(fentry)
int by_trampoline(void *ctx)
{
	return 0;
}

SEC("?kprobe/do_exit")
VARIANT(kprobe)
int by_breakpoint(void *ctx)
{
	return 0;
}

SEC("?kprobe/do_exit")
VARIANT(kprobe)
int by_breakpoint_too(void *ctx)
{
	return 0;
}

/* Beside both. */
SEC("?raw_tp/sched_process_exit")
VARIANT(kprobe)
VARIANT(fentry)
int beside(void *ctx)
{
	return 0;
}

__noinline int helper(int number)
{
	return number + 1;
}

SEC("syscall")
int on_demand(void *ctx)
{
	return helper(1);
}
