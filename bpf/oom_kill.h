/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef __OOM_KILL_H__
#define __OOM_KILL_H__

#include "tags.bpf.h"

/* What limited the allocation that ended in the kill. */
enum oom_kill_constraint {
	/* Nothing but the machine's memory. */
	OOM_KILL_CONSTRAINT_NONE = 0,
	/* The memory nodes of a cpuset. */
	OOM_KILL_CONSTRAINT_CPUSET = 1,
	/* The memory nodes of a NUMA memory policy. */
	OOM_KILL_CONSTRAINT_MEMORY_POLICY = 2,
	/* The limit of a memory cgroup. */
	OOM_KILL_CONSTRAINT_MEMCG = 3,
	/* Not known, because the kernel's own record of the kill was out of reach. */
	OOM_KILL_CONSTRAINT_UNKNOWN = 255,
};

/* Where score_points, total_pages and constraint of an event were read. */
enum oom_kill_source {
	/* From the record that the kernel passed to the hooked function. */
	OOM_KILL_SOURCE_ARGUMENT = 1,
	/* From the same record, found on the kernel stack of the triggering task. */
	OOM_KILL_SOURCE_STACK = 2,
	/* The record was not found: score_points are counted anew, total_pages is 0. */
	OOM_KILL_SOURCE_RECOMPUTED = 3,
};

/* One task killed by the kernel because memory ran out. */
struct oom_kill_event {
	/* Time of the kill, CLOCK_MONOTONIC, nanoseconds. */
	__u64 timestamp_ns TIMESTAMP_NS;
	/*
	 * The score by which the kernel chose the victim, in pages: resident, swapped and page-table
	 * memory, plus total_pages / 1000 * score_adj. Without that adjustment if source is
	 * RECOMPUTED. Of a memory.oom.group kill, every member carries the first victim's.
	 */
	__s64 score_points UNIT("pages");
	/* Memory and swap that the kill was about, in pages: the cgroup's limit or the machine's. */
	__u64 total_pages;
	/* kernfs id of the victim's cgroup in the hierarchy of the memory controller. */
	__u64 victim_cgroup_id MEMORY_CGROUP_ID;
	/* kernfs id of the triggering task's cgroup in the same hierarchy. */
	__u64 trigger_cgroup_id MEMORY_CGROUP_ID;
	/*
	 * Thread id of the victim in the initial pid namespace. It differs from victim_tgid only if
	 * the first thread of the process had ended before.
	 */
	__u32 victim_pid;
	/* Process id of the victim, in the initial pid namespace. */
	__u32 victim_tgid;
	/* Thread id of the task whose allocation found no memory, in the initial pid namespace. */
	__u32 trigger_pid;
	/* Process id of the triggering task, in the initial pid namespace. */
	__u32 trigger_tgid;
	/* What limited the allocation. */
	enum oom_kill_constraint constraint;
	/* Where score_points, total_pages and constraint were read. */
	enum oom_kill_source source;
	/* The victim's oom_score_adj, -1000 to 1000. */
	__s16 score_adj;
	/*
	 * The limit of a memory cgroup was reached, rather than the machine's memory. Always false
	 * if source is RECOMPUTED.
	 */
	bool is_memcg;
	/*
	 * Killed because of memory.oom.group along with the first victim, not chosen by score.
	 * Always false if source is RECOMPUTED.
	 */
	bool group_member;
	/* Command name of the victim, NUL-terminated. */
	char victim_comm[16];
	/* Command name of the triggering task, NUL-terminated. */
	char trigger_comm[16];
	/* Directory name of the victim's cgroup (the last part of its path), empty for the root. */
	char victim_cgroup[256];
	/* Directory name of the triggering task's cgroup, empty for the root. */
	char trigger_cgroup[256];
	/* Always zero. */
	__u8 pad0[4];
};

#endif /* __OOM_KILL_H__ */
