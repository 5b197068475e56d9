/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One record says what it is, the other does not. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

enum kind {
	KIND_ONE,
};

struct marked {
	enum kind kind KIND(KIND_ONE);
};

struct unmarked {
	__u32 pid;
	__u32 uid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
RINGBUF_RECORD(events, struct marked);
RINGBUF_RECORD(events, struct unmarked);
