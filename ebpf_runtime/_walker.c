/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Python cannot do, or not fast: loads and stores of positions that order memory on every CPU, and the walk over
 * records of mixed sizes. Optional: without it the runtime walks in Python, and leaves CPUs that may reorder memory to
 * libbpf. Needs no library.
 */
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* Records in a ring buffer: length and flags, an offset of the kernel's, the data, 8-byte aligned. */
#define RING_HEADER    8
#define RING_BUSY      (1u << 31)
#define RING_DISCARDED (1u << 30)

/* Bytes from a header to what is fetched meanwhile: some records, within what is mapped or not. */
#define AHEAD 256

/* Records in a perf buffer: type, misc, size of the whole, then for a sample the size of its data, and the data. */
#define PERF_HEADER 8
#define PERF_LOST   2
#define PERF_SAMPLE 9

struct walked {
	uint64_t end;
	uint64_t count;
	uint64_t discarded;
	uint64_t lost;
	uint64_t smallest;
	uint64_t largest;
};

EXPORT uint64_t ebpf_walker_load(const uint64_t *position)
{
	return __atomic_load_n(position, __ATOMIC_ACQUIRE);
}

EXPORT void ebpf_walker_store(uint64_t *position, uint64_t value)
{
	__atomic_store_n(position, value, __ATOMIC_RELEASE);
}

/*
 * Notes the start of each committed record that begins in a run, up to the first that is still being written. Where a
 * record is tells only the one before it, so the way from header to header is kept short, and what comes soon is
 * fetched: the CPU's own guesses end with each page.
 */
EXPORT void ebpf_walker_ring(const unsigned char *run, uint64_t length, uint32_t *starts,
			     struct walked *walked)
{
	uint64_t position = 0, count = 0, discarded = 0;
	uint32_t smallest = UINT32_MAX, largest = 0;

	while (position < length) {
		uint32_t size =
			__atomic_load_n((const uint32_t *)(run + position), __ATOMIC_ACQUIRE);

		__builtin_prefetch(run + position + AHEAD);
		if (__builtin_expect(size >= RING_DISCARDED, 0)) {
			if (size & RING_BUSY)
				break;
			discarded++;
			size &= ~RING_DISCARDED;
		} else {
			starts[count++] = position + RING_HEADER;
			smallest = size < smallest ? size : smallest;
			largest = size > largest ? size : largest;
		}
		position = (position + size + RING_HEADER + 7) & ~7ull;
	}
	walked->end = position;
	walked->count = count;
	walked->discarded = discarded;
	walked->lost = 0;
	walked->smallest = smallest;
	walked->largest = largest;
}

/* Notes the start of each sample of a run of whole records, and adds up what the kernel had no room for. */
EXPORT void ebpf_walker_perf(const unsigned char *run, uint64_t length, uint32_t *starts,
			     struct walked *walked)
{
	uint64_t position = 0, count = 0, lost = 0;
	uint32_t smallest = UINT32_MAX, largest = 0;

	while (position + PERF_HEADER <= length) {
		uint32_t type = *(const uint32_t *)(run + position);
		uint16_t size = *(const uint16_t *)(run + position + 6);

		if (size < PERF_HEADER)
			break;
		if (type == PERF_SAMPLE) {
			uint32_t bytes = *(const uint32_t *)(run + position + PERF_HEADER);

			starts[count++] = position + PERF_HEADER + 4;
			smallest = bytes < smallest ? bytes : smallest;
			largest = bytes > largest ? bytes : largest;
		} else if (type == PERF_LOST) {
			lost += *(const uint64_t *)(run + position + PERF_HEADER + 8);
		}
		position += size;
	}
	walked->end = position;
	walked->count = count;
	walked->discarded = 0;
	walked->lost = lost;
	walked->smallest = smallest;
	walked->largest = largest;
}
