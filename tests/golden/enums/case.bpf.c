/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Enums of every size and sign; the common prefix goes where all have it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum mood {
	MOOD_BAD = -1,
	MOOD_NONE,
	MOOD_GOOD = 2147483647,
};

enum flag {
	FLAG_NONE = 0,
	FLAG_ALL = 0xffffffff,
};

enum wide {
	WIDE_LOW = 1,
	WIDE_TOP = 1ULL << 63,
};

enum deep {
	DEEP_BOTTOM = -(1LL << 62),
	DEEP_TOP = 1LL << 62,
};

enum __attribute__((packed)) small {
	SMALL_A,
	SMALL_B = 200,
};

enum mixed {
	MIXED_A,
	OTHER_B,
};

enum digits {
	DIGITS_1,
	DIGITS_2,
};

enum same {
	SAME_FIRST = 1,
	SAME_AGAIN = 1,
	SAME_SECOND,
};

enum {
	NAMELESS = 7,
};

typedef enum {
	ALIAS_A,
} alias_t;

struct enums {
	enum wide wide;
	enum deep deep;
	enum mood mood;
	enum flag flag;
	enum mixed mixed;
	enum digits digits;
	enum same same;
	alias_t alias;
	enum small small;
	__u8 pad0[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct enums);
} values SEC(".maps");
