/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waking a sleeper, without a system call while it is awake.
 *
 * Theory of operation
 * -------------------
 * Next to the ring lies one shared word, need_wakeup, in a cache line of its own. Only the sleeper
 * writes it: 0 while it polls, a fresh number each time it is about to sleep. The ringer looks at
 * it after each publish, and writes to the eventfd (or calls a function, where the sleeper is woken
 * by other means) once per number: a line that nobody writes stays in the ringer's cache, and a
 * sleeper that is slow to wake costs one system call, not one per message. The number has 64 bits
 * because a ringer does not ring for the number it rang for last: a narrower one could wrap to it
 * while the ringer is quiet, and that wake-up would be lost.
 *
 * The lost wake-up is excluded by barrier pair [D], a Dekker pair:
 *	sleeper: store need_wakeup, full barrier, look at the ring again, sleep if it is empty;
 *	ringer:  publish to the ring, full barrier, look at need_wakeup.
 * One of the two sees the other's store.
 *
 * The peer can write anything to the word. A hostile sleeper can make the ringer write to the
 * eventfd as often as the ringer publishes; a hostile ringer can wake the sleeper for nothing. Both
 * cost the time of a system call, and a sleeper always looks at its ring again. One risk remains:
 * whoever shares an eventfd shares its O_NONBLOCK flag and its counter, so a peer that clears the
 * flag and fills the counter can block the ringer. doorbell_ring() therefore asks poll(2) first. If
 * a peer is not even trusted to lose that race, ring it from a thread that may stall.
 */
#ifndef ZV_DOORBELL_H
#define ZV_DOORBELL_H

#include "shm_access.h"

#include <stdbool.h>
#include <stdint.h>

/* The shared part. */
struct doorbell_word {
	uint64_t need_wakeup; /* 0: the sleeper polls; else it sleeps, or is about to */
	uint8_t pad[SHM_CACHE_LINE - sizeof(uint64_t)];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct doorbell_word) == SHM_CACHE_LINE, "shared layout");

/* The sleeper's end; private. */
struct doorbell {
	struct doorbell_word *word;
	int fd; /* eventfd, owned; readable when rung. -1: the owner sleeps on something else */
	uint64_t turn; /* the last number written to need_wakeup */
	bool armed;
};

/* The ringer's end; private. */
struct doorbell_peer {
	const struct doorbell_word *word;
	int fd;			/* a duplicate of the sleeper's, owned; -1: none */
	int (*wake)(void *arg); /* instead of the eventfd; 0 or -errno */
	void *arg;
	uint64_t rung;	/* the number last rung for */
	uint64_t rings; /* system calls made to wake the peer */
};

/* Makes the eventfd and sets the word to "awake". 0, -EMFILE, -ENFILE, -ENOMEM. */
int doorbell_init(struct doorbell *d, struct doorbell_word *word);
void doorbell_fini(struct doorbell *d);

/* Takes the ringer's end; duplicates @fd. 0, -EINVAL (no eventfd), -EBADF, -EMFILE. */
int doorbell_attach(struct doorbell_peer *p, const struct doorbell_word *word, int fd);

/* For a sleeper that is woken by other means than an eventfd. Needs no doorbell_detach(). */
static inline void doorbell_attach_wake(struct doorbell_peer *p, const struct doorbell_word *word,
					int (*wake)(void *arg), void *arg)
{
	*p = (struct doorbell_peer){.word = word, .fd = -1, .wake = wake, .arg = arg};
}

void doorbell_detach(struct doorbell_peer *p);

/* First step of doorbell_arm(), for callers that arm several words with one barrier after them. */
static inline void doorbell_announce(struct doorbell *d)
{
	d->armed = true;
	shm_store64(&d->word->need_wakeup, ++d->turn);
}

/*
 * Announces that the owner is about to sleep. Look at the ring again after this, and sleep (poll on
 * d->fd, or doorbell_wait()) only if it is empty. Call doorbell_disarm() in any case when awake.
 */
static inline void doorbell_arm(struct doorbell *d)
{
	doorbell_announce(d);
	shm_mb(); /* barrier pair [D] */
}

/* Awake again: no more rings are wanted; a ring that has arrived is read from the eventfd. */
void doorbell_disarm(struct doorbell *d);

/* Sleeps until rung or for @timeout_ns (UINT64_MAX: no limit). 1 rung, 0 time out, -EINTR. */
int doorbell_wait(struct doorbell *d, uint64_t timeout_ns);

/*
 * True when the peer sleeps and was not rung for this sleep yet; the caller then has to call
 * doorbell_signal(). Call it after a full barrier.
 */
static inline bool doorbell_due(struct doorbell_peer *p)
{
	uint64_t turn = shm_load64(&p->word->need_wakeup);

	if (__builtin_expect(turn == 0 || turn == p->rung, 1))
		return false;
	p->rung = turn;
	return true;
}

/* Slow half of doorbell_ring(). 1 or -errno. */
int doorbell_signal(struct doorbell_peer *p);

/* Wakes the peer if it sleeps; call it after publishing. 1 rung, 0 no need, -errno. */
static inline int doorbell_ring(struct doorbell_peer *p)
{
	shm_mb(); /* barrier pair [D] */
	return doorbell_due(p) ? doorbell_signal(p) : 0;
}

#endif
