/* SPDX-License-Identifier: Apache-2.0 */
/* tcp_tracer by its libbpf skeleton. */
#include "tcp_tracer.skel.h"
#include <stdio.h>

int main(void)
{
	struct tcp_tracer *probe = tcp_tracer__open_and_load();

	if (!probe || tcp_tracer__attach(probe))
		return 1;
	puts("attached");
	fflush(stdout);
	return 0;
}
