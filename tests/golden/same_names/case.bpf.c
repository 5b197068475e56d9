/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A struct and a typedef of one name. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	__u32 pid;
};

typedef struct {
	__u64 time;
} event;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} one SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, event);
} two SEC(".maps");
