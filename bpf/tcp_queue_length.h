/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef __TCP_QUEUE_LENGTH_H__
#define __TCP_QUEUE_LENGTH_H__

#include "tags.bpf.h"

/* A control group, in the hierarchy of the memory controller. */
struct tcp_queue_key {
	/* Its kernfs id, the inode number of its directory; 0 on a kernel without the controller. */
	__u64 cgroup_id MEMORY_CGROUP_ID;
	/* Name of its directory (the last part of its path), empty for the root. */
	char cgroup[256];
};

/* The longest queues seen, each figure being the maximum for itself. */
struct tcp_queue_stats {
	/* Bytes that were received and not read yet. */
	__u64 read_queue_max_bytes;
	/* Bytes that were written and not acknowledged yet by the other side. */
	__u64 write_queue_max_bytes;
	/*
	 * The same in thousandths of the socket's SO_RCVBUF. A part of the buffer is overhead: with
	 * closed window 680 were seen on Linux 5.10 and 6.1, 975 from 6.12 on.
	 */
	__u32 read_queue_max_permille;
	/* The same in thousandths of the socket's SO_SNDBUF; may pass 1000 a little. */
	__u32 write_queue_max_permille;
};

/* The queues of one socket, or the longest queues of one control group. */
struct tcp_queue {
	struct tcp_queue_key key;
	struct tcp_queue_stats stats;
};

#endif /* __TCP_QUEUE_LENGTH_H__ */
