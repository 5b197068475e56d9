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
 * RINGBUF_RECORD(map, type) after a ring buffer or perf buffer: its records are of `type`. Only needed
 * where the calls that write them do not tell; where they do, they must agree. Several types may be
 * bound, each by a line of its own: they must differ in size, or be marked by KIND.
 * The pointer stands in a section of its own, which libbpf skips, so that it becomes no map.
 */
#define RINGBUF_RECORD(map, type) __BOUND_RECORD(ringbuf_record, map, type, __COUNTER__)
#define PERF_RECORD(map, type)	  RINGBUF_RECORD(map, type)

/*
 * ITER_RECORD(program, type) after an iterator program: each of its rows is one bpf_seq_write of a
 * `type`. Only needed where the calls do not tell.
 */
#define ITER_RECORD(program, type) __BOUND_RECORD(iter_record, program, type, __COUNTER__)

#define __BOUND_RECORD(section, name, type, number) __BOUND_POINTER(section, name, type, number)
#define __BOUND_POINTER(kind, name, type, number)       \
	const type *const __##kind##_##name##__##number \
		__attribute__((section("." #kind), used)) = (const type *)0

/*
 * KIND(enumerator) behind the member that tells the types of a stream's records apart: in records of
 * this type it has this value. It is of the same enum, and at the same place, in all of them.
 */
#define KIND(enumerator) __attribute__((btf_decl_tag("kind:" #enumerator)))

#endif /* __PROBE_BPF_H__ */
