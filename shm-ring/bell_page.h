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
 * armed writes to the owner's eventfd. Its "ring" is the summary word (barrier pair [D]).
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

/* The shared part, zeroed at the beginning. */
struct bell_page {
	uint64_t words; /* bit i: there may be bits in bits[i] */
	uint8_t pad0[2 * SHM_CACHE_LINE - sizeof(uint64_t)];
	struct doorbell_word sleep; /* of the owner */
	uint8_t pad1[SHM_CACHE_LINE];
	uint64_t bits[BELLS / 64];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct bell_page) == 768, "shared layout");

/* The owner's end; private. Several pages may share an owner and its eventfd. */
struct bell_owner {
	struct bell_page *page;
	struct doorbell sleep;
	uint64_t words; /* of the summary: taken, and bits[] not yet looked at */
};

/* The end of one bell's ringer; private. */
struct bell_ringer {
	struct bell_page *page;
	struct doorbell_peer owner;
	uint32_t bell;
};

/*
 * Takes the owner's end of a page: @mem, of sizeof(struct bell_page) zeroed bytes, 64-byte aligned.
 * @fd is the eventfd on which the owner sleeps, and which ringers need; it remains the caller's. 0,
 * -EINVAL.
 */
int bells_open(struct bell_owner *o, void *mem, int fd);

/* Takes the ringer's end of @bell < BELLS; duplicates @fd. 0, -EINVAL, -EBADF, -EMFILE. */
int bell_attach(struct bell_ringer *r, void *mem, uint32_t bell, int fd);
void bell_detach(struct bell_ringer *r);

/* Rings. @ringer: struct bell_ringer; fit for shm_channel_opts.wake. 0 or -errno. */
int bell_ring(void *ringer);

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
