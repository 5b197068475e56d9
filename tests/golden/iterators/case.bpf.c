/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Iterators and the type of their rows. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct row {
	__u32 pid;
	char comm[16];
};

/* Every task. */
SEC("iter/task")
int tasks(void *ctx)
{
	return 0;
}
ITER_RECORD(tasks, struct row);

SEC("iter/bpf_map")
int maps(void *ctx)
{
	return 0;
}
