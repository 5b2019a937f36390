/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many bells, one owner: which of a thousand channels needs attention.
 *
 * Theory of operation
 * -------------------
 * A thread that serves many channels cannot poll all of them all the time. It arms a quiet channel
 * (doorbell.h). The peer of an armed channel has to wake this side: it sets the channel's bit in a
 * page shared by all these channels, and a bit in a summary word that tells which word of the page
 * to look at. Checking any number of quiet channels thus costs one load of the summary, which stays
 * in the cache until somebody rings.
 *
 * The page has a doorbell of its own for when its owner sleeps: a ringer that finds it armed wakes
 * the owner, by whatever means it has. The "ring" that this doorbell guards is the summary word
 * (barrier pair [D]).
 *
 * Pages are reused, so each use has an id that was never used before, and the owner stores in the
 * page the id it listens to. A ringer that does not find its own id there rings in vain and has to
 * reach the owner by other means. It does not matter when the ringer sees the id: the owner stores
 * it while awake, and checks the page from then on.
 *
 * Ringers set the bit first and then the summary; the owner takes the summary first and then the
 * bits, one word at a time: barrier pair [K]. It may take a bit before the summary bit for it is
 * visible; the summary bit then causes one look that finds nothing.
 *
 * Anyone who can write to the page can ring for nothing, and clear the bells of others. The page
 * lies in the same region as the channels of those who share it, where they could do each other
 * worse harm. The owner copes with any content: it does a bounded amount of work each time, and
 * drops a bit that belongs to no channel. A bell only says "look"; the owner finds out what there
 * is to do.
 */
#ifndef ZV_BELL_PAGE_H
#define ZV_BELL_PAGE_H

#include "doorbell.h"

#include <stdbool.h>
#include <stdint.h>

#define BELLS 4096u /* per page */

/* The shared part, zeroed before its first use. */
struct bell_page {
	uint64_t words; /* bit i: bits[i] may have bits set */
	uint8_t pad0[2 * SHM_CACHE_LINE - sizeof(uint64_t)];
	struct doorbell_word sleep; /* the owner's doorbell */
	uint64_t listening;	    /* id the owner listens to; 0: it does not listen */
	uint8_t pad1[SHM_CACHE_LINE - sizeof(uint64_t)];
	uint64_t bits[BELLS / 64];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct bell_page) == 768, "shared layout");

/* The owner's end; private. */
struct bell_owner {
	struct bell_page *page;
	struct doorbell sleep;
	uint64_t words; /* bits taken from the summary whose bits[] were not looked at yet */
};

/* A ringer's end, for any bells of a page; private. Used by one thread at a time. */
struct bell_ringer {
	struct bell_page *page;
	struct doorbell_peer owner;
	uint64_t id;
};

/*
 * Takes the owner's end of a page. @mem: sizeof(struct bell_page) bytes, 64-byte aligned. @id: of
 * this use, not 0. How the owner is woken is up to the caller. Returns 0 or -EINVAL.
 */
int bells_open(struct bell_owner *o, void *mem, uint64_t id);
/* The owner no longer listens. */
void bells_close(struct bell_owner *o);

/*
 * Takes a ringer's end. @wake(@arg) wakes the owner and returns 0 or -errno. Returns 0 or -EINVAL.
 */
int bell_attach(struct bell_ringer *r, void *mem, uint64_t id, int (*wake)(void *arg), void *arg);

/* True when the owner listens to the ringer's id, so bells rung from now on are heard. */
static inline bool bells_listening(const struct bell_ringer *r)
{
	return shm_load64(&r->page->listening) == r->id;
}

/* Rings @bell < BELLS. Returns 0, or -errno of the wake-up. */
int bell_ring(struct bell_ringer *r, uint32_t bell);

/* Some bell may have been rung. */
static inline bool bells_any(const struct bell_owner *o)
{
	return (o->words | shm_load64(&o->page->words)) != 0;
}

/*
 * Takes the bells of the next word: *bits has the bits that were set, *first is the number of bit
 * 0. False: there are none.
 */
bool bells_take(struct bell_owner *o, uint32_t *first, uint64_t *bits);

/*
 * To be called before sleeping. True: there are bells, do not sleep. Call bells_disarm() in any
 * case.
 */
static inline bool bells_arm(struct bell_owner *o)
{
	doorbell_arm(&o->sleep);
	return bells_any(o);
}

static inline void bells_disarm(struct bell_owner *o)
{
	doorbell_disarm(&o->sleep);
}

#endif
