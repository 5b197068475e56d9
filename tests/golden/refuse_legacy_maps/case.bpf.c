/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps as they were before BTF. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct bpf_map_def {
	unsigned int type;
	unsigned int key_size;
};

struct bpf_map_def SEC("maps") counts = { .type = 1, .key_size = 4 };
