/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What members mean, by their tags. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "tags.bpf.h"

/* Three meanings of types. */
typedef __be32 address_t IPV4;
typedef __u64 since_boot_t TIMESTAMP_BOOT;
#define MICROSECONDS UNIT("microseconds")

/* A connection. */
struct connection {
	__u64 timestamp_ns TIMESTAMP_NS; /* when it was made */
	/* When it was closed. */
	__u64 closed_ns TIMESTAMP_NS;
	since_boot_t accepted;
	__u64 time TIMESTAMP_TAI;
	/* Of the process. */
	__u64 cgroup_id CGROUP_ID;
	__u64 caller KSYM;
	/* How long it took. */
	__u64 duration MICROSECONDS;
	__u8 source6[16] IPV6;
	address_t source;
	__be32 target IPV4;
	__be16 source_port PORT_BE;
	__be16 target_port PORT_BE;
	/* How it ended. */
	__s32 error ERRNO;
	__u32 retries UNIT("packets");
	__u8 label[8] STRING;
	char comm[16] STRING;
	__u8 pad0[4];
};

/* Names that meanings would have. */
struct clashes {
	__be32 source IPV4;
	__be32 source_ip IPV4;
	__u32 datetime;
	__u32 property;
	__u64 start_ns TIMESTAMP_NS;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct clashes);
	__type(value, struct connection);
} connections SEC(".maps");

typedef __u32 pages_t UNIT("pages");

/* How much may be kept. */
const volatile pages_t most = 8;
__u64 waited UNIT("nanoseconds");

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	waited += most;
	return 0;
}
