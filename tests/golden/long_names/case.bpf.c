/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names that are too long for one line. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

enum latency_histogram_bucket_of_block_device_requests {
	LATENCY_HISTOGRAM_BUCKET_OF_BLOCK_DEVICE_REQUESTS_UP_TO_ONE_MICROSECOND,
};

struct latency_histogram_of_block_device_requests {
	enum latency_histogram_bucket_of_block_device_requests largest_bucket_that_was_used;
	__u32 number_of_requests_in_buckets_of_the_histogram[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, struct latency_histogram_of_block_device_requests);
	__type(value, struct latency_histogram_of_block_device_requests);
} latency_histograms SEC(".maps");

SEC("?fentry/blk_mq_start_request")
VARIANT(trampoline_at_the_start_of_requests)
int request_was_started_by_the_block_layer(void *ctx)
{
	return 0;
}

SEC("?kprobe/blk_mq_start_request")
VARIANT(breakpoint_at_the_start_of_requests)
int request_was_started_by_the_block_layer_of_the_kernel(void *ctx)
{
	return 0;
}

SEC("?raw_tp/block_rq_issue")
VARIANT(raw_tracepoint_at_the_issue_of_requests)
int request_was_issued(void *ctx)
{
	return 0;
}
