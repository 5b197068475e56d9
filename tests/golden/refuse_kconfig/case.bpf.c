/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A variable that libbpf fills from the kernel's configuration. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern int CONFIG_HZ __kconfig;

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	return CONFIG_HZ;
}
