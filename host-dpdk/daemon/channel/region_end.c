/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions that nobody refers to any more. Unmapping one may take long, so lcores leave it to the
 * main thread, which a timer wakes. A guest can have its region replaced thousands of times a
 * second; until they are unmapped, regions count as the guest's (regions_of()), because they keep
 * address space, descriptors and memory.
 */
#include "region_int.h"

#include "base/sparse.h"
#include "shape.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define WAKE_NS 20000000 /* after the first one; others may follow */

void region_mem_drop(struct region_mem *mem)
{
	if (mem->drop)
		mem->drop(mem->arg);
	else
		shm_region_destroy(&mem->at);
}

size_t region_at_bytes(uint64_t size)
{
	return (size / CHANNEL_MIN + 1) * sizeof(struct chan_part *);
}

void region_destroy(struct region *r)
{
	struct member *m;

	while ((m = TAILQ_FIRST(&r->members))) {
		TAILQ_REMOVE(&r->members, m, link);
		free(m);
	}
	region_mem_drop(&r->from);
	buddy_destroy(r->buddy);
	sparse_free(r->at, region_at_bytes(r->mem.size));
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->file_lock);
	free(r);
}

/* With regions.lock. */
static void wake_main(void)
{
	const struct itimerspec soon = {.it_value = {.tv_nsec = WAKE_NS}};

	if (!regions.waking && regions.timer >= 0)
		regions.waking = timerfd_settime(regions.timer, 0, &soon, NULL) == 0;
}

void region_put(struct region *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&regions.lock);
	if (--r->refs == 0) {
		TAILQ_REMOVE(&regions.all, r, link);
		TAILQ_INSERT_TAIL(&regions.dead, r, link);
		wake_main();
	}
	pthread_mutex_unlock(&regions.lock);
}

int regions_fd(void)
{
	pthread_mutex_lock(&regions.lock);
	if (regions.timer < 0)
		regions.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	pthread_mutex_unlock(&regions.lock);
	return regions.timer;
}

/* Those that have been put before @last, and that one. NULL: there are no more. */
static struct region *next_dead(const struct region *last)
{
	struct region *r;

	pthread_mutex_lock(&regions.lock);
	r = last ? TAILQ_FIRST(&regions.dead) : NULL;
	if (r)
		TAILQ_REMOVE(&regions.dead, r, link);
	pthread_mutex_unlock(&regions.lock);
	return r;
}

bool regions_check(void)
{
	const struct region *last;
	struct region *r;
	uint64_t times;

	pthread_mutex_lock(&regions.lock);
	/* It may not have expired yet, and is read later then: poll(2) would return for ever. */
	if (regions.waking && read(regions.timer, &times, sizeof(times)) == (ssize_t)sizeof(times))
		regions.waking = false;
	last = TAILQ_LAST(&regions.dead, region_list);
	pthread_mutex_unlock(&regions.lock);
	while ((r = next_dead(last))) {
		last = r == last ? NULL : last;
		region_destroy(r);
	}
	return __atomic_exchange_n(&regions.some_retired, false, __ATOMIC_ACQ_REL);
}
