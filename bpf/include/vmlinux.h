/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Printed by tools/ebpf_codegen/kernel_header.py from types.txt; DO NOT EDIT. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "ebpf_base.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct cgroup_root;
struct css_set;
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
	union {
		struct file *file;
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
	long unsigned int consumer_pos;
	long unsigned int producer_pos;
};

enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
};

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
