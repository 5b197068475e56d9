/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Printed by tools/ebpf_codegen/kernel_header.py from types.txt; DO NOT EDIT. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "ebpf_base.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct css_set;
struct mem_cgroup;
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

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct cgroup {
	struct kernfs_node *kn;
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

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
