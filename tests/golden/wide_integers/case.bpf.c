/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Integers of 128 bits. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct wide_integers {
	unsigned __int128 address;
	__int128 difference;
	unsigned __int128 both[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wide_integers);
} values SEC(".maps");
