/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ring buffers with and without the type of their records. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct opened {
	__u64 time;
	char path[64];
};

struct closed {
	__u64 time;
	__s32 result;
	__u8 pad0[4];
};

/* Files that were opened. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} opens SEC(".maps");
RINGBUF_RECORD(opens, struct opened);

/* Files that were closed. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} closes SEC(".maps");
RINGBUF_RECORD(closes, struct closed);

/* Bytes as they come. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} plain SEC(".maps");
