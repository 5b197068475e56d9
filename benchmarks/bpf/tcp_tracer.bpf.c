// SPDX-License-Identifier: Apache-2.0
/*
 * What peers/start_up_bcc.py does, for comparing how long starting it takes: the longest receive and send queue of
 * TCP sockets by cgroup, at the raw tracepoint tcp_probe.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "probe.bpf.h"

/* Whose queues. */
struct queue_key {
	__u64 cgroup;
};

/* The longest ones seen, in bytes. */
struct queue_value {
	__u32 receive_bytes;
	__u32 send_bytes;
};

/* 1024 cgroups. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct queue_key);
	__type(value, struct queue_value);
} queues SEC(".maps");

SEC("raw_tp/tcp_probe")
int on_packet(struct bpf_raw_tracepoint_args *ctx)
{
	struct tcp_sock *sock = (struct tcp_sock *)ctx->args[0];
	struct queue_key key = { .cgroup = bpf_get_current_cgroup_id() };
	struct queue_value value = {};

	value.receive_bytes = BPF_CORE_READ(sock, rcv_nxt) - BPF_CORE_READ(sock, copied_seq);
	value.send_bytes = BPF_CORE_READ(sock, write_seq) - BPF_CORE_READ(sock, snd_una);
	bpf_map_update_elem(&queues, &key, &value, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
