/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

/* The source's order is the variants', against the alphabet; the file comment of probe.bpf.h is not the module's. */
SEC("?raw_tp/sys_enter")
VARIANT(tracepoint)
VARIANT(fallback)
int on_enter(void *ctx)
{
	return 0;
}

SEC("?fentry/do_exit")
VARIANT(tracepoint)
int on_exit(void *ctx)
{
	return 0;
}

SEC("?kprobe/do_exit")
VARIANT(fallback)
int on_exit_too(void *ctx)
{
	return 0;
}

/* In all, the last named first. */
SEC("?raw_tp/sys_exit")
VARIANT(counter)
VARIANT(fallback)
VARIANT(tracepoint)
int on_leave(void *ctx)
{
	return 0;
}
