/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What differs between kernels, asked of the running kernel's BTF and never of its version number.
 * A type named x___y is the kernel's x as it is on some kernels: libbpf ignores the suffix, and the
 * members that it does not find there "do not exist" and are not read.
 */
#ifndef __COMPAT_BPF_H__
#define __COMPAT_BPF_H__

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Linux commit f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter") (in v6.2). */
struct percpu_counter___rss {
	s64 count;
};

struct mm_struct___rss_percpu {
	struct percpu_counter___rss rss_stat[4];
};

/* Before it: four atomic counters. */
struct atomic_long___rss {
	s64 counter;
};

struct mm_rss_stat___atomic {
	struct atomic_long___rss count[4];
};

struct mm_struct___rss_atomic {
	struct mm_rss_stat___atomic rss_stat;
};

/* One pointer for each controller, and how many there are depends on the kernel's build. */
struct css_set___one {
	struct cgroup_subsys_state *subsys[1];
};

/* task_lock(): with PREEMPT_RT it is another kind of lock, and without SMP it has no state. */
struct task_struct___spinning {
	struct {
		struct {
			struct {
				struct {
					int counter;
				} val;
			} raw_lock;
		} rlock;
	} alloc_lock;
};

/* The numbers come from ebpf_base.h. */
struct bpf_map___typed {
	enum bpf_map_type map_type;
};

/*
 * Before Linux commit 80ee81e0403c ("bpf: Eliminate rlimit-based memory accounting infra for bpf
 * maps") (in v5.11): what a map was charged for.
 */
struct bpf_map_memory___charged {
	u32 pages;
};

struct bpf_map___charged {
	struct bpf_map_memory___charged memory;
};

/* Linux commit 90a5527d7686 ("bpf: add new map ops ->map_mem_usage") (in v6.4). */
struct bpf_map_ops___usage {
	void *map_mem_usage;
};

/*
 * Linux commit 25954730461a ("bpf: add percpu stats for bpf_map elements insertions/deletions")
 * (in v6.6); NULL for maps whose elements are not counted.
 */
struct bpf_map___counting {
	s64 *elem_count;
};

/* Linux commit 20b6cc34ea74 ("bpf: Avoid hashtab deadlock with map_locked") (in v5.11), until 6.15. */
struct bpf_htab___locked {
	int *map_locked[8];
};

/*
 * Linux commit 86fe28f7692d ("bpf: Optimize element count in non-preallocated hash map.") (in v6.1), and
 * of the same kernel the allocator of such maps' elements.
 */
struct bpf_mem_alloc___any {
	void *cache;
};

struct percpu_counter___split {
	s64 count;
	s32 *counters;
};

struct bpf_htab___allocating {
	struct bpf_mem_alloc___any ma;
	struct percpu_counter___split pcount;
	bool use_percpu_counter;
};

/* One of several structures of this name; the one with these members is meant. */
struct bucket___listed {
	struct {
		void *first;
	} head;
};

/* Linux commit 700d4796ef59 ("bpf: Optimize program stats") (in v5.12); before it in the aux part. */
struct bpf_prog___counting {
	void *stats;
};

/* Linux commit 61a0abaee209 ("bpf: Use u64_stats_t in struct bpf_prog_stats") (in v5.16). */
struct u64_stats___any {
	s64 any;
};

struct bpf_prog_stats___typed {
	struct u64_stats___any cnt;
	struct u64_stats___any nsecs;
	struct u64_stats___any misses;
};

struct bpf_prog_stats___plain {
	u64 cnt;
	u64 nsecs;
	u64 misses;
};

struct bpf_prog___tagged {
	u8 tag[8];
};

/* Linux commit aba64c7da983 ("bpf: Add verified_insns to bpf_prog_info and fdinfo") (in v5.16). */
struct bpf_prog_aux___verified {
	u32 verified_insns;
};

/* Linux commit 8520e224f547 ("bpf, cgroups: Fix cgroup v2 fallback on v1/v2 mixed mode") (in v5.15). */
struct sock_cgroup_data___pointer {
	struct cgroup *cgroup;
};

struct sock___pointer {
	struct sock_cgroup_data___pointer sk_cgrp_data;
};

/* Before it: a pointer whose two low bits say that it is something else. */
struct sock_cgroup_data___tagged {
	u64 val;
};

struct sock___tagged {
	struct sock_cgroup_data___tagged sk_cgrp_data;
};

/* A probe made at run time: kernels without CONFIG_KPROBE_EVENTS have none of this. */
struct list_head___next {
	void *next;
};

struct trace_event_call___named {
	char *name;
};

struct trace_probe_event___any {
	struct trace_event_call___named call;
	struct list_head___next probes;
};

struct trace_probe___any {
	struct list_head___next list;
	struct trace_probe_event___any *event;
};

struct kprobe___counting {
	unsigned long nmissed;
};

struct kretprobe___counting {
	struct kprobe___counting kp;
	int nmissed;
};

struct trace_kprobe___any {
	struct kretprobe___counting rp;
	unsigned long *nhit;
	struct trace_probe___any tp;
};

/* What a perf event of a kprobe leads to; without CONFIG_BPF_EVENTS there is no program. */
struct perf_event_attr___typed {
	u32 type;
};

struct perf_event___traced {
	struct perf_event_attr___typed attr;
	struct trace_event_call___named *tp_event;
	struct bpf_prog *prog;
};

/* From 5.15 on, the link that holds a perf event. */
enum bpf_link_type___held {
	BPF_LINK_TYPE_PERF_EVENT___held = 7,
};

struct bpf_link___held {
	enum bpf_link_type___held type;
	struct bpf_prog *prog;
};

struct bpf_perf_link___any {
	struct bpf_link___held link;
	struct file *perf_file;
};

#pragma clang attribute pop

/*
 * Size of a page in bytes, read off a structure whose two counters stand on a page each. What is
 * compiled on the host is told, because no kernel header has that structure.
 */
static __always_inline u64 compat_page_bytes(void)
{
#ifdef EBPF_PAGE_BYTES
	return EBPF_PAGE_BYTES;
#else
	return bpf_core_field_offset(struct bpf_ringbuf, producer_pos) -
	       bpf_core_field_offset(struct bpf_ringbuf, consumer_pos);
#endif
}

/*
 * Size of a kernel stack in bytes: 16 KiB on x86-64 and arm64, but never less than a page. (Kernels
 * built with KASAN have more.)
 */
static __always_inline u64 compat_thread_bytes(void)
{
	u64 page_bytes = compat_page_bytes();

	return page_bytes > 16384 ? page_bytes : 16384;
}

static __always_inline s64 compat_positive(s64 count)
{
	return count > 0 ? count : 0;
}

/* Where one of the counters stands in the kernel's struct bpf_prog_stats. */
#define compat_stats_offset(counter)                                             \
	(bpf_core_field_exists(struct bpf_prog_stats___typed, counter)           \
		 ? bpf_core_field_offset(struct bpf_prog_stats___typed, counter) \
		 : bpf_core_field_offset(struct bpf_prog_stats___plain, counter))

/*
 * Memory of an address space in pages, resident and swapped: the counters of file, anonymous, swap
 * and shmem pages, without what each CPU has not added to them yet (a few dozen pages).
 */
static __always_inline s64 compat_mm_pages(struct mm_struct *mm)
{
	struct mm_struct___rss_percpu *percpu = (void *)mm;
	struct mm_struct___rss_atomic *atomic = (void *)mm;

	if (bpf_core_field_exists(percpu->rss_stat[0].count))
		return compat_positive(BPF_CORE_READ(percpu, rss_stat[0].count)) +
		       compat_positive(BPF_CORE_READ(percpu, rss_stat[1].count)) +
		       compat_positive(BPF_CORE_READ(percpu, rss_stat[2].count)) +
		       compat_positive(BPF_CORE_READ(percpu, rss_stat[3].count));
	if (bpf_core_field_exists(atomic->rss_stat.count[0].counter))
		return compat_positive(BPF_CORE_READ(atomic, rss_stat.count[0].counter)) +
		       compat_positive(BPF_CORE_READ(atomic, rss_stat.count[1].counter)) +
		       compat_positive(BPF_CORE_READ(atomic, rss_stat.count[2].counter)) +
		       compat_positive(BPF_CORE_READ(atomic, rss_stat.count[3].counter));
	return 0;
}

/* Whether somebody holds task_lock(task); true where the kernel does not tell. */
static __always_inline bool compat_task_locked(struct task_struct *task)
{
	struct task_struct___spinning *spinning = (void *)task;

	if (!bpf_core_field_exists(spinning->alloc_lock.rlock.raw_lock.val.counter))
		return true;
	return BPF_CORE_READ(spinning, alloc_lock.rlock.raw_lock.val.counter) != 0;
}

/*
 * Group of a task in the hierarchy of the memory controller, on cgroup v1 and v2 alike; NULL on a
 * kernel without that controller.
 */
static __always_inline struct cgroup *compat_memory_group(struct task_struct *task)
{
	struct cgroup_subsys_state *state = 0;
	void *subsys;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	subsys = (void *)BPF_CORE_READ(task, cgroups) +
		 bpf_core_field_offset(struct css_set___one, subsys) +
		 bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) * sizeof(state);
	bpf_probe_read_kernel(&state, sizeof(state), subsys);
	return BPF_CORE_READ(state, cgroup);
}

/* Directory of that group, or NULL. */
static __always_inline struct kernfs_node *compat_memory_cgroup(struct task_struct *task)
{
	return BPF_CORE_READ(compat_memory_group(task), kn);
}

/*
 * The same by loads that the verifier checks, without a helper's call for each, where `task` is a
 * pointer whose type the verifier knows. The directory found is such a pointer, too.
 */
static __always_inline struct kernfs_node *compat_memory_cgroup_direct(struct task_struct *task)
{
	struct cgroup_subsys_state *state;
	void *subsys;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	subsys = (void *)task->cgroups + bpf_core_field_offset(struct css_set___one, subsys) +
		 bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) * sizeof(state);
	state = *(struct cgroup_subsys_state **)subsys;
	return state->cgroup->kn;
}

/*
 * Group of a socket in the hierarchy of cgroup v2, as of when the socket was made; NULL if it has
 * none. An accepted socket has that of its listener.
 */
static __always_inline struct cgroup *compat_socket_cgroup(struct sock *sk)
{
	struct sock___pointer *pointer = (void *)sk;
	struct sock___tagged *tagged = (void *)sk;
	u64 val;

	if (bpf_core_field_exists(pointer->sk_cgrp_data.cgroup))
		return BPF_CORE_READ(pointer, sk_cgrp_data.cgroup);
	if (!bpf_core_field_exists(tagged->sk_cgrp_data.val))
		return 0;
	val = BPF_CORE_READ(tagged, sk_cgrp_data.val);
	return val & 3 ? 0 : (struct cgroup *)val;
}

/*
 * The task with this id in the initial pid namespace, or NULL: the way of the kernel's own
 * find_task_by_pid_ns(), down the radix tree of the namespace, which every task's pid leads to.
 */
static __always_inline struct task_struct *compat_find_task(u32 pid)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct pid *found = BPF_CORE_READ(current, thread_pid);
	struct upid *initial;
	struct pid_namespace *ns = 0;
	void *first;
	u64 entry;

	if (!bpf_core_field_exists(struct pid_namespace, idr) ||
	    !bpf_core_field_exists(struct task_struct, pid_links))
		return 0;
	initial = (void *)found + bpf_core_field_offset(struct pid, numbers);
	bpf_core_read(&ns, sizeof(ns), &initial->ns);
	entry = (u64)BPF_CORE_READ(ns, idr.idr_rt.xa_head);
#pragma clang loop unroll(disable)
	for (int level = 0; level < 6; level++) {
		struct xa_node *node = (void *)(entry - 2);
		u64 slot;

		/* The low bits 10 mark an inner node, 00 a leaf. */
		if ((entry & 3) != 2)
			break;
		slot = (u64)pid >> (BPF_CORE_READ(node, shift) & 31);
		slot &= bpf_core_field_size(struct xa_node, slots) / sizeof(void *) - 1;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)node + bpf_core_field_offset(struct xa_node, slots) +
					      slot * sizeof(void *));
	}
	if (!entry || entry & 3)
		return 0;
	found = (void *)entry;
	/* The first of the lists of tasks is that of PIDTYPE_PID, and so is the first of the links. */
	first = BPF_CORE_READ(found, tasks[0].first);
	if (!first)
		return 0;
	return first - bpf_core_field_offset(struct task_struct, pid_links);
}

#endif /* __COMPAT_BPF_H__ */
