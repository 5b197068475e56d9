/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every task that the kernel kills because memory ran out: the victim, the task whose allocation
 * triggered the kill, their memory cgroups, and the numbers by which the victim was chosen.
 *
 * Hooks, best first, of which one variant is loaded:
 *   fentry, kprobe  oom_kill_process(), whose argument, struct oom_control, has all the numbers.
 *                   The kernel calls it once per kill, but a memory.oom.group kill takes several
 *                   tasks: the others are reported from the tracepoint oom:mark_victim.
 *   raw_tp          oom:mark_victim alone, for kernels without the other two. It passes the victim
 *                   only; the struct oom_control is a local variable of one of its callers, and is
 *                   looked for on the kernel stack of the triggering task, which is current.
 *
 * Kernel: 5.8 (ring buffer, BTF); fentry needs a BPF trampoline, kprobe CONFIG_KPROBES.
 * Cost: none unless a task is killed, then some 50 us with the search of the stack.
 *
 * Caveats: a task that dies only because it shares the victim's memory is not reported. A process
 * is reported once, while memory.events counts a member of a memory.oom.group kill twice if the
 * kernel comes across it twice. The search can fail (a kernel with larger stacks, KASAN for
 * instance): then the source of the event is RECOMPUTED. The kernel's oom_lock lets one kill happen
 * at a time, on the whole machine, and is held around all hooks; this is why neither the scratch
 * memory nor the latest kill is per CPU.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "compat.bpf.h"
#include "probe.bpf.h"
#include "oom_kill.h"

#define SCAN_WORDS 2048 /* 16 KiB, the size of a kernel stack on x86-64 and on most arm64 */
#define SCAN_PARTS 32	/* searched one after the other */
#define PART_WORDS (SCAN_WORDS / SCAN_PARTS)
#define SCAN_HITS  32	     /* a power of two; up to 17 were seen when the victim was current */
#define PID_LIMIT  (1 << 23) /* above every pid, below every kernel address */

/* The latest kill, as far as needed to recognise the further members of a memory.oom.group. */
struct oom_kill_latest {
	/* Address of the kernel's struct oom_control, on the stack of the triggering task. */
	__u64 control;
	/* Address of the first victim's task_struct. */
	__u64 victim;
	/* Thread id of the triggering task. */
	__u32 trigger_pid;
	/* Always zero. */
	__u8 pad0[4];
};

/* Scratch memory of the search for struct oom_control. */
struct oom_kill_scan {
	/* A copy of the kernel stack of the triggering task, lowest address first. */
	__u64 words[SCAN_WORDS];
	/* Which words point to the victim, the latest found overwriting the earliest. */
	__u32 hits[SCAN_HITS];
};

/* Search the kernel stack; if false, the variant raw_tp reports RECOMPUTED events only. */
const volatile bool scan_stack = true;

/* One record per killed task. 1 MiB is room for 1680 kills between two readings. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} oom_events SEC(".maps");

/*
 * Kills that were not reported: oom_events was full or, on kernels whose tracepoint passes a pid,
 * no task was found by it. One counter.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} oom_lost SEC(".maps");

/* The latest kill, for the probe itself. One entry: kills happen one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct oom_kill_latest);
} oom_latest SEC(".maps");

/*
 * Start times in nanoseconds of the processes last reported, by process id; for the probe itself.
 * The kernel marks another thread of a victim if the first gave up its memory before it looked at
 * the process again, so during the kill of one memory.oom.group the members must be remembered.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} oom_reported SEC(".maps");

/* Scratch memory, for the probe itself: too large for a BPF stack. One entry, as above. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct oom_kill_scan);
} oom_scan SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&oom_lost, &zero);

	if (lost)
		*lost += 1;
}

/* Whether the process of this task was not reported yet; from then on it was. */
static __always_inline bool first_report(struct task_struct *task)
{
	__u64 start_time = BPF_CORE_READ(task, group_leader, start_time);
	__u32 tgid = BPF_CORE_READ(task, tgid);
	__u64 *reported = bpf_map_lookup_elem(&oom_reported, &tgid);

	if (reported && *reported == start_time)
		return false;
	bpf_map_update_elem(&oom_reported, &tgid, &start_time, BPF_ANY);
	return true;
}

/*
 * Report one victim, once; `control` is NULL if it was not found, `source` tells how it was. A
 * function, because a copy in each program is most of what the compiler has to do on a host.
 */
static __noinline void report(struct task_struct *victim, struct oom_control *control,
			      enum oom_kill_source source, bool group_member)
{
	struct task_struct *trigger = (void *)bpf_get_current_task();
	__u64 trigger_ids = bpf_get_current_pid_tgid();
	struct oom_kill_event *event;
	struct kernfs_node *cgroup;

	if (!first_report(victim))
		return;
	event = bpf_ringbuf_reserve(&oom_events, sizeof(*event), 0);
	if (!event) {
		count_lost();
		return;
	}
	/* The ring buffer's memory holds older records, strings do not fill their arrays. */
	__builtin_memset(event, 0, sizeof(*event));

	event->timestamp_ns = bpf_ktime_get_ns();
	if (control) {
		event->score_points = BPF_CORE_READ(control, chosen_points);
		event->total_pages = BPF_CORE_READ(control, totalpages);
		event->constraint = (__u32)BPF_CORE_READ(control, constraint);
		event->is_memcg = BPF_CORE_READ(control, memcg) != 0;
	} else {
		struct mm_struct *mm = BPF_CORE_READ(victim, mm);

		if (!mm)
			mm = BPF_CORE_READ(victim, signal, oom_mm);
		event->score_points =
			compat_mm_pages(mm) +
			BPF_CORE_READ(mm, pgtables_bytes.counter) / compat_page_bytes();
		event->constraint = OOM_KILL_CONSTRAINT_UNKNOWN;
	}
	event->source = source;
	event->group_member = group_member;

	event->victim_pid = BPF_CORE_READ(victim, pid);
	event->victim_tgid = BPF_CORE_READ(victim, tgid);
	event->score_adj = BPF_CORE_READ(victim, signal, oom_score_adj);
	BPF_CORE_READ_STR_INTO(&event->victim_comm, victim, comm);
	cgroup = compat_memory_cgroup(victim);
	event->victim_cgroup_id = BPF_CORE_READ(cgroup, id);
	bpf_probe_read_kernel_str(event->victim_cgroup, sizeof(event->victim_cgroup),
				  BPF_CORE_READ(cgroup, name));

	event->trigger_pid = (__u32)trigger_ids;
	event->trigger_tgid = trigger_ids >> 32;
	bpf_get_current_comm(event->trigger_comm, sizeof(event->trigger_comm));
	cgroup = compat_memory_cgroup(trigger);
	event->trigger_cgroup_id = BPF_CORE_READ(cgroup, id);
	bpf_probe_read_kernel_str(event->trigger_cgroup, sizeof(event->trigger_cgroup),
				  BPF_CORE_READ(cgroup, name));

	bpf_ringbuf_submit(event, 0);
}

/* Start of a kill: return its victim, and remember it for the further members of its group. */
static __always_inline struct task_struct *chosen_victim(struct oom_control *control)
{
	struct task_struct *victim = BPF_CORE_READ(control, chosen);
	struct oom_kill_latest latest = {
		.control = (__u64)control,
		.victim = (__u64)victim,
		.trigger_pid = (__u32)bpf_get_current_pid_tgid(),
	};
	__u32 zero = 0;

	bpf_map_update_elem(&oom_latest, &zero, &latest, BPF_ANY);
	return victim;
}

/*
 * The latest kill if it is still going on, else NULL: it must be current's, and its oom_control, on
 * current's stack, must still name the victim. A finished kill fails at the latter, because the
 * kernel clears the oom_control of the next one, and the next oom_kill_process() overwrites ours.
 */
static __always_inline struct oom_kill_latest *ongoing_kill(void)
{
	struct task_struct *trigger = (void *)bpf_get_current_task();
	__u32 zero = 0;
	struct oom_kill_latest *latest = bpf_map_lookup_elem(&oom_latest, &zero);
	struct oom_control *control;

	if (!latest || latest->trigger_pid != (__u32)bpf_get_current_pid_tgid())
		return 0;
	control = (void *)latest->control;
	if (latest->control - (__u64)BPF_CORE_READ(trigger, stack) >= compat_thread_bytes())
		return 0;
	if (!latest->victim || (__u64)BPF_CORE_READ(control, chosen) != latest->victim)
		return 0;
	return latest;
}

/*
 * The task that oom:mark_victim passes, NULL if it is not being killed. Up to some stable release
 * of each series the argument was its pid. The kernel also marks, without killing it, a task that
 * finds no memory while it is dying: it then marks itself, not under its task_lock().
 */
static __noinline struct task_struct *marked_task(__u64 argument)
{
	struct task_struct *task = (void *)argument;

	if (argument < PID_LIMIT)
		task = compat_find_task(argument);
	if (!task) {
		count_lost();
		return 0;
	}
	if ((__u64)task == bpf_get_current_task() && !compat_task_locked(task))
		return 0;
	return task;
}

static __always_inline bool null_or_kernel(const void *address)
{
	return !address || (__s64)address < 0;
}

/*
 * Whether the memory at this address can be the struct oom_control of a kill. A global function,
 * which the verifier walks once and not for each of its callers' rounds.
 */
__noinline bool is_oom_control(__u64 address)
{
	struct oom_control *control = (void *)address;
	__u32 constraint = (__u32)BPF_CORE_READ(control, constraint);
	void *memcg = BPF_CORE_READ(control, memcg);
	int order = BPF_CORE_READ(control, order);

	/* The order is -1 for a kill asked for by SysRq. */
	return constraint <= OOM_KILL_CONSTRAINT_MEMCG &&
	       (constraint == OOM_KILL_CONSTRAINT_MEMCG) == (memcg != 0) && order >= -1 &&
	       order <= 16 && BPF_CORE_READ(control, totalpages) > 0 && null_or_kernel(memcg) &&
	       null_or_kernel(BPF_CORE_READ(control, zonelist)) &&
	       null_or_kernel(BPF_CORE_READ(control, nodemask));
}

/* 1 if the two are equal, else 0, in a way that the compiler cannot turn into a branch. */
static __always_inline __u64 words_equal(__u64 left, __u64 right)
{
	__u64 difference = left ^ right;

	difference |= -difference; /* the sign is now set if they differ */
	barrier_var(difference);
	difference >>= 63;
	barrier_var(difference);
	return difference ^ 1;
}

/*
 * Note which words of one part of the copied stack name the victim or its group leader, and return
 * how many were found by now. A global function, as above; and no branch in the loop, or the
 * verifier would walk every path of it in every round.
 */
__noinline __u32 scan_part(__u32 part, __u64 victim, __u64 leader, __u32 found)
{
	__u32 zero = 0;
	struct oom_kill_scan *scan = bpf_map_lookup_elem(&oom_scan, &zero);
	__u32 first = part % SCAN_PARTS * PART_WORDS;

	if (!scan)
		return found;
	for (__u32 i = 0; i < PART_WORDS; i++) {
		__u32 word = first + i;

		scan->hits[found % SCAN_HITS] = word;
		found += words_equal(scan->words[word], victim) |
			 words_equal(scan->words[word], leader);
	}
	return found;
}

/*
 * Find the struct oom_control of the kill on the stack of current: the word by which it names the
 * victim (or the victim's group leader), among members that are possible in it. The outermost
 * one is taken: inner frames hold copies of the pointer, but the structure is in an outer frame.
 */
static __always_inline struct oom_control *find_oom_control(struct task_struct *victim)
{
	struct task_struct *trigger = (void *)bpf_get_current_task();
	__u64 leader = (__u64)BPF_CORE_READ(victim, group_leader);
	__u32 zero = 0;
	struct oom_kill_scan *scan = bpf_map_lookup_elem(&oom_scan, &zero);
	__u32 found = 0;
	__u64 window;

	if (!scan)
		return 0;
	window = (__u64)BPF_CORE_READ(trigger, stack) + compat_thread_bytes() - sizeof(scan->words);
	if (bpf_probe_read_kernel(scan->words, sizeof(scan->words), (void *)window))
		return 0;

	for (__u32 part = 0; part < SCAN_PARTS; part++)
		found = scan_part(part, (__u64)victim, leader, found);

	for (__u32 i = 1; i <= SCAN_HITS && i <= found; i++) {
		__u64 word = window + scan->hits[(found - i) % SCAN_HITS] * sizeof(__u64);
		__u64 control = word - bpf_core_field_offset(struct oom_control, chosen);

		if (is_oom_control(control))
			return (void *)control;
	}
	return 0;
}

/* Report the victim that oom_kill_process() is called for, by a BPF trampoline. */
SEC("?fentry/oom_kill_process")
VARIANT(fentry)
int oom_kill_fentry(__u64 *ctx)
{
	struct oom_control *control = (void *)ctx[0];

	report(chosen_victim(control), control, OOM_KILL_SOURCE_ARGUMENT, false);
	return 0;
}

/* Report the victim that oom_kill_process() is called for, by a breakpoint. */
SEC("?kprobe/oom_kill_process")
VARIANT(kprobe)
int oom_kill_kprobe(struct pt_regs *ctx)
{
	struct oom_control *control = (void *)PT_REGS_PARM1(ctx);

	report(chosen_victim(control), control, OOM_KILL_SOURCE_ARGUMENT, false);
	return 0;
}

/* Report the further members of a memory.oom.group kill, beside oom_kill_process(). */
SEC("?raw_tp/mark_victim")
VARIANT(fentry)
VARIANT(kprobe)
int oom_grp_raw_tp(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *victim = marked_task(ctx->args[0]);
	struct oom_kill_latest *latest = ongoing_kill();

	if (victim && latest)
		report(victim, (void *)latest->control, OOM_KILL_SOURCE_ARGUMENT, true);
	return 0;
}

/* Report every victim, further members of a memory.oom.group kill included. */
SEC("?raw_tp/mark_victim")
VARIANT(raw_tp)
int oom_kill_raw_tp(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *victim = marked_task(ctx->args[0]);
	struct oom_control *control = 0;
	struct oom_kill_latest *latest;
	bool group_member = false;

	if (!victim)
		return 0;
	if (scan_stack)
		control = find_oom_control(victim);
	if (control) {
		victim = chosen_victim(control);
	} else {
		latest = ongoing_kill();
		if (latest) {
			control = (void *)latest->control;
			group_member = true;
		}
	}
	report(victim, control, control ? OOM_KILL_SOURCE_STACK : OOM_KILL_SOURCE_RECOMPUTED,
	       group_member);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
