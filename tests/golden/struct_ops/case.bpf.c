/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Operations of the kernel that programs implement are a map. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct tcp_congestion_ops { /* As in the kernel: it ends in padding. */
	__u32 (*ssthresh)(void *sk);
	void (*init)(void *sk);
	__u32 flags;
	char name[16];
};

SEC("struct_ops/slow_ssthresh")
__u32 slow_ssthresh(void *ctx)
{
	return 2;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops slow = {
	.ssthresh = (void *)slow_ssthresh,
	.name = "slow",
};
