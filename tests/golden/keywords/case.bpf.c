/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names that Python has for itself. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum none {
	NONE_None,
	NONE_True,
	NONE_import,
};

struct class {
	__u32 from;
	__u32 import;
	__u32 lambda;
	__u32 None;
	__u32 match;
	__u32 print;
	__u32 self;
	__u32 cls;
	char str[8];
	__u8 bytes[4];
	__u32 object;
	__u64 tuple[2];
	enum none type;
	char id[4];
	__u32 __init__;
	__u32 __slots__;
	__u32 __dict__;
	__u32 len;
};

const volatile __u32 global = 1;
__u32 nonlocal;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct class);
} yield SEC(".maps");

SEC("raw_tp/sys_enter")
int async(void *ctx)
{
	return nonlocal + global;
}

SEC("raw_tp/sys_exit")
int def(void *ctx)
{
	return 0;
}
