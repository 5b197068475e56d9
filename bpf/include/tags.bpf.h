/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a member means. Each stands behind the name of a member, or behind that of a typedef for all
 * members of this type. The bindings keep the member as it is, and give its meaning an attribute of
 * its own, whose name is the member's (without `_ns`, `_id`) and what is in brackets.
 */
#ifndef __TAGS_BPF_H__
#define __TAGS_BPF_H__

#define __MEANS(what) __attribute__((btf_decl_tag("as:" what)))

/* UNIT("pages"): what is counted; it is shown where the member is documented. */
#define UNIT(unit) __attribute__((btf_decl_tag("unit:" unit)))

/* An IPv4 address, 4 bytes in network order: ipaddress.IPv4Address (_ip). */
#define IPV4 __MEANS("ipv4")
/* An IPv6 address, 16 bytes: ipaddress.IPv6Address (_ip). */
#define IPV6 __MEANS("ipv6")
/* A port, 2 bytes in network order: int (_host). */
#define PORT_BE __MEANS("port_be")

/* What bpf_ktime_get_ns() gave, 8 bytes: datetime in UTC (_time). */
#define TIMESTAMP_NS __MEANS("timestamp_ns")
/* What bpf_ktime_get_boot_ns() gave, 8 bytes: datetime in UTC (_time). */
#define TIMESTAMP_BOOT __MEANS("timestamp_boot")
/* What bpf_ktime_get_tai_ns() gave, 8 bytes: datetime in UTC (_time). */
#define TIMESTAMP_TAI __MEANS("timestamp_tai")

/* An error number, positive or negative: its name, "ENOENT" (_name). */
#define ERRNO __MEANS("errno")
/* The id of a cgroup of version 2, as bpf_get_current_cgroup_id() gives, 8 bytes: its path, "" if it is gone (_path). */
#define CGROUP_ID __MEANS("cgroup_id")
/* The id of a cgroup in the hierarchy of the memory controller, of version 1 or 2: the same (_path). */
#define MEMORY_CGROUP_ID __MEANS("memory_cgroup_id")
/* An address of the kernel's code or data, 8 bytes: "symbol+0x12" (_symbol). */
#define KSYM __MEANS("ksym")
/* Bytes that hold text up to the first NUL: str (_text). */
#define STRING __MEANS("string")

#endif /* __TAGS_BPF_H__ */
