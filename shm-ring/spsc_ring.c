/* SPDX-License-Identifier: BSD-3-Clause */
#include "spsc_ring.h"

#include <stdbool.h>

size_t spsc_bytes(uint32_t entries, uint32_t entry_size)
{
	if (entries < 2 || entries > SPSC_SIZE_MAX || (entries & (entries - 1)))
		return 0;
	if (!entry_size || entry_size > SPSC_ENTRY_MAX || entry_size % 8)
		return 0;
	return sizeof(struct spsc_shared) + (size_t)entries * entry_size;
}

static bool usable(const void *mem, size_t room, uint32_t entries, uint32_t entry_size)
{
	size_t need = spsc_bytes(entries, entry_size);

	return mem && need && room >= need && (uintptr_t)mem % SHM_CACHE_LINE == 0;
}

int spsc_format(void *mem, uint32_t entries, uint32_t entry_size)
{
	struct spsc_shared *sh = mem;

	if (!usable(mem, SIZE_MAX, entries, entry_size))
		return -EINVAL;
	shm_store32(&sh->prod, 0);
	shm_store_release32(&sh->cons, 0);
	return 0;
}

int spsc_prod_init(struct spsc_prod *p, void *mem, size_t room, uint32_t entries,
		   uint32_t entry_size)
{
	if (!usable(mem, room, entries, entry_size))
		return -EINVAL;
	*p = (struct spsc_prod){.sh = mem, .mask = entries - 1, .entry_size = entry_size};
	return 0;
}

int spsc_cons_init(struct spsc_cons *c, void *mem, size_t room, uint32_t entries,
		   uint32_t entry_size)
{
	if (!usable(mem, room, entries, entry_size))
		return -EINVAL;
	*c = (struct spsc_cons){.sh = mem, .mask = entries - 1, .entry_size = entry_size};
	return 0;
}
