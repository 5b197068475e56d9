/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps of every kind that has a class of its own, and of others. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct key {
	__u32 pid;
	__u32 cpu;
};

struct count {
	__u64 calls;
	__u64 bytes;
};

enum state {
	STATE_IDLE,
	STATE_BUSY,
};

/* Calls by task. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct key);
	__type(value, struct count);
} by_task SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, char[16]);
	__type(value, enum state);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct count);
} by_cgroup SEC(".maps");

/* One counter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} total SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64[4]);
} histogram SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 12);
	__uint(map_flags, 1);
} sized SEC(".maps");

struct {
	__uint(type, 7);
	__uint(max_entries, 100);
	__uint(key_size, 4);
	__uint(value_size, 1016);
} stacks SEC(".maps");
