/* SPDX-License-Identifier: BSD-3-Clause */
#include "bell_page.h"

#include <errno.h>

static bool usable(const void *mem, uint64_t id)
{
	return mem && (uintptr_t)mem % SHM_CACHE_LINE == 0 && id;
}

int bells_open(struct bell_owner *o, void *mem, uint64_t id)
{
	*o = (struct bell_owner){.page = mem};
	if (!usable(mem, id))
		return -EINVAL;
	o->sleep = (struct doorbell){.word = &o->page->sleep, .fd = -1};
	shm_store64(&o->page->sleep.need_wakeup, 0);
	shm_store_release64(&o->page->listening, id);
	return 0;
}

void bells_close(struct bell_owner *o)
{
	shm_store64(&o->page->listening, 0);
}

bool bells_take(struct bell_owner *o, uint32_t *first, uint64_t *bits)
{
	uint32_t i;

	/* New words wait until the earlier ones have been served. */
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

int bell_attach(struct bell_ringer *r, void *mem, uint64_t id, int (*wake)(void *arg), void *arg)
{
	*r = (struct bell_ringer){.page = mem, .id = id};
	if (!usable(mem, id))
		return -EINVAL;
	doorbell_attach_wake(&r->owner, &r->page->sleep, wake, arg);
	return 0;
}

int bell_ring(struct bell_ringer *r, uint32_t bell)
{
	uint32_t i = bell / 64;
	int ret;

	/* Barrier pair [K]: the bit, then where it is. */
	shm_or_release64(&r->page->bits[i], UINT64_C(1) << bell % 64); /* barrier pair [K] */
	shm_or_release64(&r->page->words, UINT64_C(1) << i);
	ret = doorbell_ring(&r->owner);
	return ret < 0 ? ret : 0;
}
