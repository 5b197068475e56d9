/* SPDX-License-Identifier: Apache-2.0 */
/* What C workers share: the clock, and the loop over the names of contenders on standard input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct contender {
	const char *name;
	/* Returns the check; takes the time by itself between start() and stop(). */
	uint64_t (*run)(void);
};

static double began, taken;

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void start(void)
{
	began = seconds();
}

static void stop(void)
{
	taken = seconds() - began;
}

static void fail(const char *what, int result)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-result));
	exit(1);
}

static int serve(const struct contender *contenders)
{
	char line[256];

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		const struct contender *one = contenders;
		uint64_t check;

		line[strcspn(line, "\n")] = 0;
		while (one->name && strcmp(one->name, line))
			one++;
		if (!one->name)
			fail(line, -2);
		check = one->run();
		printf("%.9f %llu\n", taken, (unsigned long long)check);
		fflush(stdout);
	}
	return 0;
}
