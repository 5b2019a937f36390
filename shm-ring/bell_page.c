/* SPDX-License-Identifier: BSD-3-Clause */
#include "bell_page.h"

#include <errno.h>

int bells_open(struct bell_owner *o, void *mem, int fd)
{
	*o = (struct bell_owner){.page = mem};
	if (!mem || (uintptr_t)mem % SHM_CACHE_LINE)
		return -EINVAL;
	o->sleep = (struct doorbell){.word = &o->page->sleep, .fd = fd};
	return 0;
}

bool bells_take(struct bell_owner *o, uint32_t *first, uint64_t *bits)
{
	uint32_t i;

	/* New words wait until those from before have had their turn. */
	if (!o->words)
		o->words = shm_take_acquire64(&o->page->words); /* barrier pair [K] */
	if (!o->words)
		return false;
	i = (uint32_t)__builtin_ctzll(o->words);
	o->words &= o->words - 1;
	*first = i * 64;
	*bits = shm_take_acquire64(&o->page->bits[i]); /* barrier pair [K] */
	return true;
}

int bell_attach(struct bell_ringer *r, void *mem, uint32_t bell, int fd)
{
	*r = (struct bell_ringer){.page = mem, .owner = {.fd = -1}, .bell = bell};
	if (!mem || (uintptr_t)mem % SHM_CACHE_LINE || bell >= BELLS)
		return -EINVAL;
	return doorbell_attach(&r->owner, &r->page->sleep, fd);
}

void bell_detach(struct bell_ringer *r)
{
	doorbell_detach(&r->owner);
}

int bell_ring(void *ringer)
{
	struct bell_ringer *r = ringer;
	uint32_t i = r->bell / 64;
	int ret;

	/* Barrier pair [K]: the bit, then where it is. */
	shm_or_release64(&r->page->bits[i], UINT64_C(1) << r->bell % 64); /* barrier pair [K] */
	shm_or_release64(&r->page->words, UINT64_C(1) << i);
	ret = doorbell_ring(&r->owner);
	return ret < 0 ? ret : 0;
}
