/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rows of iterators that no macro names. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct row {
	__u32 pid;
	char comm[16];
};

static __always_inline void write_row(struct seq_file *seq, const void *row, __u32 size)
{
	bpf_seq_write(seq, row, size);
}

/* Every map. */
SEC("iter/bpf_map")
int rows(struct bpf_iter__bpf_map *ctx)
{
	struct row row = { .pid = 1 };

	write_row(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

/* Text, not rows. */
SEC("iter/bpf_map")
int texts(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
