/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Layout of a channel's part of a region.
 *
 * Theory of operation
 * -------------------
 *	head	magic, version, generation: is this the expected channel?
 *	ctl	per direction: the frequently written words, two cache lines apart
 *	marks	per direction: words of the message ring, 8 bytes per entry
 *	returns	per direction: words of the completion ring
 *	lines	per direction: 64 bytes per entry, and one line more, because a message of two
 *		lines that begins in the last entry continues behind it
 *	slots	per direction: the classes one after the other, each starting at a page of its own;
 *		in version SHM_CHANNEL_NESTED all start at the same address
 *
 * Everything before the lines is zeroed by shm_channel_format(), and is all that an idle channel
 * touches: 6 KiB for two rings of 256 entries and 40 slots each. All offsets follow from the
 * description, so there is nothing else to agree on, and nothing else to check.
 */
#ifndef ZV_CHANNEL_LAYOUT_H
#define ZV_CHANNEL_LAYOUT_H

#include "doorbell.h"
#include "shm_ring.h"

#define CHANNEL_MAGIC 0x7a765f6368616e31ull

struct channel_head {
	uint64_t magic;
	uint32_t version;
	uint32_t generation;
	uint8_t pad[2 * SHM_CACHE_LINE - 16];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct channel_head) == 128, "shared layout");

/* Two lines apart: adjacent lines are fetched in pairs on some CPUs. */
struct channel_ctl {
	uint32_t cons; /* entries ever released; written by the receiver */
	uint8_t pad0[2 * SHM_CACHE_LINE - sizeof(uint32_t)];
	struct doorbell_word data; /* the receiver sleeps until there is data */
	uint8_t pad1[SHM_CACHE_LINE];
	struct doorbell_word room; /* the sender sleeps until there is room */
	uint8_t pad2[SHM_CACHE_LINE];
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct channel_ctl) == 384, "shared layout");

/* Inline data of a ring entry whose message lies in a slot. */
struct channel_slot_ref {
	uint32_t id;
	uint32_t offset; /* of the payload in the slot */
	uint32_t gen;	 /* goes back with the slot */
	uint32_t zero;
};

struct direction_layout {
	uint64_t ctl, marks, returns, lines; /* offsets from the start of the channel */
	uint64_t slots[SHM_CLASSES_MAX];
	uint32_t nslots;
	unsigned shift, ret_shift; /* log2 of the entries of the message and completion rings */
};

struct channel_layout {
	struct direction_layout dir[2];
	uint64_t zeroed; /* bytes from the start that shm_channel_format() clears */
	uint64_t total;
};

/* Returns 0, or -EINVAL when the version or a direction is not valid. */
int channel_layout(struct channel_layout *l, const struct shm_channel_desc *d);

#endif
