/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A global array that is atomic. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

_Atomic __u32 hits[4];

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	hits[0]++;
	return 0;
}
