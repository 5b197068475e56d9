/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map by libbpf in C: maps FD KEY_SIZE VALUE_SIZE CELLS ENTRIES LOOKUPS
 *
 * VALUE_SIZE is that of one cell, CELLS the possible CPUs of a per-CPU map, else 1. Keys count from 0 in their first
 * four bytes, values hold three times the key in their first eight.
 */
#include <bpf/bpf.h>
#include <errno.h>

#include "peer.h"

#define BATCH 4096

static int fd;
static uint32_t key_size, value_size, cells, entries, lookups;
static char *keys, *values;

static uint64_t word(const char *at)
{
	uint64_t value = 0;

	memcpy(&value, at, value_size < 8 ? value_size : 8);
	return value;
}

static uint64_t fill(void)
{
	uint32_t done, count, step = value_size * cells;

	start();
	for (done = 0; done < entries; done += count) {
		count = entries - done < BATCH ? entries - done : BATCH;
		memset(keys, 0, (size_t)count * key_size);
		memset(values, 0, (size_t)count * step);
		for (uint32_t i = 0; i < count; i++) {
			uint32_t key = done + i;

			memcpy(keys + (size_t)i * key_size, &key, 4);
			for (uint32_t cell = 0; cell < cells; cell++) {
				uint64_t value = 3ull * key;

				memcpy(values + (size_t)i * step + cell * value_size, &value,
				       value_size < 8 ? value_size : 8);
			}
		}
		int result = bpf_map_update_batch(fd, keys, values, &count, NULL);

		if (result)
			fail("fill the map", result);
	}
	stop();
	return entries;
}

/* Reads all; the sum of the values' first words, over all cells. */
static uint64_t dump(void)
{
	uint64_t sum = 0, token = 0;
	uint32_t count, step = value_size * cells;
	int result, first = 1;

	start();
	do {
		count = BATCH;
		result = bpf_map_lookup_batch(fd, first ? NULL : &token, &token, keys, values,
					      &count, NULL);
		if (result && result != -ENOENT)
			fail("read the map", result);
		first = 0;
		for (uint32_t i = 0; i < count; i++)
			for (uint32_t cell = 0; cell < cells; cell++)
				sum += word(values + (size_t)i * step + cell * value_size);
	} while (!result);
	stop();
	return sum;
}

static uint64_t count_by_batch(void)
{
	uint64_t total = 0, token = 0;
	uint32_t count;
	int result, first = 1;

	start();
	do {
		count = BATCH;
		result = bpf_map_lookup_batch(fd, first ? NULL : &token, &token, keys, values,
					      &count, NULL);
		if (result && result != -ENOENT)
			fail("count the map", result);
		first = 0;
		total += count;
	} while (!result);
	stop();
	return total;
}

static uint64_t lookup(void)
{
	uint64_t sum = 0;
	int result;

	start();
	for (uint32_t key = 0; key < lookups; key++) {
		memcpy(keys, &key, 4);
		result = bpf_map_lookup_elem(fd, keys, values);
		if (result)
			fail("look up", result);
		sum += word(values);
	}
	stop();
	return sum;
}

static uint64_t update(void)
{
	int result;

	start();
	for (uint32_t key = 0; key < lookups; key++) {
		uint64_t value = 3ull * key;

		memcpy(keys, &key, 4);
		memcpy(values, &value, 8);
		result = bpf_map_update_elem(fd, keys, values, BPF_ANY);
		if (result)
			fail("update", result);
	}
	stop();
	return lookups;
}

int main(int count, char **arguments)
{
	static const struct contender contenders[] = {
		{ "fill", fill },     { "dump", dump },	    { "count", count_by_batch },
		{ "lookup", lookup }, { "update", update }, {},
	};

	if (count != 7)
		return 2;
	fd = atoi(arguments[1]);
	key_size = atoi(arguments[2]);
	value_size = atoi(arguments[3]);
	cells = atoi(arguments[4]);
	entries = atoi(arguments[5]);
	lookups = atoi(arguments[6]);
	keys = calloc(BATCH, key_size < 8 ? 8 : key_size);
	values = calloc(BATCH, value_size * cells);
	if (!keys || !values)
		return 1;
	return serve(contenders);
}
