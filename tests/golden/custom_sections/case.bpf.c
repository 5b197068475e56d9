/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Variables of sections of their own. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 taken;

/* Often written, and so alone on its cache line. */
__u64 hot SEC(".data.hot") = 7;
__u64 hidden SEC(".data.hot") __hidden;
const volatile __u32 limit SEC(".rodata.limits") = 9;
__u32 zero SEC(".bss.zero");
static __u64 private SEC(".data.private") __attribute__((used));
