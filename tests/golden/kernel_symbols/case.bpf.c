/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Variables of the kernel, by their addresses. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern const void init_task __ksym;
extern const int bpf_prog_active __ksym;
extern const void not_everywhere __ksym __weak;

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	return &init_task == ctx || &bpf_prog_active == ctx || &not_everywhere == ctx;
}
