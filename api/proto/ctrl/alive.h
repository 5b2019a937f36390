/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the host hears that a driver's process has died in a VM that lives on, and the driver that
 * its host has died (docs/protocol.md, "The death of a driver", "The death of the device").
 *
 * Theory of operation
 * -------------------
 * To the host a device without its process looks like one in a VM that is paused, and a time-out
 * would mistake the one for the other. The guest's kernel knows. So a driver keeps a word in the
 * region that it offers, in the page at its end, with the number of one of its threads, and has
 * that thread's *robust list* (set_robust_list(2)) name it: when the thread ends, by whatever
 * signal, the kernel replaces the number by FUTEX_OWNER_DIED, before the process's memory goes. In
 * a VM that stands still, or gets no CPU, nothing happens.
 *
 * The other way round a VMM that lives on tells its guest nothing of the death of the host's
 * process. So that process keeps a word in the driver's slot, by the same means.
 *
 * A region may be that of several guests: each has a slot, found by its CID.
 *
 * Both sides treat the page as hostile memory: what is wrong in it keeps a death from being heard
 * of, or is one that did not happen; whoever can write there has mapped the region, and could break
 * all its channels.
 */
#ifndef ZV_ALIVE_H
#define ZV_ALIVE_H

#include "shm_access.h"

#include <stddef.h>
#include <stdint.h>

#define ALIVE_BYTES 4096u /* at the end of a region: no channel uses them */
#define ALIVE_SLOTS 64u
#define ALIVE_MAGIC 0x5a564c49u /* "ZVLI": the upper half of a tag */
#define ALIVE_DIED  0x40000000u /* FUTEX_OWNER_DIED */

struct alive_slot {
	uint32_t owner; /* thread; 0: nobody; ALIVE_DIED */
	uint32_t reserved;
	uint64_t tag;  /* ALIVE_MAGIC << 32 | CID */
	uint32_t host; /* thread of the host; 0: no host; ALIVE_DIED */
	uint8_t pad[SHM_CACHE_LINE - 20];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct alive_slot) == SHM_CACHE_LINE, "shared layout");
_Static_assert(ALIVE_SLOTS * sizeof(struct alive_slot) == ALIVE_BYTES, "they fill the page");

static inline uint64_t alive_tag(uint64_t cid)
{
	return (uint64_t)ALIVE_MAGIC << 32 | (uint32_t)cid;
}

static inline struct alive_slot *alive_slots(void *region, size_t size)
{
	return (struct alive_slot *)(void *)((uint8_t *)region + size - ALIVE_BYTES);
}

/* The slot of @cid; @take: or a free one, which becomes that. NULL: there is none. */
static inline struct alive_slot *alive_find(struct alive_slot *s, uint64_t cid, int take)
{
	uint64_t tag = alive_tag(cid), was;

	for (uint32_t i = 0; i < ALIVE_SLOTS; i++)
		if (shm_load64(&s[i].tag) == tag)
			return &s[i];
	for (uint32_t i = 0; take && i < ALIVE_SLOTS; i++) {
		struct alive_slot *at = &s[(cid + i) % ALIVE_SLOTS];

		was = shm_load64(&at->tag);
		if (was >> 32 != ALIVE_MAGIC && shm_swap64(&at->tag, was, tag))
			return at;
	}
	return NULL;
}

#endif
