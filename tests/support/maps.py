# SPDX-License-Identifier: Apache-2.0
"""A probe with a map of every kind, for the tests of maps."""

from __future__ import annotations

import os

from tests.support.kernel import map_refusal

__all__ = ["GETPPID", "MISSING", "SOURCE"]

# Maps of types that came late: the type's name and number, and the first kernel that has it.
LATE = {
    "by_inode": ("INODE_STORAGE", 28, "5.10"),
    "by_task": ("TASK_STORAGE", 29, "5.11"),
    "bloom": ("BLOOM_FILTER", 30, "5.16"),
    "by_cgroup": ("CGRP_STORAGE", 32, "6.2"),
}
GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]

_ALL = """
/* A key of 16 bytes. */
struct wide_key {
	__u64 number;
	__u64 zero;
};

/* A value of 20 bytes, which the kernel keeps on 24. */
struct wide_value {
	__u64 count;
	__s32 balance;
	__u32 ranks[2];
} __attribute__((packed));

/* A value that says in two ways what it is, and the same inside others. */
struct either_value {
	__u64 count;
	union {
		__u32 reads;
		__u32 writes;
	};
	__u32 last;
};

struct either_values {
	__u64 count;
	struct either_value of[2];
};

/* Bitfields beside each other, one over nine bytes, alone and in an array. */
struct bits_value {
	__u32 low : 3;
	__u32 middle : 13;
	__s32 high : 16;
	__u8 first : 5;
	__u64 across : 64;
	__s8 last : 3;
} __attribute__((packed));

struct bits_values {
	__u64 count;
	struct bits_value of[2];
} __attribute__((packed));

/* A prefix of IP addresses of both versions. */
struct prefix {
	__u32 length;
	__u8 data[16];
};

const volatile __u32 wanted_pid = 0;
const volatile __u64 wanted_call = 0;
__s64 last_stack = -1;
__u64 calls = 0;

#define MAP(name, kind, entries, key_type, value_type) \\
	struct { \\
		__uint(type, BPF_MAP_TYPE_##kind); \\
		__uint(max_entries, entries); \\
		__type(key, key_type); \\
		__type(value, value_type); \\
	} name SEC(".maps")
#define WORDS(name, kind, entries, size) \\
	struct { \\
		__uint(type, kind); \\
		__uint(max_entries, entries); \\
		__uint(key_size, 4); \\
		__uint(value_size, size); \\
	} name SEC(".maps")
#define PUSHED(name, kind, entries, value_type) \\
	struct { \\
		__uint(type, kind); \\
		__uint(max_entries, entries); \\
		__type(value, value_type); \\
	} name SEC(".maps")
#define STORAGE(name, kind) \\
	struct { \\
		__uint(type, kind); \\
		__uint(map_flags, 1); \\
		__type(key, int); \\
		__type(value, __u64); \\
	} name SEC(".maps")

MAP(small, HASH, 20000, __u32, __u64);
MAP(texts, HASH, 100, char[8], __u32);
MAP(text_pairs, HASH, 100, char[2][4], __u32);
MAP(wide, HASH, 20000, struct wide_key, struct wide_value);
MAP(lru, LRU_HASH, 64, __u32, __u64);
MAP(lru_per_cpu, LRU_PERCPU_HASH, 64, __u32, __u64);
MAP(per_cpu, PERCPU_HASH, 20000, __u32, __u32);
MAP(wide_per_cpu, PERCPU_HASH, 64, __u32, struct wide_value);
MAP(either, PERCPU_HASH, 4, __u32, struct either_value);
MAP(eithers, PERCPU_ARRAY, 4, __u32, struct either_values);
MAP(bits, PERCPU_HASH, 4, __u32, struct bits_value);
MAP(all_bits, PERCPU_ARRAY, 1, __u32, struct bits_values);
MAP(cells, PERCPU_ARRAY, 5, __u32, __u64);
MAP(numbers, ARRAY, 5000, __u32, __u32);
PUSHED(queue, BPF_MAP_TYPE_QUEUE, 3, __u32);
PUSHED(stack, BPF_MAP_TYPE_STACK, 3, struct wide_value);
PUSHED(bloom, 30 /* BPF_MAP_TYPE_BLOOM_FILTER */, 100, __u64);
STORAGE(by_task, 29 /* BPF_MAP_TYPE_TASK_STORAGE */);
STORAGE(by_socket, 24 /* BPF_MAP_TYPE_SK_STORAGE */);
STORAGE(by_inode, 28 /* BPF_MAP_TYPE_INODE_STORAGE */);
STORAGE(by_cgroup, 32 /* BPF_MAP_TYPE_CGRP_STORAGE */);
WORDS(programs, BPF_MAP_TYPE_PROG_ARRAY, 4, 4);
WORDS(cgroups, BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4);
WORDS(devices, 14 /* BPF_MAP_TYPE_DEVMAP */, 4, 4);
WORDS(devices_hash, 25 /* BPF_MAP_TYPE_DEVMAP_HASH */, 4, 8);
WORDS(cpus, 16 /* BPF_MAP_TYPE_CPUMAP */, 4, 8);
WORDS(xsks, 17 /* BPF_MAP_TYPE_XSKMAP */, 4, 4);
WORDS(sockets, 15 /* BPF_MAP_TYPE_SOCKMAP */, 4, 8);
WORDS(listeners, 20 /* BPF_MAP_TYPE_REUSEPORT_SOCKARRAY */, 4, 8);
WORDS(sockets_short, 15 /* BPF_MAP_TYPE_SOCKMAP */, 4, 4);
WORDS(listeners_short, 20 /* BPF_MAP_TYPE_REUSEPORT_SOCKARRAY */, 4, 4);
WORDS(stacks, 7 /* BPF_MAP_TYPE_STACK_TRACE */, 3000, 127 * 8);

struct {
	__uint(type, 18 /* BPF_MAP_TYPE_SOCKHASH */);
	__uint(max_entries, 4);
	__type(key, __u64);
	__uint(value_size, 8);
} sockets_hash SEC(".maps");

struct {
	__uint(type, 18 /* BPF_MAP_TYPE_SOCKHASH */);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} sock_hash_short SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1000);
	__uint(map_flags, 1 << 10 /* BPF_F_MMAPABLE */);
	__type(key, __u32);
	__type(value, struct wide_value);
} mapped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 100);
	__uint(map_flags, 1 /* BPF_F_NO_PREALLOC */);
	__type(key, struct prefix);
	__type(value, __u32);
} routes SEC(".maps");

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	__u64 *cell;
	struct wide_value *first;

	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	last_stack = bpf_get_stackid(ctx, &stacks, calls & 3); /* calls from one place have four stacks */
	calls++;
	cell = bpf_map_lookup_elem(&cells, &zero);
	if (cell)
		*cell += 1;
	first = bpf_map_lookup_elem(&mapped, &zero);
	if (first)
		first->count += 1;
	bpf_tail_call(ctx, &programs, 1);
	return 0;
}

SEC("raw_tp/sys_enter")
int on_tail_call(struct bpf_raw_tracepoint_args *ctx)
{
	calls += 1000;
	return 0;
}
"""

# By name of the map: why the kernel cannot have it. The source is without them, as no probe with one would load.
MISSING = {name: reason for name, kind in LATE.items() if (reason := map_refusal(*kind))}
SOURCE = "\n".join(line for line in _ALL.split("\n") if not any(f"({name}, " in line for name in MISSING))
