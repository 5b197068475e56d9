/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map and every program of the system, the buffers in perf event arrays, and the processes
 * that hold maps and programs.
 *
 * Hooks: iterators, which run when they are read and cost nothing in between. No syscall is
 * watched: what was made before the inventory is seen like everything else.
 *   bpf_map    maps, and another one for the buffers in the slots of perf event arrays
 *   bpf_prog   programs
 *   task_file  file descriptors of maps and programs, and another one for those of kprobes
 *   task_vma   mappings of maps (variant task_vma only)
 *
 * Kernel: 5.8; task_vma 5.12. Exact entry counts of every hash map 6.6, before it only of those
 * without preallocation; counters of programs 5.19, before it they are asked by bpf(2).
 * Cost: nothing until read; then 0.3 us per map.
 *
 * Caveats: the file descriptors of maps are recognised by their file operations, which the walk
 * learns from the inventory's own map: the first reading of file descriptors and mappings misses
 * what comes before that map, and is to be thrown away. The memory of some rare types of maps is not
 * known here (source UNKNOWN); kernels of 6.4 and newer tell it in the fdinfo of the map. All
 * readings of one loaded object share its scratch memory: read in one thread at a time.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "compat.bpf.h"
#include "probe.bpf.h"
#include "ebpf_inventory.h"

#define MAX_CPUS      4096 /* the most that x86-64 and arm64 kernels are built for */
#define MAX_FUNCTIONS 256  /* of one program, the kernel's own limit */
#define MAX_SLOTS     512  /* slots of a perf event array that one reading covers */

#define PERF_TYPE_TRACEPOINT 2
#define LINK_OF_PERF_EVENT   7 /* BPF_LINK_TYPE_PERF_EVENT, from 5.15 on */

/* Scratch memory: what is too large for the stack, and what as_number() needs. */
struct inventory_scratch {
	/* The perf buffer at hand. */
	struct inventory_perf_buffer buffer;
	/* An address on its way from a pointer to a number. */
	__u64 address;
};

/* Possible CPUs. */
const volatile __u32 possible_cpus = 1;

/* The type of perf events that are kprobes, as the kernel numbers it when it starts; 0: it has none. */
const volatile __u32 kprobe_event_type = 0;

/* The first slot of perf event arrays that a reading covers; it covers 512. */
__u32 first_slot = 0;

/*
 * What the kernel counts for each hash map beyond what is known here. Kernels from 6.15 on for a while
 * count locks that they have no more.
 */
__u32 hash_surplus_bytes = 0;

/* File operations of all maps, once learned. */
__u64 map_operations = 0;

/* Scratch memory, for the probe itself. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct inventory_scratch);
} inventory_work SEC(".maps");

/* Tells where each CPU's part of per-CPU memory is; for the probe itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} inventory_cpus SEC(".maps");

/* A hash map whose memory the kernel can be asked for, to know hash_surplus_bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} inventory_hash SEC(".maps");

/*
 * Linux commit 803370d3d375 ("bpf: add a new kfunc to return current bpf_map elements
 * count") (in v6.6).
 */
extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym __weak;

static __always_inline struct inventory_scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&inventory_work, &zero);
}

/* A pointer as a number: read back from memory it is one to the verifier, which else keeps its type. */
static __always_inline __u64 as_number(struct inventory_scratch *scratch, const void *pointer)
{
	volatile __u64 *address = &scratch->address;

	*address = (__u64)pointer;
	return *address;
}

/* Linux commit 07343110b293 ("bpf: add bpf_map_lookup_percpu_elem for percpu map") (in v5.19). */
static __always_inline bool finds_cpus(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_map_lookup_percpu_elem);
}

/*
 * What to add to a per-CPU pointer to get a CPU's part. The kernel's own table of it is out of reach
 * without CONFIG_KALLSYMS_ALL, but a value of ours on that CPU is such a sum.
 */
static __always_inline __u64 cpu_offset(struct inventory_scratch *scratch, __u32 cpu)
{
	__u64 map = as_number(scratch, &inventory_cpus);
	__u32 zero = 0;
	void *value = bpf_map_lookup_percpu_elem(&inventory_cpus, &zero, cpu);
	void *base = 0;

	bpf_probe_read_kernel(&base, sizeof(base),
			      (void *)map + bpf_core_field_offset(struct bpf_array, pptrs));
	return as_number(scratch, value) - (__u64)base;
}

static __always_inline __u64 round_up_to(__u64 size, __u64 unit)
{
	return (size + unit - 1) & ~(unit - 1);
}

static __always_inline bool is_hash(__u32 type)
{
	return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

static __always_inline bool is_array(__u32 type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_PROG_ARRAY || type == BPF_MAP_TYPE_PERF_EVENT_ARRAY ||
	       type == BPF_MAP_TYPE_CGROUP_ARRAY || type == BPF_MAP_TYPE_ARRAY_OF_MAPS;
}

static __always_inline bool is_ring(__u32 type)
{
	return type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_USER_RINGBUF;
}

/* Entries of a hash map without preallocation; kernels of 6.1 and newer may count per CPU. */
static __always_inline __s64 count_allocated(struct bpf_map *map)
{
	struct bpf_htab___allocating *allocating = (void *)map;
	struct inventory_scratch *scratch = get_scratch();
	struct bpf_htab *htab = (void *)map;
	__s64 count;
	void *parts;

	if (!bpf_core_field_exists(allocating->use_percpu_counter) ||
	    !BPF_CORE_READ(allocating, use_percpu_counter))
		return BPF_CORE_READ(htab, count.counter);
	if (!finds_cpus() || !scratch)
		return -1;
	count = BPF_CORE_READ(allocating, pcount.count);
	parts = BPF_CORE_READ(allocating, pcount.counters);
	for (__u32 cpu = 0; cpu < possible_cpus && cpu < MAX_CPUS; cpu++) {
		__s32 part = 0;

		bpf_probe_read_kernel(&part, sizeof(part), parts + cpu_offset(scratch, cpu));
		count += part;
	}
	return count;
}

static __always_inline __s64 count_entries(struct bpf_map *map, __u32 type)
{
	struct bpf_map___counting *counting = (void *)map;
	struct bpf_queue_stack *queue = (void *)map;
	struct lpm_trie *trie = (void *)map;
	__u32 head, tail;

	if (is_hash(type)) {
		if (bpf_core_field_exists(counting->elem_count) && bpf_map_sum_elem_count)
			return bpf_map_sum_elem_count(map);
		if (map->map_flags & BPF_F_NO_PREALLOC)
			return count_allocated(map);
		return -1;
	}
	if (type == BPF_MAP_TYPE_LPM_TRIE)
		return BPF_CORE_READ(trie, n_entries);
	if (type == BPF_MAP_TYPE_QUEUE || type == BPF_MAP_TYPE_STACK) {
		head = BPF_CORE_READ(queue, head);
		tail = BPF_CORE_READ(queue, tail);
		return head >= tail ? head - tail : head + BPF_CORE_READ(queue, size) - tail;
	}
	return -1;
}

static __always_inline __u64 array_bytes(struct bpf_map *map, __u32 type)
{
	__u64 bytes = bpf_core_type_size(struct bpf_array);
	struct bpf_array *array = (void *)map;
	__u64 entries = map->max_entries;
	__u64 elements = entries * BPF_CORE_READ(array, elem_size);

	if (type == BPF_MAP_TYPE_PERCPU_ARRAY)
		return bytes + entries * sizeof(void *) + elements * possible_cpus;
	if (map->map_flags & BPF_F_MMAPABLE)
		return round_up_to(bytes, compat_page_bytes()) +
		       round_up_to(elements, compat_page_bytes());
	return bytes + elements;
}

static __always_inline __u64 hash_bytes(struct bpf_map *map, __u32 type)
{
	bool percpu = type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	bool lru = type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	__u64 values = round_up_to(map->value_size, 8) * possible_cpus;
	__u64 bytes = bpf_core_type_size(struct bpf_htab) + hash_surplus_bytes;
	struct bpf_htab___locked *locked = (void *)map;
	struct bpf_htab *htab = (void *)map;
	__u64 element = BPF_CORE_READ(htab, elem_size);
	__u64 entries = map->max_entries;
	__s64 count;

	/* Behind the list's head stands a spin lock of 4 bytes; kernels that debug locks have more. */
	bytes += round_up_to(bpf_core_field_size(struct bucket___listed, head) + 4, 8) *
		 BPF_CORE_READ(htab, n_buckets);
	if (bpf_core_field_exists(locked->map_locked))
		bytes += sizeof(int) * 8 * possible_cpus;
	if (map->map_flags & BPF_F_NO_PREALLOC) {
		count = count_allocated(map);
		entries = count > 0 ? count : 0;
		/* bpf_mem_alloc keeps a list node beside each element, and two words per per-CPU one. */
		if (bpf_core_field_exists(struct bpf_htab___allocating, ma))
			element += percpu ? 24 : 8;
	} else if (!percpu && !lru) {
		/* One spare element for each CPU, and a pointer to it. */
		bytes += sizeof(void *) * possible_cpus;
		entries += possible_cpus;
	}
	return bytes + (element + (percpu ? values : 0)) * entries;
}

static __always_inline __u64 ring_pages(struct bpf_map *map)
{
	struct bpf_ringbuf_map *ring = (void *)map;

	return BPF_CORE_READ(ring, rb, nr_pages);
}

static __always_inline __u64 ring_bytes(struct bpf_map *map)
{
	__u64 data_pages = map->max_entries / compat_page_bytes();

	/* The data pages stand twice in the table of pages. */
	return bpf_core_type_size(struct bpf_ringbuf_map) + ring_pages(map) * compat_page_bytes() +
	       (ring_pages(map) + data_pages) * sizeof(void *);
}

static __always_inline __u64 queue_bytes(struct bpf_map *map)
{
	struct bpf_queue_stack *queue = (void *)map;

	return bpf_core_type_size(struct bpf_queue_stack) +
	       (__u64)BPF_CORE_READ(queue, size) * map->value_size;
}

static __always_inline __u64 trie_bytes(struct bpf_map *map)
{
	struct lpm_trie *trie = (void *)map;

	return (bpf_core_type_size(struct lpm_trie_node) + BPF_CORE_READ(trie, data_size) +
		map->value_size) *
	       BPF_CORE_READ(trie, n_entries);
}

static __always_inline void measure(struct inventory_map *row, struct bpf_map *map)
{
	struct bpf_map___charged *charged = (void *)map;
	__u32 type = row->type;

	row->memory_source = INVENTORY_MEMORY_SOURCE_COUNTED;
	if (is_hash(type)) {
		row->memory_bytes = hash_bytes(map, type);
	} else if (is_array(type)) {
		row->memory_bytes = array_bytes(map, type);
	} else if (is_ring(type)) {
		row->memory_bytes = ring_bytes(map);
	} else if (type == BPF_MAP_TYPE_QUEUE || type == BPF_MAP_TYPE_STACK) {
		row->memory_bytes = queue_bytes(map);
	} else if (type == BPF_MAP_TYPE_LPM_TRIE) {
		row->memory_bytes = trie_bytes(map);
	} else if (bpf_core_field_exists(charged->memory.pages)) {
		row->memory_bytes = BPF_CORE_READ(charged, memory.pages) * compat_page_bytes();
		row->memory_source = INVENTORY_MEMORY_SOURCE_CHARGED;
	} else {
		row->memory_bytes = -1;
		row->memory_source = INVENTORY_MEMORY_SOURCE_UNKNOWN;
	}
}

/* Tell a map's file by its operations, which the inventory's own map teaches. */
static __always_inline bool is_map_file(struct file *file)
{
	struct inventory_scratch *scratch = get_scratch();

	if (!scratch)
		return false;
	if (!map_operations &&
	    (__u64)BPF_CORE_READ(file, private_data) == as_number(scratch, &inventory_cpus))
		map_operations = (__u64)BPF_CORE_READ(file, f_op);
	return map_operations && (__u64)BPF_CORE_READ(file, f_op) == map_operations;
}

static __always_inline void write_holder(struct seq_file *seq, struct task_struct *task,
					 struct inventory_holder *row)
{
	row->pid = task->tgid;
	bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), task->group_leader->comm);
	bpf_seq_write(seq, row, sizeof(*row));
}

/* One row for each mapping of a map, also where its file descriptor is closed. First, so that its variant is the best. */
VARIANT(task_vma)
SEC("?iter/task_vma")
int inventory_vma(struct bpf_iter__task_vma *ctx)
{
	struct inventory_holder row = {};
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct bpf_map *map;
	struct file *file;

	if (!task || !vma)
		return 0;
	file = vma->vm_file;
	if (!file || !is_map_file(file))
		return 0;
	map = BPF_CORE_READ(file, private_data);
	row.hold = INVENTORY_HOLD_MAP_MAPPING;
	row.object_id = BPF_CORE_READ(map, id);
	row.mapped_bytes = vma->vm_end - vma->vm_start;
	write_holder(ctx->meta->seq, task, &row);
	return 0;
}

/* One row for each map. */
VARIANT(task_vma)
VARIANT(task_file)
SEC("?iter/bpf_map")
int inventory_map(struct bpf_iter__bpf_map *ctx)
{
	struct inventory_map row = {};
	struct bpf_map *map = ctx->map;
	struct bpf_map___typed *typed = (void *)map;
	struct bpf_ringbuf_map *ring = (void *)map;

	if (!map)
		return 0;
	row.id = map->id;
	row.type = (__u32)typed->map_type;
	row.key_size = map->key_size;
	row.value_size = map->value_size;
	row.max_entries = map->max_entries;
	row.flags = map->map_flags;
	row.btf_id = BPF_CORE_READ(map, btf, id);
	row.frozen = map->frozen;
	row.kernel_counts_memory = bpf_core_field_exists(struct bpf_map_ops___usage, map_mem_usage);
	bpf_probe_read_kernel_str(row.name, sizeof(row.name), map->name);
	row.entry_count = count_entries(map, row.type);
	measure(&row, map);
	if (is_ring(row.type)) {
		row.ring_bytes = ring_pages(map) * compat_page_bytes();
		row.unread_bytes = BPF_CORE_READ(ring, rb, consumer_pos);
		row.unread_bytes = BPF_CORE_READ(ring, rb, producer_pos) - row.unread_bytes;
	}
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

/*
 * Look for the buffer of the perf event that a slot at this address has, and describe it in the
 * scratch memory. A global function, which the verifier walks once and not for each slot.
 */
__noinline bool found_buffer(__u64 slot)
{
	struct inventory_scratch *scratch = get_scratch();
	struct bpf_event_entry *entry = 0;
	struct perf_event *event;
	struct perf_buffer *buffer;

	if (!scratch)
		return false;
	bpf_probe_read_kernel(&entry, sizeof(entry), (void *)slot);
	event = BPF_CORE_READ(entry, event);
	buffer = BPF_CORE_READ(event, rb);
	if (!buffer)
		return false;
	scratch->buffer.buffer = (__u64)buffer;
	scratch->buffer.event_id = BPF_CORE_READ(event, id);
	/* Its first page holds the positions. */
	scratch->buffer.memory_bytes =
		(BPF_CORE_READ(buffer, nr_pages) + 1ULL) * compat_page_bytes();
	return true;
}

/* One row for each buffer in a slot of a perf event array, for 512 slots from first_slot on. */
VARIANT(task_vma)
VARIANT(task_file)
SEC("?iter/bpf_map")
int inventory_perf(struct bpf_iter__bpf_map *ctx)
{
	struct inventory_scratch *scratch = get_scratch();
	struct bpf_map *map = ctx->map;
	struct bpf_map___typed *typed = (void *)map;
	struct seq_file *seq = ctx->meta->seq;
	struct inventory_perf_buffer *row;
	__u32 first = first_slot;
	__u32 entries;
	__u64 slots;

	if (!map || !scratch || (__u32)typed->map_type != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
		return 0;
	row = &scratch->buffer;
	row->map_id = map->id;
	entries = map->max_entries;
	slots = as_number(scratch, map) + bpf_core_field_offset(struct bpf_array, ptrs);
	for (__u32 i = 0; i < MAX_SLOTS; i++) {
		__u64 slot = first + i;

		if (slot >= entries)
			break;
		if (!found_buffer(slots + slot * sizeof(void *)))
			continue;
		row->slot = slot;
		bpf_seq_write(seq, row, sizeof(*row));
	}
	return 0;
}

/* Add up what every CPU has counted of a program. */
static __always_inline void count_runs(struct inventory_program *row, struct bpf_prog *prog)
{
	struct bpf_prog___counting *counting = (void *)prog;
	struct inventory_scratch *scratch = get_scratch();
	void *stats;

	if (!finds_cpus() || !scratch)
		return;
	row->has_counters = true;
	stats = BPF_CORE_READ(counting, stats);
	for (__u32 cpu = 0; cpu < possible_cpus && cpu < MAX_CPUS; cpu++) {
		void *part = stats + cpu_offset(scratch, cpu);
		__u64 count = 0, time_ns = 0, misses = 0;

		bpf_probe_read_kernel(&count, sizeof(count), part + compat_stats_offset(cnt));
		bpf_probe_read_kernel(&time_ns, sizeof(time_ns), part + compat_stats_offset(nsecs));
		bpf_probe_read_kernel(&misses, sizeof(misses), part + compat_stats_offset(misses));
		row->run_count += count;
		row->run_time_ns += time_ns;
		row->recursion_misses += misses;
	}
}

/*
 * The pages of a program's function in the upper half, the bytes of its machine code in the lower;
 * slot is the address of the pointer to it. A global function, which the verifier walks once.
 */
__noinline __u64 measure_function(__u64 slot)
{
	struct bpf_prog *function = 0;

	bpf_probe_read_kernel(&function, sizeof(function), (void *)slot);
	return (__u64)BPF_CORE_READ(function, pages) << 32 | BPF_CORE_READ(function, jited_len);
}

/* Sizes: of the program alone, or of all its functions, each of which is a program of its own. */
static __always_inline void measure_program(struct inventory_program *row, struct bpf_prog *prog)
{
	__u32 functions = row->function_count;
	__u64 pages = prog->pages;
	__u32 jited_bytes = 0;
	void *table;

	row->memlock_bytes = pages * compat_page_bytes();
	table = BPF_CORE_READ(prog, aux, func);
	for (__u32 i = 0; i < MAX_FUNCTIONS; i++) {
		__u64 measured;

		if (i >= functions)
			break;
		measured = measure_function((__u64)(table + i * sizeof(void *)));
		pages += measured >> 32;
		jited_bytes += (__u32)measured;
	}
	row->jited_bytes = functions ? jited_bytes : prog->jited_len;
	row->memory_bytes = pages * compat_page_bytes() + row->jited_bytes;
}

/* One row for each program. */
VARIANT(task_vma)
VARIANT(task_file)
SEC("?iter/bpf_prog")
int inventory_prog(struct bpf_iter__bpf_prog *ctx)
{
	struct inventory_program row = {};
	struct bpf_prog *prog = ctx->prog;
	struct bpf_prog_aux___verified *verified;
	struct bpf_prog___tagged *tagged = (void *)prog;
	struct bpf_prog_aux *aux;

	if (!prog)
		return 0;
	aux = prog->aux;
	verified = (void *)aux;
	row.id = aux->id;
	row.type = (__u32)prog->type;
	row.loaded_ns = aux->load_time;
	row.xlated_bytes = prog->len * 8;
	row.uid = BPF_CORE_READ(aux, user, uid.val);
	row.btf_id = BPF_CORE_READ(aux, btf, id);
	row.function_count = aux->func_cnt;
	row.jited = BPF_CORE_READ_BITFIELD_PROBED(prog, jited);
	row.gpl_compatible = BPF_CORE_READ_BITFIELD_PROBED(prog, gpl_compatible);
	bpf_core_read(&row.tag, sizeof(row.tag), &tagged->tag);
	bpf_probe_read_kernel_str(row.name, sizeof(row.name), aux->name);
	if (bpf_core_field_exists(verified->verified_insns))
		row.verified_instructions = BPF_CORE_READ(verified, verified_insns);
	measure_program(&row, prog);
	count_runs(&row, prog);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

/* One row for each file descriptor of a map or program. */
VARIANT(task_vma)
VARIANT(task_file)
SEC("?iter/task_file")
int inventory_file(struct bpf_iter__task_file *ctx)
{
	struct inventory_holder row = {};
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct bpf_prog *prog;
	struct bpf_map *map;

	/* A thread shares the file descriptors of its process. */
	if (!task || !file || task->pid != task->tgid)
		return 0;
	row.fd = ctx->fd;
	if (is_map_file(file)) {
		map = BPF_CORE_READ(file, private_data);
		row.hold = INVENTORY_HOLD_MAP_FD;
		row.object_id = BPF_CORE_READ(map, id);
		write_holder(ctx->meta->seq, task, &row);
		return 0;
	}
	/* A program knows the way back to itself; no other private data does. */
	prog = BPF_CORE_READ(file, private_data);
	if (prog && BPF_CORE_READ(prog, aux, prog) == prog) {
		row.hold = INVENTORY_HOLD_PROGRAM_FD;
		row.object_id = BPF_CORE_READ(prog, aux, id);
		write_holder(ctx->meta->seq, task, &row);
	}
	return 0;
}

/* Add up what every CPU has counted of a kprobe's hits. */
static __always_inline void count_hits(struct inventory_kprobe *row,
				       struct trace_kprobe___any *kprobe)
{
	struct inventory_scratch *scratch = get_scratch();
	void *parts;

	if (!finds_cpus() || !scratch)
		return;
	row->has_hits = true;
	parts = BPF_CORE_READ(kprobe, nhit);
	for (__u32 cpu = 0; cpu < possible_cpus && cpu < MAX_CPUS; cpu++) {
		__u64 part = 0;

		bpf_probe_read_kernel(&part, sizeof(part), parts + cpu_offset(scratch, cpu));
		row->hits += part;
	}
}

/* The perf event of a file, or that which its link holds; of other files, anything. */
static __always_inline struct perf_event___traced *event_of(struct file *file)
{
	struct bpf_perf_link___any *link = BPF_CORE_READ(file, private_data);
	struct bpf_prog *prog;

	if (bpf_core_type_exists(struct bpf_perf_link___any) &&
	    BPF_CORE_READ(link, link.type) == LINK_OF_PERF_EVENT) {
		prog = BPF_CORE_READ(link, link.prog);
		if (prog && BPF_CORE_READ(prog, aux, prog) == prog)
			return BPF_CORE_READ(link, perf_file, private_data);
	}
	return (void *)link;
}

/*
 * One row for each program on a kprobe. A file's private data is taken for a perf event only if what it
 * leads to leads back: the probe that an event lists belongs to that event.
 */
VARIANT(task_vma)
VARIANT(task_file)
SEC("?iter/task_file")
int inventory_probe(struct bpf_iter__task_file *ctx)
{
	struct inventory_kprobe row = {};
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct trace_probe_event___any *listing;
	struct trace_kprobe___any *kprobe;
	struct trace_probe___any *probe;
	struct perf_event___traced *event;
	void *call;
	__u32 type;

	if (!bpf_core_type_exists(struct trace_kprobe___any) ||
	    !bpf_core_field_exists(struct perf_event___traced, prog) || !kprobe_event_type)
		return 0;
	if (!task || !file || task->pid != task->tgid)
		return 0;
	event = event_of(file);
	type = BPF_CORE_READ(event, attr.type);
	call = BPF_CORE_READ(event, tp_event);
	if (!call || (type != kprobe_event_type && type != PERF_TYPE_TRACEPOINT))
		return 0;
	listing = call - bpf_core_field_offset(struct trace_probe_event___any, call);
	probe = BPF_CORE_READ(listing, probes.next) -
		bpf_core_field_offset(struct trace_probe___any, list);
	if (BPF_CORE_READ(probe, event) != listing)
		return 0;
	kprobe = (void *)probe - bpf_core_field_offset(struct trace_kprobe___any, tp);
	row.program_id = BPF_CORE_READ(event, prog, aux, id);
	if (!row.program_id)
		return 0;
	row.probe = (__u64)kprobe;
	row.in_tracefs = type == PERF_TYPE_TRACEPOINT;
	row.nesting_misses = BPF_CORE_READ(kprobe, rp.kp.nmissed);
	row.maxactive_misses = BPF_CORE_READ(kprobe, rp.nmissed);
	bpf_probe_read_kernel_str(row.name, sizeof(row.name), BPF_CORE_READ(listing, call.name));
	count_hits(&row, kprobe);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
