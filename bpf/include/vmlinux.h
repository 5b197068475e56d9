/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Printed by tools/ebpf_codegen/kernel_header.py from types.txt; DO NOT EDIT. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "ebpf_base.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_map_ops;
struct cgroup_root;
struct css_set;
struct file_operations;
struct mem_cgroup;
struct seq_file;
struct zonelist;

enum oom_constraint {
	CONSTRAINT_NONE = 0,
	CONSTRAINT_CPUSET = 1,
	CONSTRAINT_MEMORY_POLICY = 2,
	CONSTRAINT_MEMCG = 3,
};

struct oom_control {
	struct zonelist *zonelist;
	void *nodemask;
	struct mem_cgroup *memcg;
	int order;
	long unsigned int totalpages;
	struct task_struct *chosen;
	long int chosen_points;
	enum oom_constraint constraint;
};

struct hlist_node {
	struct hlist_node *next;
};

struct task_struct {
	void *stack;
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	long long unsigned int start_time;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
};

struct signal_struct {
	short int oom_score_adj;
	struct mm_struct *oom_mm;
};

struct mm_struct {
	struct {
		struct {
			long long int counter;
		} pgtables_bytes;
	};
};

struct hlist_head {
	struct hlist_node *first;
};

struct upid {
	struct pid_namespace *ns;
};

struct pid {
	struct hlist_head tasks[4];
	struct upid numbers[0];
};

struct xarray {
	void *xa_head;
};

struct idr {
	struct xarray idr_rt;
};

struct pid_namespace {
	struct idr idr;
};

struct xa_node {
	unsigned char shift;
	void *slots[64];
};

struct sock_common {
	short unsigned int skc_family;
	unsigned char skc_state;
};

struct sock {
	struct sock_common __sk_common;
	int sk_rcvbuf;
	int sk_sndbuf;
	short unsigned int sk_type;
	short unsigned int sk_protocol;
	struct socket *sk_socket;
};

struct tcp_sock {
	unsigned int rcv_nxt;
	unsigned int copied_seq;
	unsigned int write_seq;
	unsigned int snd_una;
};

struct socket {
	struct sock *sk;
};

struct sk_buff {
	struct sock *sk;
};

struct file {
	struct inode *f_inode;
	const struct file_operations *f_op;
	void *private_data;
};

struct inode {
	short unsigned int i_mode;
};

struct bpf_iter_meta {
	union {
		struct seq_file *seq;
	};
};

struct bpf_iter__task_file {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct task_struct *task;
	};
	unsigned int fd;
	union {
		struct file *file;
	};
};

struct bpf_iter__task_vma {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct task_struct *task;
	};
	union {
		struct vm_area_struct *vma;
	};
};

struct bpf_iter__bpf_map {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct bpf_map *map;
	};
};

struct bpf_iter__bpf_prog {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct bpf_prog *prog;
	};
};

struct bpf_iter__tcp {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct sock_common *sk_common;
	};
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct kernfs_node {
	const char *name;
	long long unsigned int id;
};

enum cgroup_subsys_id {
	memory_cgrp_id = 4,
};

struct bpf_ringbuf {
	int nr_pages;
	long unsigned int consumer_pos;
	long unsigned int producer_pos;
};

enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_map_lookup_percpu_elem = 195,
};

struct vm_area_struct {
	union {
		struct {
			long unsigned int vm_start;
			long unsigned int vm_end;
		};
	};
	struct file *vm_file;
};

struct bpf_map {
	const struct bpf_map_ops *ops;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int max_entries;
	unsigned int map_flags;
	unsigned int id;
	struct btf *btf;
	char name[16];
	_Bool frozen;
};

struct btf {
	unsigned int id;
};

struct bpf_array {
	unsigned int elem_size;
	union {
		struct {
			void *ptrs[0];
		};
		struct {
			void *pptrs[0];
		};
	};
};

struct bpf_htab {
	unsigned int n_buckets;
	unsigned int elem_size;
	struct {
		int counter;
	} count;
};

struct bpf_ringbuf_map {
	struct bpf_ringbuf *rb;
};

struct lpm_trie {
	long unsigned int n_entries;
	long unsigned int data_size;
};

struct lpm_trie_node {
	unsigned int prefixlen;
};

struct bpf_queue_stack {
	unsigned int head;
	unsigned int tail;
	unsigned int size;
};

struct bpf_event_entry {
	struct perf_event *event;
};

struct perf_event {
	long long unsigned int id;
	struct perf_buffer *rb;
};

struct perf_buffer {
	int nr_pages;
};

enum bpf_prog_type {
	BPF_PROG_TYPE_UNSPEC = 0,
};

struct bpf_prog {
	short unsigned int pages;
	short unsigned int jited : 1;
	short unsigned int gpl_compatible : 1;
	enum bpf_prog_type type;
	unsigned int len;
	unsigned int jited_len;
	struct bpf_prog_aux *aux;
};

struct bpf_prog_aux {
	unsigned int id;
	unsigned int func_cnt;
	struct bpf_prog **func;
	struct bpf_prog *prog;
	struct user_struct *user;
	long long unsigned int load_time;
	char name[16];
	struct btf *btf;
};

struct user_struct {
	struct {
		unsigned int val;
	} uid;
};

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
