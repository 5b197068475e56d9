/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef LIMITS_H
#define LIMITS_H

/* The longest path that an event carries. */
#define PATH_BYTES   64
#define BUFFER_BYTES (PATH_BYTES * 1024ULL) /* sixteen pages */
#define NO_PID	     (-1)
#define ALL_BITS     0xffffffffffffffffULL
/* Where the tree hangs. */
#define ROOT          \
	"/sys/\"fs\"" \
	"/bpf"
#define _PRIVATE       3
#define AS_FUNCTION(x) (x)
#define NOT_CONSTANT   bpf_ktime_get_ns()
#define lower_case     1
#define GONE	       1
#undef GONE
#ifdef NEVER
#define ONLY_SOMETIMES 1
#endif

/* Bits of flags. */
enum {
	FLAG_READ = 1 << 0, /* may read */
	/* may write */
	FLAG_WRITE = 1 << 1,
	FLAG_BOTH = FLAG_READ | FLAG_WRITE,
};

/* Used by a record: a class of its own. */
enum mode {
	MODE_SLOW,
	MODE_FAST,
};

/* Used by nothing but the code. */
enum step {
	STEP_FIRST = 10,
	STEP_SECOND,
};

#endif
