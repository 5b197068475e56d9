/* SPDX-License-Identifier: Apache-2.0 */
/* All maps of the system by id, as bpftool walks them, without printing. */
#include <bpf/bpf.h>
#include <unistd.h>

#include "peer.h"

static uint64_t walk(void)
{
	uint32_t id = 0;
	uint64_t found = 0;

	start();
	while (!bpf_map_get_next_id(id, &id)) {
		struct bpf_map_info info = {};
		uint32_t size = sizeof(info);
		int fd = bpf_map_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &size) && info.id == id)
			found++;
		close(fd);
	}
	stop();
	return found;
}

int main(void)
{
	static const struct contender contenders[] = { { "walk", walk }, {} };

	return serve(contenders);
}
