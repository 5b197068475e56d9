/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a probe tells the code generator what BPF C has no words for. */
#ifndef __PROBE_BPF_H__
#define __PROBE_BPF_H__

/*
 * VARIANT(name) before a program: the program belongs to the variant `name`, or to several of them.
 * The programs of one variant are loaded together, and of the variants only one. The best comes first:
 * variants are tried in the order in which the source first names them.
 */
#define VARIANT(name) __attribute__((btf_decl_tag("variant:" #name)))

/*
 * RINGBUF_RECORD(map, type) after a ring buffer: its records are of `type`. A ring buffer must not
 * name its value type (the kernel refuses that), and a type which nothing names never reaches BTF.
 * The pointer stands in a section of its own, which libbpf skips, so that it becomes no map.
 */
#define RINGBUF_RECORD(map, type)                \
	const type *const __ringbuf_record_##map \
		__attribute__((section(".ringbuf_record"), used)) = (const type *)0

/*
 * ITER_RECORD(program, type) after an iterator program: each of its rows is one bpf_seq_write of a
 * `type`.
 */
#define ITER_RECORD(program, type)                                                                 \
	const type *const __iter_record_##program __attribute__((section(".iter_record"), used)) = \
		(const type *)0

#endif /* __PROBE_BPF_H__ */
