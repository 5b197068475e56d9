/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Comments everywhere: this one is the module's. It is longer than a line of the module, so that it has to be broken
 * anew.
 *
 * A second paragraph, with a table:
 *   one    the first
 *   two    the second
 *
 * Kernel: 5.8.
 * Cost: none.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"

#define LIMIT 4 /* of no type,
                   over two lines; { */

/* Levels. "Quoted" and \\ escaped. */
enum level {
	/* Before. */
	LEVEL_LOW,
	LEVEL_HIGH = 7, /* Behind. */
	LEVEL_NONE,
};

/* not the struct's: a blank line follows */

/*
 * One event. Its comment is so long that it does not fit a line, and with """three quotes""" and
 * a backslash \ at a line's end.
 */
struct event {
	/* Before the time, nanoseconds. */
	__u64 time;
	__u32 pid; /* behind the process id */
	/*
	 * Over
	 * two lines, "quoted"
	 */
	enum level level;
	__u32 plain;
	// C++ style, before
	__u32 line;
	char comm[16]; // C++ style, behind
};

/* Verbose? */
const volatile bool verbose = false;
__u64 calls; /* behind the variable */

/* Events. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF); /* no comment of the map */
	__uint(max_entries, 4096);
} events SEC(".maps");
RINGBUF_RECORD(events, struct event);

/*
 * Count a call.
 *
 * In the first place.
 */
SEC("?kprobe/do_exit")
VARIANT(kprobe)
int count(void *ctx)
{
	/* inside */
	calls += verbose;
	return 0; /* at the end */
}
