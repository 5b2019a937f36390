/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private state of one end of a channel.
 *
 * Theory of operation
 * -------------------
 * Each direction has two mark rings (mark_ring.h): the message ring, written by the sender, and the
 * completion ring, in which the receiver returns slots. Neither side reads back what it has
 * written. The sender privately keeps the free lists and the state of each of its slots; the
 * receiver keeps which ring entries, and which of the sender's slots, it holds.
 *
 * The message ring has the configured size. The sender stays within what the receiver has released
 * by its index, cons, and loads that index only when the last value it has seen does not suffice.
 * The receiver publishes the index once per quarter of the ring and at the end of each burst. The
 * completion ring has an entry for each slot, so it cannot be full.
 *
 * A word of the message ring: bits 0-31 the length (the number, for a control message), 32-39 the
 * kind, 40-47 flags, 48-63 the mark. A message of two cache lines takes two entries; the word of
 * the second one says RING_SKIP, which nobody reads. A word of the completion ring: bits 0-31 the
 * slot, 32-47 its generation.
 *
 * A slot's generation counts how often it was sent. It is sent along and comes back with the slot,
 * so that a slot returned twice is not taken for one that has been sent again in between.
 */
#ifndef ZV_CHANNEL_INT_H
#define ZV_CHANNEL_INT_H

#include "channel_layout.h"
#include "mark_ring.h"

#include <errno.h>

enum ring_kind { RING_LINE1 = 1, RING_LINE2, RING_SLOT, RING_CONTROL, RING_SKIP };

#define RING_KIND_SHIFT	 32
#define RING_FLAGS_SHIFT 40
#define RING_GEN_SHIFT	 32
/* Entries that only control messages may use. */
#define RING_CONTROL_RESERVED 4u

/* SLOT_INSIDE: part of a larger slot that is not split. */
enum slot_state { SLOT_INSIDE, SLOT_FREE, SLOT_TAKEN, SLOT_SENT, SLOT_SPLIT };

struct slot {
	uint16_t gen;
	uint8_t state;	     /* enum slot_state */
	uint32_t next, prev; /* in a list */
	uint32_t parts;	     /* SLOT_SPLIT: how many of its parts are free or whole */
};

/* Slots of one class, in FIFO order. */
struct slot_list {
	uint32_t head, tail; /* ids, or SLOT_NONE */
	uint32_t n;
};

#define SLOT_NONE UINT32_MAX

struct slot_pool {
	uint8_t *mem;
	uint32_t size, first, slots; /* bytes of a slot; ids first .. first + slots - 1 */
	unsigned parts_shift; /* nested: log2 of how many slots of the class below make one */
	struct slot_list free;
	struct slot_list whole; /* split slots that can be joined */
};

struct channel_tx {
	uint64_t *marks;
	uint8_t *lines;
	uint32_t pos;	   /* next entry to send in */
	uint32_t reserved; /* entries reserved from pos on */
	uint32_t cons;	   /* the receiver's index as last seen and checked */
	unsigned shift;
	unsigned ret_shift;
	uint32_t ret_pos;
	const uint64_t *returns;
	const uint32_t *cons_word;
	struct slot *slots;
	uint32_t nslots, pools;
	uint32_t out; /* slots sent and not returned */
	bool nested;
	struct slot_pool pool[SHM_CLASSES_MAX];
};

struct channel_rx {
	const uint64_t *marks;
	uint8_t *lines;
	uint32_t pos;	    /* next entry to receive */
	uint32_t head;	    /* oldest entry that is held */
	uint32_t published; /* what *cons_word says */
	unsigned shift;
	unsigned ret_shift;
	uint32_t ret_pos;
	uint64_t *returns;
	uint32_t *cons_word;
	uint8_t *held;	    /* by entry: 0, or its width, | HELD_DONE when released */
	uint8_t *slot_held; /* by slot */
	uint32_t nslots, pools;
	struct slot_pool pool[SHM_CLASSES_MAX]; /* free lists unused: they are the peer's */
};

#define HELD_DONE 0x80u

struct shm_channel {
	struct channel_tx tx;
	struct channel_rx rx;
	int err;
	bool sent, released;			   /* since the last look at the peer's doorbells */
	struct doorbell data, room;		   /* ours */
	struct doorbell_peer peer_data, peer_room; /* the peer's */
	struct shm_channel_stats stats;
};

/*
 * Breaks the channel after a violation by the peer: calls return -EPROTO from now on. @what: a
 * constant string.
 */
int channel_fault(struct shm_channel *ch, const char *what);

/* Takes back the slots that the peer has returned. 0 or -EPROTO. */
int tx_collect(struct shm_channel *ch);

/* Loads and checks the receiver's index. 0 or -EPROTO. */
int tx_refresh(struct shm_channel *ch);

/* Ring entries that data may use, as far as known without loading the receiver's index. */
static inline uint32_t tx_free_entries(const struct channel_tx *tx)
{
	uint32_t used = tx->pos + tx->reserved - tx->cons;
	uint32_t all = (1u << tx->shift) - RING_CONTROL_RESERVED;

	return used < all ? all - used : 0;
}

/* Publishes what has been released. */
static inline void rx_publish(struct channel_rx *rx)
{
	if (rx->head == rx->published)
		return;
	rx->published = rx->head;
	shm_store_release32(rx->cons_word, rx->head); /* barrier pair [R] */
}

#endif
