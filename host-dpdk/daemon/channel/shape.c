/* SPDX-License-Identifier: BSD-3-Clause */
#include "shape.h"

#define SMALL  (4u << 10)
#define MEDIUM (64u << 10)
#define LARGE  (1u << 20)

#define DEFAULT_SHARE 32u
#define DEFAULT_MAX   (8u << 20)

void channel_shape(struct shm_channel_desc *d, uint64_t bytes)
{
	uint64_t half = bytes / 2, large = half / 4 / LARGE, medium = half / 2 / MEDIUM;
	uint64_t small = (half - large * LARGE - medium * MEDIUM) / SMALL, need;
	struct shm_direction dir = {
		.entries = bytes < 2u << 20 ? 512 : 1024,
		.classes = large ? 3 : 2,
		.cls = {{SMALL, (uint32_t)small},
			{MEDIUM, (uint32_t)medium},
			{LARGE, (uint32_t)large}},
	};

	*d = (struct shm_channel_desc){.version = SHM_CHANNEL_VERSION, .length = bytes};
	d->dir[0] = d->dir[1] = dir;
	/* The rings come out of the small slots. */
	need = shm_channel_bytes(d) - bytes;
	dir.cls[0].slots -= (uint32_t)((need + 2 * SMALL - 1) / (2 * SMALL));
	d->dir[0] = d->dir[1] = dir;
}

static uint64_t power_of_two(uint64_t v)
{
	return v ? UINT64_C(1) << (63 - __builtin_clzll(v)) : 0;
}

uint64_t channel_bytes(uint64_t region, uint64_t wanted)
{
	uint64_t bytes = wanted ? wanted : region / DEFAULT_SHARE;

	if (!wanted && bytes > DEFAULT_MAX)
		bytes = DEFAULT_MAX;
	if (!wanted && bytes < CHANNEL_MIN)
		bytes = CHANNEL_MIN;
	if (bytes > region / 2)
		bytes = region / 2;
	bytes = power_of_two(bytes);
	return bytes < CHANNEL_MIN ? 0 : bytes;
}
