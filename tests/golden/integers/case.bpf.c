/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every width of integer, signed and unsigned. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct integers {
	__u64 u64;
	__s64 s64;
	unsigned long plain_unsigned_long;
	long plain_long;
	__u32 u32;
	__s32 s32;
	__u16 u16;
	__s16 s16;
	unsigned int plain_unsigned;
	int plain;
	__be32 address;
	__be16 port;
	unsigned short plain_unsigned_short;
	short plain_short;
	__u8 u8;
	__s8 s8;
	unsigned char plain_unsigned_char;
	signed char plain_signed_char;
	__u8 pad0[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct integers);
} values SEC(".maps");
