/* SPDX-License-Identifier: BSD-3-Clause */
#include "latency.h"

#include <string.h>
#include <time.h>

#define LINE	  64u
#define LINES	  32u
#define AREA	  (LINES * LINE)
#define LOADS	  2048u
#define POSITIONS 3u /* a peer may be busy in one of them */
#define TRIES	  8u
#define MIN_TRIES 2u	    /* minimum tries of each place when memory is slow */
#define LIMIT_NS  30000000u /* behind which no further ones are */

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Nanoseconds of LOADS loads; the compiler does not know that each leads to the next line. */
static uint64_t loads(const uint8_t *at)
{
	static const volatile uint64_t zero;
	uint64_t mask = zero, step = 0, start;

	for (unsigned i = 0; i < LINES; i++)
		step |= *(const volatile uint64_t *)(const void *)(at + (size_t)i * LINE) & mask;
	start = now_ns();
	for (unsigned i = 0; i < LOADS; i++)
		step = *(const volatile uint64_t *)(const void *)(at + (i % LINES) * LINE + step) &
		       mask;
	return now_ns() - start + step;
}

static void keep_min(uint32_t *ps, uint64_t ns)
{
	uint64_t each = ns * 1000 / LOADS;

	if (each < *ps)
		*ps = (uint32_t)each;
}

void load_latency_measure(struct load_latency *l, const void *addr, size_t size)
{
	uint8_t ordinary[AREA + LINE] __attribute__((aligned(64)));
	const size_t last = (size - AREA) / LINE * LINE;
	const size_t place[POSITIONS] = {0, last / 2 / LINE * LINE, last};
	uint64_t begun = now_ns();

	memset(ordinary, 1, sizeof(ordinary));
	*l = (struct load_latency){.here = UINT32_MAX, .ordinary = UINT32_MAX};
	for (unsigned t = 0; t < TRIES && (t < MIN_TRIES || now_ns() - begun < LIMIT_NS); t++)
		for (unsigned i = 0; i < POSITIONS; i++) {
			keep_min(&l->ordinary, loads(ordinary));
			keep_min(&l->here, loads((const uint8_t *)addr + place[i]));
		}
}
