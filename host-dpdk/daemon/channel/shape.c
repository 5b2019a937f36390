/* SPDX-License-Identifier: BSD-3-Clause */
#include "shape.h"

#define SMALL	(4u << 10)
#define SMALL_2 (16u << 10) /* used where SMALL would give more than SHM_SLOTS_MAX slots */
#define MEDIUM	(64u << 10)
#define LARGE	(1u << 20)

#define DEFAULT_SHARE 32u
#define DEFAULT_MAX   (8u << 20)

/* Sets the slot classes for @room bytes: those of which at least one slot fits. */
static void classes(struct shm_direction *dir, uint32_t small, uint64_t room)
{
	const uint32_t size[] = {small, MEDIUM, LARGE};

	for (dir->classes = 0; dir->classes < 3; dir->classes++) {
		uint64_t slots = room / small * small / size[dir->classes];

		if (!slots)
			break;
		dir->cls[dir->classes] =
			(struct shm_slot_class){size[dir->classes], (uint32_t)slots};
	}
}

void channel_shape(struct shm_channel_desc *d, uint64_t bytes)
{
	struct shm_direction dir = {.entries = bytes < 2u << 20 ? 512 : 1024};
	uint32_t small = bytes > 256u << 20 ? SMALL_2 : SMALL;
	uint64_t rings;

	*d = (struct shm_channel_desc){.version = SHM_CHANNEL_NESTED, .length = bytes};
	classes(&dir, small, bytes / 2);
	d->dir[0] = d->dir[1] = dir;
	/* The rings take their memory from the slots: compute again with what is left. */
	rings = shm_channel_bytes(d) - 2ull * dir.cls[0].slots * small;
	classes(&dir, small, (bytes - rings) / 2);
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
