/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many bells, one who hears them: which of a thousand channels has something to look at.
 *
 * Theory of operation
 * -------------------
 * Who serves many channels cannot look at each of them all the time. A channel that is quiet is
 * armed (doorbell.h), and its peer, which then has to wake this side, sets the channel's bit in a
 * page that all of them share, and a bit of a summary word that says in which word of the page to
 * look. So a round over any number of quiet channels costs one load of the summary, which stays in
 * the cache until somebody rings.
 *
 * The page has a doorbell of its own for the time when its owner sleeps: a ringer that finds it
 * armed wakes the owner, by whatever means it has. Its "ring" is the summary word (barrier pair
 * [D]).
 *
 * Pages are used again. So each use has an id, never one that was used before, and the owner says
 * in the page which one it hears. A ringer that does not find its own there rings in vain, and has
 * to reach the owner otherwise. Nothing depends on when it sees the id: the owner says it while it
 * is awake, and looks at the page from then on.
 *
 * Ringers set the bit first and then the summary; the owner takes the summary first and then the
 * bits, one word of them at a time: barrier pair [K]. It may take a bit before its summary comes;
 * then it looks once for nothing.
 *
 * Who can write to the page can ring for nothing, and take back the bells of others: it lies in one
 * region with the channels of those that share it, and they could do worse to each other there.
 * The owner copes with any content: it does a bounded amount of work each time, and a bit that
 * belongs to nobody is dropped. What it has to look at is for it to find out; a bell says no more
 * than "look".
 */
#ifndef ZV_BELL_PAGE_H
#define ZV_BELL_PAGE_H

#include "doorbell.h"

#include <stdbool.h>
#include <stdint.h>

#define BELLS 4096u /* of a page */

/* The shared part, zeroed before its first use. */
struct bell_page {
	uint64_t words; /* bit i: there may be bits in bits[i] */
	uint8_t pad0[2 * SHM_CACHE_LINE - sizeof(uint64_t)];
	struct doorbell_word sleep; /* of the owner */
	uint64_t heard;		    /* the id by which the owner hears it; 0: by none */
	uint8_t pad1[SHM_CACHE_LINE - sizeof(uint64_t)];
	uint64_t bits[BELLS / 64];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct bell_page) == 768, "shared layout");

/* The owner's end; private. */
struct bell_owner {
	struct bell_page *page;
	struct doorbell sleep;
	uint64_t words; /* of the summary: taken, and bits[] not yet looked at */
};

/* A ringer's end, for any bells of a page; private. One thread at a time. */
struct bell_ringer {
	struct bell_page *page;
	struct doorbell_peer owner;
	uint64_t id;
};

/*
 * Takes the owner's end of a page: @mem, of sizeof(struct bell_page) bytes, 64-byte aligned. @id:
 * of this use, not 0. What the owner sleeps on is its own affair. 0, -EINVAL.
 */
int bells_open(struct bell_owner *o, void *mem, uint64_t id);
/* Rings are not heard any more. */
void bells_close(struct bell_owner *o);

/* Takes a ringer's end. @wake(@arg) wakes the owner: 0 or -errno. 0, -EINVAL. */
int bell_attach(struct bell_ringer *r, void *mem, uint64_t id, int (*wake)(void *arg), void *arg);

/* The owner hears what is rung from now on. */
static inline bool bells_heard(const struct bell_ringer *r)
{
	return shm_load64(&r->page->heard) == r->id;
}

/* Rings @bell < BELLS. 0 or -errno of the wake-up. */
int bell_ring(struct bell_ringer *r, uint32_t bell);

/* Some bell may have been rung. */
static inline bool bells_any(const struct bell_owner *o)
{
	return (o->words | shm_load64(&o->page->words)) != 0;
}

/*
 * Takes the bells of one word, whose turn it is: those that have a bit in *bits, *first being the
 * number of bit 0. False: none.
 */
bool bells_take(struct bell_owner *o, uint32_t *first, uint64_t *bits);

/* The owner is about to sleep. True: do not, there are bells. bells_disarm() in any case. */
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
