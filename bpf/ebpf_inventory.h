/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef __EBPF_INVENTORY_H__
#define __EBPF_INVENTORY_H__

#include "tags.bpf.h"

/* The kernel's enum bpf_map_type as of 6.18. */
enum inventory_map_type {
	INVENTORY_MAP_TYPE_UNSPEC = 0,
	INVENTORY_MAP_TYPE_HASH = 1,
	INVENTORY_MAP_TYPE_ARRAY = 2,
	INVENTORY_MAP_TYPE_PROG_ARRAY = 3,
	INVENTORY_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	INVENTORY_MAP_TYPE_PERCPU_HASH = 5,
	INVENTORY_MAP_TYPE_PERCPU_ARRAY = 6,
	INVENTORY_MAP_TYPE_STACK_TRACE = 7,
	INVENTORY_MAP_TYPE_CGROUP_ARRAY = 8,
	INVENTORY_MAP_TYPE_LRU_HASH = 9,
	INVENTORY_MAP_TYPE_LRU_PERCPU_HASH = 10,
	INVENTORY_MAP_TYPE_LPM_TRIE = 11,
	INVENTORY_MAP_TYPE_ARRAY_OF_MAPS = 12,
	INVENTORY_MAP_TYPE_HASH_OF_MAPS = 13,
	INVENTORY_MAP_TYPE_DEVMAP = 14,
	INVENTORY_MAP_TYPE_SOCKMAP = 15,
	INVENTORY_MAP_TYPE_CPUMAP = 16,
	INVENTORY_MAP_TYPE_XSKMAP = 17,
	INVENTORY_MAP_TYPE_SOCKHASH = 18,
	INVENTORY_MAP_TYPE_CGROUP_STORAGE = 19,
	INVENTORY_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
	INVENTORY_MAP_TYPE_PERCPU_CGROUP_STORAGE = 21,
	INVENTORY_MAP_TYPE_QUEUE = 22,
	INVENTORY_MAP_TYPE_STACK = 23,
	INVENTORY_MAP_TYPE_SK_STORAGE = 24,
	INVENTORY_MAP_TYPE_DEVMAP_HASH = 25,
	INVENTORY_MAP_TYPE_STRUCT_OPS = 26,
	INVENTORY_MAP_TYPE_RINGBUF = 27,
	INVENTORY_MAP_TYPE_INODE_STORAGE = 28,
	INVENTORY_MAP_TYPE_TASK_STORAGE = 29,
	INVENTORY_MAP_TYPE_BLOOM_FILTER = 30,
	INVENTORY_MAP_TYPE_USER_RINGBUF = 31,
	INVENTORY_MAP_TYPE_CGRP_STORAGE = 32,
	INVENTORY_MAP_TYPE_ARENA = 33,
};

/* The kernel's enum bpf_prog_type as of 6.18. */
enum inventory_program_type {
	INVENTORY_PROGRAM_TYPE_UNSPEC = 0,
	INVENTORY_PROGRAM_TYPE_SOCKET_FILTER = 1,
	INVENTORY_PROGRAM_TYPE_KPROBE = 2,
	INVENTORY_PROGRAM_TYPE_SCHED_CLS = 3,
	INVENTORY_PROGRAM_TYPE_SCHED_ACT = 4,
	INVENTORY_PROGRAM_TYPE_TRACEPOINT = 5,
	INVENTORY_PROGRAM_TYPE_XDP = 6,
	INVENTORY_PROGRAM_TYPE_PERF_EVENT = 7,
	INVENTORY_PROGRAM_TYPE_CGROUP_SKB = 8,
	INVENTORY_PROGRAM_TYPE_CGROUP_SOCK = 9,
	INVENTORY_PROGRAM_TYPE_LWT_IN = 10,
	INVENTORY_PROGRAM_TYPE_LWT_OUT = 11,
	INVENTORY_PROGRAM_TYPE_LWT_XMIT = 12,
	INVENTORY_PROGRAM_TYPE_SOCK_OPS = 13,
	INVENTORY_PROGRAM_TYPE_SK_SKB = 14,
	INVENTORY_PROGRAM_TYPE_CGROUP_DEVICE = 15,
	INVENTORY_PROGRAM_TYPE_SK_MSG = 16,
	INVENTORY_PROGRAM_TYPE_RAW_TRACEPOINT = 17,
	INVENTORY_PROGRAM_TYPE_CGROUP_SOCK_ADDR = 18,
	INVENTORY_PROGRAM_TYPE_LWT_SEG6LOCAL = 19,
	INVENTORY_PROGRAM_TYPE_LIRC_MODE2 = 20,
	INVENTORY_PROGRAM_TYPE_SK_REUSEPORT = 21,
	INVENTORY_PROGRAM_TYPE_FLOW_DISSECTOR = 22,
	INVENTORY_PROGRAM_TYPE_CGROUP_SYSCTL = 23,
	INVENTORY_PROGRAM_TYPE_RAW_TRACEPOINT_WRITABLE = 24,
	INVENTORY_PROGRAM_TYPE_CGROUP_SOCKOPT = 25,
	INVENTORY_PROGRAM_TYPE_TRACING = 26,
	INVENTORY_PROGRAM_TYPE_STRUCT_OPS = 27,
	INVENTORY_PROGRAM_TYPE_EXT = 28,
	INVENTORY_PROGRAM_TYPE_LSM = 29,
	INVENTORY_PROGRAM_TYPE_SK_LOOKUP = 30,
	INVENTORY_PROGRAM_TYPE_SYSCALL = 31,
	INVENTORY_PROGRAM_TYPE_NETFILTER = 32,
};

/* How memory_bytes of a map was found out. */
enum inventory_memory_source {
	/* Not: memory_bytes is -1. */
	INVENTORY_MEMORY_SOURCE_UNKNOWN = 0,
	/* Counted from the map's own structure, as the kernel itself counts it. */
	INVENTORY_MEMORY_SOURCE_COUNTED = 1,
	/* The pages that the kernel charged to the map's maker; kernels before 5.11. */
	INVENTORY_MEMORY_SOURCE_CHARGED = 2,
};

/* How a process holds a map or program. */
enum inventory_hold {
	/* By a file descriptor of the map. */
	INVENTORY_HOLD_MAP_FD = 1,
	/* By a file descriptor of the program. */
	INVENTORY_HOLD_PROGRAM_FD = 2,
	/* By a mapping of the map into its memory. */
	INVENTORY_HOLD_MAP_MAPPING = 3,
};

/* One map of the system. */
struct inventory_map {
	/*
	 * Memory of the map in bytes, that of a ring buffer's pages included, that of perf buffers
	 * not (they belong to the perf events in the map's slots); -1 if not known.
	 */
	__s64 memory_bytes;
	/* Entries in the map, exact; -1 where the kernel does not count them. */
	__s64 entry_count;
	/* Ring buffers: memory of the pages that hold data and positions, in bytes. Others: 0. */
	__u64 ring_bytes;
	/* Ring buffers: bytes written and not read yet, headers of records included. Others: 0. */
	__u64 unread_bytes;
	/* The map's id. */
	__u32 id;
	/* The map's type. */
	enum inventory_map_type type;
	/* Bytes of a key. */
	__u32 key_size;
	/* Bytes of a value, on one CPU. */
	__u32 value_size;
	/* Most entries the map can hold; of a ring buffer the bytes of its data. */
	__u32 max_entries;
	/* The flags it was made with, BPF_F_*. */
	__u32 flags;
	/* Id of the BTF that describes key and value; 0 if there is none. */
	__u32 btf_id;
	/* How memory_bytes was found out. */
	enum inventory_memory_source memory_source;
	/* The kernel tells the memory of any map in its fdinfo, and truthfully (6.4). */
	bool kernel_counts_memory;
	/* Read-only for user space. */
	bool frozen;
	/* The name, as far as the kernel keeps it. */
	char name[16];
	/* Always zero. */
	__u8 pad0[6];
};

/* One buffer in a slot of a perf event array. */
struct inventory_perf_buffer {
	/* The same number for slots that share one buffer: the address of the kernel's structure. */
	__u64 buffer;
	/* Id of the perf event. */
	__u64 event_id;
	/* Memory of the buffer's pages in bytes, that of the positions included. */
	__u64 memory_bytes;
	/* The map's id. */
	__u32 map_id;
	/* The slot, which is the number of a CPU as perf buffers are commonly used. */
	__u32 slot;
};

/* One program of the system. */
struct inventory_program {
	/* Time of the load, CLOCK_BOOTTIME, nanoseconds. */
	__u64 loaded_ns TIMESTAMP_BOOT;
	/* Nanoseconds spent in the program while statistics were on. */
	__u64 run_time_ns;
	/* Runs while statistics were on. */
	__u64 run_count;
	/* Runs left out because the program was running on that CPU already. */
	__u64 recursion_misses;
	/* Memory of the instructions and of the machine code made from them, in bytes. */
	__u64 memory_bytes;
	/* The part of it that the kernel shows in the fdinfo: the main program's instructions. */
	__u64 memlock_bytes;
	/* The program's id. */
	__u32 id;
	/* The program's type. */
	enum inventory_program_type type;
	/* Bytes of its instructions as the verifier left them. */
	__u32 xlated_bytes;
	/* Bytes of the machine code made from them; 0 if the program is interpreted. */
	__u32 jited_bytes;
	/* Instructions the verifier looked at; 0 on kernels that do not count them (before 5.16). */
	__u32 verified_instructions;
	/* User that loaded the program. */
	__u32 uid;
	/* Id of the program's BTF; 0 if there is none. */
	__u32 btf_id;
	/* Functions of the program; 0 if it has no subprograms. */
	__u32 function_count;
	/* Identifies the instructions. */
	__u8 tag[8];
	/* The counters are here; false where only bpf(2) tells them (before 5.19). */
	bool has_counters;
	/* Translated to machine code. */
	bool jited;
	/* Declares a licence compatible with the GPL. */
	bool gpl_compatible;
	/* The name, as far as the kernel keeps it. */
	char name[16];
	/* Always zero. */
	__u8 pad0[5];
};

/* One process that holds a map or a program. */
struct inventory_holder {
	/* Bytes mapped; 0 unless held by a mapping. */
	__u64 mapped_bytes;
	/* Id of the map or program. */
	__u32 object_id;
	/* Process id in the initial pid namespace. */
	__u32 pid;
	/* The file descriptor; 0 if held by a mapping. */
	__u32 fd;
	/* How it is held. */
	enum inventory_hold hold;
	/* Command name of the process, NUL-terminated. */
	char comm[16];
};

/* One program on one kprobe or kretprobe, of those that hang on a perf event with a file descriptor. */
struct inventory_kprobe {
	/* The same number for rows that share one kprobe: the address of the kernel's structure. */
	__u64 probe;
	/* Calls of the function that reached the kprobe; 0 if they cannot be read, see has_hits. */
	__u64 hits;
	/* Calls left out because a kprobe was being handled on that CPU already. */
	__u64 nesting_misses;
	/* Returns left out because too many calls were under way (maxactive). */
	__u64 maxactive_misses;
	/* The program's id. */
	__u32 program_id;
	/* The hits were read; false where a CPU's part of a counter cannot be found (before 5.19). */
	bool has_hits;
	/* Made by its name in tracefs, or an uprobe made there: kprobe_profile there has it if it is a kprobe. */
	bool in_tracefs;
	/* Name of its event, NUL-terminated. */
	char name[64];
	/* Always zero. */
	__u8 pad0[2];
};

#endif /* __EBPF_INVENTORY_H__ */
