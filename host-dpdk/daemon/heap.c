/* SPDX-License-Identifier: BSD-3-Clause */
#include "heap.h"

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>

/*
 * Read by jemalloc at its start. Otherwise the threads that free memory return it, some time later,
 * within a call.
 */
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:0";

#define ALL_ARENAS "arena.4096." /* MALLCTL_ARENAS_ALL */

static size_t stat_of(const char *name)
{
	size_t value = 0, len = sizeof(value);

	return mallctl(name, &value, &len, NULL, 0) == 0 ? value : 0;
}

static bool much_is_free(void)
{
	uint64_t epoch = 1;

	(void)mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)); /* reads the statistics */
	return stat_of("stats.resident") > stat_of("stats.active") + HEAP_SLACK;
}

static void give_back(void)
{
	(void)mallctl(ALL_ARENAS "purge", NULL, NULL, NULL, 0);
}
#else
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

static size_t least; /* lowest value of held() since the last trim, including right after it */

/* Bytes of resident private memory, without the guests'. 0: unknown. */
static size_t held(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long resident, shared;
	int n = f ? fscanf(f, "%*u %lu %lu", &resident, &shared) : 0;

	if (f)
		(void)fclose(f);
	return n == 2 && resident > shared ? (resident - shared) * (size_t)sysconf(_SC_PAGESIZE)
					   : 0;
}

/* Of these, the bytes that malloc has allocated. */
static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static bool much_is_free(void)
{
	size_t have = held();

	if (have < least)
		least = have;
	return have >= least + HEAP_SLACK && have >= in_use() + HEAP_SLACK;
}

static void give_back(void)
{
	(void)malloc_trim(0);
	least = held();
}
#endif

void heap_check(void)
{
	static uint64_t next_ms; /* no look before */
	uint64_t now = now_ms();

	if (now < next_ms)
		return;
	next_ms = now + HEAP_CHECK_MS;
	if (much_is_free())
		give_back();
}
