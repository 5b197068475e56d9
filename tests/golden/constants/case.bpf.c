/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Constants of the source's own files. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "limits.h"

/* An internal matter. */
#define INTERNAL 1
/** How many values there are. */
#define VALUES 4

struct setting {
	enum mode mode;
	__u32 flags;
	char path[PATH_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VALUES);
	__type(key, __u32);
	__type(value, struct setting);
} settings SEC(".maps");
