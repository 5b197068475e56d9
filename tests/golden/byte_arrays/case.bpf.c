/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Arrays of unsigned char are bytes, of signed char they are numbers. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct byte_arrays {
	__u8 address[6];
	unsigned char digest[32];
	signed char signed_bytes[2];
	__u8 rows[2][4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct byte_arrays);
} values SEC(".maps");
