/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bitfields of every width and sign, also where they straddle their units. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum level {
	LEVEL_LOW,
	LEVEL_HIGH = 3,
};

enum sign {
	SIGN_MINUS = -1,
	SIGN_PLUS = 1,
};

struct flags {
	__u32 low : 3; /* Three bits. */
	__u32 high : 29;
	__s32 negative : 5;
	__u32 middle : 20;
	_Bool yes : 1;
	enum level level : 2;
	enum sign sign : 4;
	__u64 wide : 57;
	__u64 rest : 7;
	__u8 plain;
	__u8 first : 4;
	__u8 last : 4;
	__u8 pad0[6];
};

struct packed_flags {
	__u8 a : 3;
	__u32 straddles : 30;
	__s64 far : 47;
	__u16 plain;
	__u64 nine_bytes : 60;
	__u64 end : 4;
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flags);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packed_flags);
} packed_values SEC(".maps");
