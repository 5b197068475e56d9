/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A row of a program that is no iterator. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct row {
	__u32 pid;
};

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	return 0;
}
ITER_RECORD(on_enter, struct row);
