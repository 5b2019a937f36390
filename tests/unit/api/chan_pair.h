/* SPDX-License-Identifier: BSD-3-Clause */
/* A connected pair of connections with a channel between them. */
#ifndef CHAN_PAIR_H
#define CHAN_PAIR_H

#include "channel_layout.h"
#include "pair.h"
#include "socket/chan/chan.h"
#include "socket/chan/chan_bell.h"

/* The channel of the pair that was connected last, and what became of it. */
struct chan_end {
	struct zv_conn *c;
	int gone; /* times that gone() was called */
};

struct chan_pair {
	uint8_t *mem;
	size_t size;
	struct shm_channel_desc desc;
	struct channel_layout l;
	struct chan_end guest, host; /* the guest is SHM_ROLE_A */
	struct bell_page *page[2];   /* [ZV_ROLE_GUEST]: that the guest hears; NULL: no bells */
};

#define PAIR_BELL 70u /* of both */

/* Like the default, and small: rings of 16, 3 slots of 256 bytes and 4 of 1024, both ways. */
struct shm_channel_desc chan_small(void);
struct shm_channel_desc chan_default(void);

/* Makes the memory, connects and attaches. @bells: woken by bells, else by packets. */
void chan_connect(struct chan_pair *p, enum zv_type type, const struct shm_channel_desc *d,
		  bool bells);
/* Attaches both ends of a pair whose c are set. */
void chan_attach_pair(struct chan_pair *p, const struct shm_channel_desc *d, bool bells);
/* Both ends are closed, and both have given up the memory: frees it. */
void chan_close(struct chan_pair *p);
void chan_free_memory(struct chan_pair *p);

struct zv_queue_stats chan_stats(struct zv_queue *q);
/* The events of @c that one zv_poll of @q reports. */
uint32_t chan_events_of(struct zv_queue *q, const struct zv_conn *c);
/* zv_fd is readable. */
bool chan_readable(struct zv_queue *q);

#endif
