/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sections that libbpf passes over say something of the object itself. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* Says what a loader should do; no program reads it. */
struct {
	__u32 version;
	char author[12];
} settings SEC(".my_config") = { .version = 3, .author = "somebody" };

__u16 feature_level SEC("features") = 2;
