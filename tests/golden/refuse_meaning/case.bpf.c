/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A member that is no address. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "tags.bpf.h"

struct connection {
	__u64 source IPV4;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");
