/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A record for a map that is not there. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

struct event {
	__u32 pid;
};

RINGBUF_RECORD(events, struct event);
