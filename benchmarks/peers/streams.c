/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams by libbpf: streams ring FD | streams perf FD. Each run drains what is there; the check is the number of
 * records.
 */
#include <bpf/libbpf.h>

#include "peer.h"

#define PERF_PAGES 8192 /* 32 MiB */
#define ROOM	   (160 << 20)

static struct ring_buffer *ring;
static struct perf_buffer *perf;
static char *copy;
static size_t copied;
static uint64_t records;
static int by_copy;

static int on_ring_empty(void *context, void *data, size_t size)
{
	records++;
	return 0;
}

static int on_ring_copy(void *context, void *data, size_t size)
{
	memcpy(copy + copied, data, size);
	copied += size;
	records++;
	return 0;
}

static void on_perf(void *context, int cpu, void *data, uint32_t size)
{
	if (by_copy) {
		memcpy(copy + copied, data, size);
		copied += size;
	}
	records++;
}

static void on_lost(void *context, int cpu, unsigned long long count)
{
	fail("records were lost", -28);
}

static uint64_t drain_ring(ring_buffer_sample_fn callback, int fd)
{
	static ring_buffer_sample_fn current;
	int result;

	if (current != callback) {
		ring_buffer__free(ring);
		ring = ring_buffer__new(fd, callback, NULL, NULL);
		if (!ring)
			fail("ring_buffer__new", -1);
		current = callback;
	}
	records = copied = 0;
	start();
	result = ring_buffer__consume(ring);
	stop();
	if (result < 0)
		fail("ring_buffer__consume", result);
	return records;
}

static int fd;

static uint64_t ring_empty(void)
{
	return drain_ring(on_ring_empty, fd);
}

static uint64_t ring_copy(void)
{
	return drain_ring(on_ring_copy, fd);
}

static uint64_t drain_perf(void)
{
	int result;

	records = copied = 0;
	start();
	result = perf_buffer__consume(perf);
	stop();
	if (result < 0)
		fail("perf_buffer__consume", result);
	return records;
}

static uint64_t perf_empty(void)
{
	by_copy = 0;
	return drain_perf();
}

static uint64_t perf_copy(void)
{
	by_copy = 1;
	return drain_perf();
}

int main(int count, char **arguments)
{
	static const struct contender contenders[] = { { "ring empty", ring_empty },
						       { "ring copy", ring_copy },
						       { "perf empty", perf_empty },
						       { "perf copy", perf_copy },
						       {} };

	fd = atoi(arguments[2]);
	copy = malloc(ROOM);
	memset(copy, 1, ROOM); /* so that no page fault is timed: the buffer is reused */
	if (!strcmp(arguments[1], "perf")) {
		perf = perf_buffer__new(fd, PERF_PAGES, on_perf, on_lost, NULL, NULL);
		if (!perf)
			fail("perf_buffer__new", -1);
	}
	return serve(contenders);
}
