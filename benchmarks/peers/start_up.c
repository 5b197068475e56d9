/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oom_kill by its libbpf skeleton, the variants tried in turn as Python tries them: the programs of a variant are
 * loaded and attached, and the first variant that does both stays.
 */
#include "oom_kill.skel.h"
#include <stdio.h>
#include <stdlib.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

static int works(int variant)
{
	struct oom_kill *probe = oom_kill__open();

	if (!probe)
		return 0;
	bpf_program__set_autoload(probe->progs.oom_kill_fentry, variant == 0);
	bpf_program__set_autoload(probe->progs.oom_kill_kprobe, variant == 1);
	bpf_program__set_autoload(probe->progs.oom_grp_raw_tp, variant < 2);
	bpf_program__set_autoload(probe->progs.oom_kill_raw_tp, variant == 2);
	if (!oom_kill__load(probe) && !oom_kill__attach(probe))
		return 1;
	oom_kill__destroy(probe);
	return 0;
}

/* An argument is the number of the only variant to try: what a C program does that knows its kernel. */
int main(int count, char **arguments)
{
	int first = count > 1 ? atoi(arguments[1]) : 0;

	libbpf_set_print(quiet);
	for (int variant = first; variant < 3; variant++)
		if (works(variant)) {
			puts("attached");
			fflush(stdout);
			return 0;
		}
	return 1;
}
