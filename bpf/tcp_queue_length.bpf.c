/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long the queues of TCP sockets are: per control group the longest receive queue, of bytes
 * which nobody has read yet, and the longest send queue, of bytes which the other side has not
 * acknowledged yet.
 *
 * Hooks, best first, of which one variant is loaded:
 *   fentry, kprobe      tcp_recvmsg(), before it empties the receive queue, and the return of
 *                       tcp_sendmsg(), after it has filled the send queue.
 *   kprobe_only         The same by kprobes, without the iterators, for kernels without BTF.
 *   tp_btf_send_length  The tracepoints skb:skb_copy_datagram_iovec, which comes before a piece of
 *                       the receive queue is copied and taken off, and sock:sock_send_length.
 *   tp_btf_probe        The former, and tcp:tcp_probe for the send queue, before an acknowledgement
 *                       shortens it; for kernels without sock_send_length.
 *   iter                No hook at all.
 * In all variants but kprobe_only the iterators task_file and tcp walk all sockets when they are asked
 * to. Nothing else sees a reader that never reads.
 *
 * Kernel: 5.9 (iterators); sock_send_length 6.3, fentry needs a BPF trampoline, kprobe
 * CONFIG_KPROBES.
 * Cost: with tracepoints some 70 ns for each call that reads or writes; 0.2 us for each open file
 * when the iterators run, and half a millisecond for the table of all connections.
 *
 * Caveats: whoever reads or writes is charged with the queue, not who opened the socket. The
 * tracepoint tcp_probe comes in interrupts, where only the socket tells its group, in the hierarchy
 * of cgroup v2; if the memory controller is in another hierarchy, tp_btf_probe leaves send queues
 * to the iterators. The iterator tcp only adds sockets that no file stands for (not accepted yet,
 * or closed with data left), of the network namespace of the task that reads it. Two tasks that
 * update the same maximum on one CPU at once may lose the smaller or the larger of the two.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "compat.bpf.h"
#include "probe.bpf.h"
#include "tcp_queue_length.h"

#define AF_INET	    2
#define AF_INET6    10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define S_IFMT	    0170000
#define S_IFSOCK    0140000

/* States in which the queues are queues of data, as bits: others use the fields for other ends. */
#define TCP_DATA_STATES                                                               \
	(1 << 1 /* ESTABLISHED */ | 1 << 4 /* FIN_WAIT1 */ | 1 << 5 /* FIN_WAIT2 */ | \
	 1 << 8 /* CLOSE_WAIT */ | 1 << 9 /* LAST_ACK */ | 1 << 11 /* CLOSING */)

/* A control group as far as it is needed: the id now, the name when the group is new. */
struct tcp_queue_owner {
	__u64 cgroup_id;
	const char *name;
};

/* The longest queues by cgroup id, since somebody took the entry out. Room for 1024 cgroups. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct tcp_queue_stats);
} tcp_queues SEC(".maps");

/*
 * The control groups of tcp_queues by their ids, never taken out: the name would make each update
 * of tcp_queues slower. The oldest make room for new ones.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tcp_queue_key);
} tcp_cgroups SEC(".maps");

/* The socket that a thread is in tcp_sendmsg() with, for the variant kprobe; key: the thread id. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
} tcp_sending SEC(".maps");

/*
 * Samples that were not kept, because tcp_queues was full or the socket of a tcp_sendmsg() that
 * returned was not known any more. One counter.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tcp_lost SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&tcp_lost, &zero);

	if (lost)
		*lost += 1;
}

/* The owner of a socket that `task` uses, a pointer whose type the verifier knows. */
static __always_inline struct tcp_queue_owner task_owner(struct task_struct *task)
{
	struct kernfs_node *directory = compat_memory_cgroup_direct(task);
	struct tcp_queue_owner owner = {};

	if (directory) {
		owner.cgroup_id = directory->id;
		owner.name = directory->name;
	}
	return owner;
}

/* The owner of a socket that current uses, on kernels without BTF, too. */
static __always_inline struct tcp_queue_owner current_owner_read(void)
{
	struct kernfs_node *directory = compat_memory_cgroup((void *)bpf_get_current_task());
	struct tcp_queue_owner owner;

	owner.cgroup_id = BPF_CORE_READ(directory, id);
	owner.name = BPF_CORE_READ(directory, name);
	return owner;
}

/* The same with fewer calls of helpers, where the kernel knows the type of current. */
static __always_inline struct tcp_queue_owner current_owner(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return task_owner(bpf_get_current_task_btf());
	return current_owner_read();
}

/*
 * The owner of a socket by the group in which it was made. Its id is 0 if the memory controller is
 * in another hierarchy than cgroup v2, whose groups sockets remember; `current` can be any task.
 */
static __always_inline struct tcp_queue_owner socket_owner(struct sock *sk)
{
	struct cgroup *any = compat_memory_group((void *)bpf_get_current_task());
	struct cgroup *cgroup = compat_socket_cgroup(sk);
	struct tcp_queue_owner owner = {};
	struct kernfs_node *directory;

	if (!any || !cgroup || BPF_CORE_READ(any, root) != BPF_CORE_READ(cgroup, root))
		return owner;
	directory = BPF_CORE_READ(cgroup, kn);
	owner.cgroup_id = BPF_CORE_READ(directory, id);
	owner.name = BPF_CORE_READ(directory, name);
	return owner;
}

static __always_inline void fill_key(struct tcp_queue_key *key, struct tcp_queue_owner *owner)
{
	/* Strings do not fill their arrays. */
	__builtin_memset(key, 0, sizeof(*key));
	key->cgroup_id = owner->cgroup_id;
	bpf_probe_read_kernel_str(key->cgroup, sizeof(key->cgroup), owner->name);
}

/* The longest queues of a control group on this CPU; NULL if there is no room for the group. */
static __always_inline struct tcp_queue_stats *find_stats(struct tcp_queue_owner *owner)
{
	struct tcp_queue_stats *stats = bpf_map_lookup_elem(&tcp_queues, &owner->cgroup_id);
	struct tcp_queue_stats none = {};
	struct tcp_queue_key key;

	if (stats)
		return stats;
	/* The name first: whoever finds the entry wants to know it. */
	fill_key(&key, owner);
	bpf_map_update_elem(&tcp_cgroups, &owner->cgroup_id, &key, BPF_ANY);
	bpf_map_update_elem(&tcp_queues, &owner->cgroup_id, &none, BPF_NOEXIST);
	stats = bpf_map_lookup_elem(&tcp_queues, &owner->cgroup_id);
	if (!stats)
		count_lost();
	return stats;
}

/* Thousandths of the buffer, 0 if it has no size. */
static __always_inline __u32 permille(__u32 queue_bytes, __u32 buffer_bytes)
{
	__u64 result;

	if (!buffer_bytes)
		return 0;
	result = (__u64)queue_bytes * 1000 / buffer_bytes;
	return result > 0xffffffff ? 0xffffffff : result;
}

static __always_inline void keep_read(struct tcp_queue_stats *stats, __u32 queue, __u32 buffer)
{
	__u32 share = permille(queue, buffer);

	if (queue > stats->read_queue_max_bytes)
		stats->read_queue_max_bytes = queue;
	if (share > stats->read_queue_max_permille)
		stats->read_queue_max_permille = share;
}

static __always_inline void keep_write(struct tcp_queue_stats *stats, __u32 queue, __u32 buffer)
{
	__u32 share = permille(queue, buffer);

	if (queue > stats->write_queue_max_bytes)
		stats->write_queue_max_bytes = queue;
	if (share > stats->write_queue_max_permille)
		stats->write_queue_max_permille = share;
}

/*
 * Bytes from one sequence number to a later one. Sequence numbers wrap. The fields are read without
 * the socket's lock, so the later one may be read as the earlier.
 */
static __always_inline __u32 distance(__u32 from, __u32 to)
{
	__u32 bytes = to - from;

	return (__s32)bytes > 0 ? bytes : 0;
}

static __always_inline bool has_data_state(__u8 state)
{
	return state < 32 && TCP_DATA_STATES >> state & 1;
}

/* Note the receive queue of a socket whose type the verifier knows, for current. */
static __always_inline void note_read(struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct tcp_queue_owner owner;
	struct tcp_queue_stats *stats;

	if (!tcp || !has_data_state(sk->__sk_common.skc_state))
		return;
	owner = current_owner();
	stats = find_stats(&owner);
	if (stats)
		keep_read(stats, distance(tcp->copied_seq, tcp->rcv_nxt), sk->sk_rcvbuf);
}

/* Note the send queue of a socket whose type the verifier knows. */
static __always_inline void note_write(struct sock *sk, struct tcp_queue_owner *owner)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct tcp_queue_stats *stats;

	if (!tcp || !has_data_state(sk->__sk_common.skc_state))
		return;
	stats = find_stats(owner);
	if (stats)
		keep_write(stats, distance(tcp->snd_una, tcp->write_seq), sk->sk_sndbuf);
}

/* The same of a socket by its address alone. */
static __always_inline void note_read_at(struct sock *sk, struct tcp_queue_owner *owner)
{
	struct tcp_sock *tcp = (void *)sk;
	struct tcp_queue_stats *stats;

	if (!has_data_state(BPF_CORE_READ(sk, __sk_common.skc_state)))
		return;
	stats = find_stats(owner);
	if (stats)
		keep_read(stats,
			  distance(BPF_CORE_READ(tcp, copied_seq), BPF_CORE_READ(tcp, rcv_nxt)),
			  BPF_CORE_READ(sk, sk_rcvbuf));
}

static __always_inline void note_write_at(struct sock *sk, struct tcp_queue_owner *owner)
{
	struct tcp_sock *tcp = (void *)sk;
	struct tcp_queue_stats *stats;

	if (!has_data_state(BPF_CORE_READ(sk, __sk_common.skc_state)))
		return;
	stats = find_stats(owner);
	if (stats)
		keep_write(stats,
			   distance(BPF_CORE_READ(tcp, snd_una), BPF_CORE_READ(tcp, write_seq)),
			   BPF_CORE_READ(sk, sk_sndbuf));
}

static __always_inline bool is_tcp(__u16 family, __u16 type, __u16 protocol)
{
	return (family == AF_INET || family == AF_INET6) && type == SOCK_STREAM &&
	       protocol == IPPROTO_TCP;
}

/* Write a row of an iterator for a socket, unless both of its queues are empty. */
static __always_inline void write_row(struct seq_file *seq, struct sock *sk,
				      struct tcp_queue_owner *owner)
{
	struct tcp_sock *tcp = (void *)sk;
	struct tcp_queue row = {};
	__u32 read = distance(BPF_CORE_READ(tcp, copied_seq), BPF_CORE_READ(tcp, rcv_nxt));
	__u32 write = distance(BPF_CORE_READ(tcp, snd_una), BPF_CORE_READ(tcp, write_seq));

	if (!read && !write)
		return;
	fill_key(&row.key, owner);
	keep_read(&row.stats, read, BPF_CORE_READ(sk, sk_rcvbuf));
	keep_write(&row.stats, write, BPF_CORE_READ(sk, sk_sndbuf));
	bpf_seq_write(seq, &row, sizeof(row));
}

/* Note the receive queue before it is read, by a BPF trampoline. */
SEC("?fentry/tcp_recvmsg")
VARIANT(fentry)
int tcp_recv_fentry(__u64 *ctx)
{
	note_read((void *)ctx[0]);
	return 0;
}

/* Note the send queue after it was written to, by a BPF trampoline. */
SEC("?fexit/tcp_sendmsg")
VARIANT(fentry)
int tcp_send_fexit(__u64 *ctx)
{
	struct tcp_queue_owner owner = current_owner();

	note_write((void *)ctx[0], &owner);
	return 0;
}

/* Note the receive queue before it is read, by a breakpoint. */
SEC("?kprobe/tcp_recvmsg")
VARIANT(kprobe)
VARIANT(kprobe_only)
int tcp_recv_kprobe(struct pt_regs *ctx)
{
	struct tcp_queue_owner owner = current_owner_read();

	note_read_at((void *)PT_REGS_PARM1(ctx), &owner);
	return 0;
}

/* Note the send queue before it is written to, and the socket for the return of the function. */
SEC("?kprobe/tcp_sendmsg")
VARIANT(kprobe)
VARIANT(kprobe_only)
int tcp_send_kprobe(struct pt_regs *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct tcp_queue_owner owner = current_owner_read();
	__u64 sk = PT_REGS_PARM1(ctx);

	bpf_map_update_elem(&tcp_sending, &thread, &sk, BPF_ANY);
	/* The kernel skips returns if too many threads wait inside the function. */
	note_write_at((void *)sk, &owner);
	return 0;
}

/* Note the send queue after it was written to, by a breakpoint. */
SEC("?kretprobe/tcp_sendmsg")
VARIANT(kprobe)
VARIANT(kprobe_only)
int tcp_kretprobe(struct pt_regs *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *sk = bpf_map_lookup_elem(&tcp_sending, &thread);
	struct tcp_queue_owner owner;

	if (!sk) {
		count_lost();
		return 0;
	}
	owner = current_owner_read();
	note_write_at((void *)*sk, &owner);
	bpf_map_delete_elem(&tcp_sending, &thread);
	return 0;
}

/* Note the send queue after it was written to, of sockets of all kinds. */
SEC("?tp_btf/sock_send_length")
VARIANT(tp_btf_send_length)
int tcp_send_tp_btf(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_queue_owner owner;

	if (!is_tcp(sk->__sk_common.skc_family, sk->sk_type, sk->sk_protocol))
		return 0;
	owner = current_owner();
	note_write(sk, &owner);
	return 0;
}

/* Note the receive queue before a piece of it is read, of sockets of all kinds. */
SEC("?tp_btf/skb_copy_datagram_iovec")
VARIANT(tp_btf_send_length)
VARIANT(tp_btf_probe)
int tcp_copy_tp_btf(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct sock *sk = skb->sk;
	struct tcp_queue_owner owner;

	if (!sk || !is_tcp(sk->__sk_common.skc_family, sk->sk_type, sk->sk_protocol))
		return 0;
	owner = current_owner();
	note_read_at(sk, &owner);
	return 0;
}

/* Note the send queue when a segment has come in, before its acknowledgement is looked at. */
SEC("?tp_btf/tcp_probe")
VARIANT(tp_btf_probe)
int tcp_ack_tp_btf(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_queue_owner owner = socket_owner(sk);

	if (owner.cgroup_id)
		note_write(sk, &owner);
	return 0;
}

/* Write a row for each TCP socket with data that some task has open, whatever its namespace. */
SEC("?iter/task_file")
VARIANT(fentry)
VARIANT(kprobe)
VARIANT(tp_btf_send_length)
VARIANT(tp_btf_probe)
VARIANT(iter)
int tcp_file_iter(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_queue_owner owner;
	struct sock *sk;

	/* A path to a socket, opened as such, has no socket. */
	if (!task || !file || (file->f_inode->i_mode & S_IFMT) != S_IFSOCK || !file->private_data)
		return 0;
	sk = BPF_CORE_READ((struct socket *)file->private_data, sk);
	if (!is_tcp(BPF_CORE_READ(sk, __sk_common.skc_family), BPF_CORE_READ(sk, sk_type),
		    BPF_CORE_READ(sk, sk_protocol)) ||
	    !has_data_state(BPF_CORE_READ(sk, __sk_common.skc_state)))
		return 0;
	owner = task_owner(task);
	write_row(ctx->meta->seq, sk, &owner);
	return 0;
}

/* Write a row for each TCP socket with data that no task has open. */
SEC("?iter/tcp")
VARIANT(fentry)
VARIANT(kprobe)
VARIANT(tp_btf_send_length)
VARIANT(tp_btf_probe)
VARIANT(iter)
int tcp_sock_iter(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_queue_owner owner;
	struct sock *sk;

	if (!common)
		return 0;
	sk = (void *)bpf_skc_to_tcp_sock(common);
	if (!sk || sk->sk_socket || !has_data_state(sk->__sk_common.skc_state))
		return 0;
	owner = socket_owner(sk);
	if (owner.cgroup_id)
		write_row(ctx->meta->seq, sk, &owner);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
