/* SPDX-License-Identifier: BSD-3-Clause */
#include "map_limit.h"

#include <stdio.h>

#define USUAL 65530u /* the kernel's default, where the sysctl cannot be read */

static uint32_t all; /* atomic; 0: not known yet */

static uint32_t read_all(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned long n = 0;

	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		(void)fclose(f);
	if (n == 0)
		n = USUAL;
	return n < MAP_LIMIT_MAX ? (uint32_t)n : MAP_LIMIT_MAX;
}

static uint32_t get_all(void)
{
	uint32_t n = __atomic_load_n(&all, __ATOMIC_RELAXED);

	if (n == 0) {
		n = read_all();
		__atomic_store_n(&all, n, __ATOMIC_RELAXED);
	}
	return n;
}

uint32_t map_limit_peers(void)
{
	return get_all() / 4 * 3;
}

uint32_t map_limit_loans(void)
{
	return get_all() / 8 * 5;
}

void map_limit_set(uint32_t n)
{
	__atomic_store_n(&all, n, __ATOMIC_RELAXED);
}
