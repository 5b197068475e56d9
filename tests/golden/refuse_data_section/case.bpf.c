/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A variable in a data section of its own, which would be left out. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 taken;
__u64 lost SEC(".data.hot");
