/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Typedefs keep their names in the documentation; one of an anonymous struct names the record. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

typedef __u32 pid_type;
typedef pid_type task_pid;
typedef char task_name[16];

/* A pair without a tag. */
typedef struct {
	/* The first. */
	__u32 first;
	__u32 second; /* The second. */
} pair_t;

typedef struct tagged {
	__u64 number;
} tagged_t;

struct typedefs {
	task_pid pid;
	volatile pid_type parent;
	task_name name;
	pair_t pair;
	const pair_t pairs[2];
	tagged_t tagged;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct typedefs);
} values SEC(".maps");
