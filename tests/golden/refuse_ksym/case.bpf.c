/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A variable of the kernel. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern const void init_task __ksym;

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	return &init_task == ctx;
}
