/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Error numbers: libbpf's usdt.bpf.h asks for them, and a compiler for BPF finds the machine's only
 * where kernel headers are. Those below are the same on every architecture this project builds for.
 */
#ifndef __EBPF_ASM_ERRNO_H__
#define __EBPF_ASM_ERRNO_H__

#if __has_include_next(<asm/errno.h>)
#include_next <asm/errno.h>
#else
#define EPERM	1
#define ENOENT	2
#define ESRCH	3
#define EINTR	4
#define EIO	5
#define E2BIG	7
#define EAGAIN	11
#define ENOMEM	12
#define EACCES	13
#define EFAULT	14
#define EBUSY	16
#define EEXIST	17
#define ENODEV	19
#define EINVAL	22
#define ENOSPC	28
#define ERANGE	34
#endif

#endif /* __EBPF_ASM_ERRNO_H__ */
