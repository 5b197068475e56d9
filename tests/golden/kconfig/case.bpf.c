/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Variables that libbpf fills from the kernel's configuration. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern unsigned int CONFIG_HZ __kconfig;
extern _Bool CONFIG_BPF __kconfig;
extern char CONFIG_DEFAULT_HOSTNAME[32] __kconfig;
extern enum libbpf_tristate CONFIG_MODULES __kconfig __weak;
extern __u64 CONFIG_ARCH_MMAP_RND_BITS __kconfig __weak;

__u64 sum;

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	sum = LINUX_KERNEL_VERSION + CONFIG_HZ + CONFIG_BPF + CONFIG_DEFAULT_HOSTNAME[0] +
	      CONFIG_MODULES + CONFIG_ARCH_MMAP_RND_BITS;
	return 0;
}
