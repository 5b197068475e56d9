/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names that the runtime has for itself, or that come out the same. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum record {
	RECORD_name,
	RECORD_value,
	RECORD_mro,
	RECORD_real,
	RECORD__x_,
};

struct map {
	__u32 number;
};

struct case_maps {
	__u32 number;
};

struct open_case {
	__u32 number;
};

struct clash {
	__u32 asdict;
	__u32 raw;
	__u32 replace;
	__u32 from_bytes;
	__u32 zeroed;
	__u32 c_name;
	__u32 _block;
	__u32 _fields_;
	char text[4];
	char behind_text[4];
	__u32 u32;
	__u32 array[2];
	__u32 behind_array[2];
	struct map nested;
	struct map behind_nested;
	struct map Map_;
	enum record enumeration;
	enum record behind_enumeration;
	bool boolean;
	bool behind_boolean;
	__u8 padding[2];
	__u32 raw_;
	__u32 __x;
	__u32 _x;
};

struct Clash {
	struct case_maps maps;
	struct open_case open;
};

__u32 section;
__u32 _memory;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clash);
} _items SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct Clash);
} RingBuffer SEC(".maps");

SEC("raw_tp/sys_enter")
int Program(void *ctx)
{
	return section + _memory;
}
