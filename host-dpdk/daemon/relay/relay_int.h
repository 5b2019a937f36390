/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the relay share: relay.c (life, ends), relay_data.c (streams),
 * relay_sync.c (messages, and what nobody wants).
 */
#ifndef ZVD_RELAY_INT_H
#define ZVD_RELAY_INT_H

#include "passed.h"
#include "relay.h"

#include <errno.h>
#include <sys/uio.h>

/* relay.flags, above those of relay_init */
#define R_HUP_ONLY	  (1u << 3) /* the host sends no more: the poll is for its end */
#define R_GUEST_SHUT_RD	  (1u << 4) /* the guest receives no more (R_TO_GUEST_DONE is set too) */
#define R_IN_READY	  (1u << 5) /* there is something to read from the socket */
#define R_WAIT_OUT	  (1u << 6) /* the guest has no room: ZV_EV_OUT will tell */
#define R_FULL		  (1u << 7) /* the socket has no room: POLLOUT will tell, ZV_EV_IN is off */
#define R_FROM_GUEST_END  (1u << 8) /* the guest has sent its last byte */
#define R_FROM_GUEST_DONE (1u << 9) /* and the host has been told */
#define R_TO_GUEST_DONE	  (1u << 10) /* the host has sent its last byte, the guest has been told */
#define R_HOST_HUP	  (1u << 11) /* the host program has closed altogether */
#define R_ENDING	  (1u << 12) /* freed as soon as nothing is under way */
#define R_RESET		  (1u << 13) /* the end is a RST for the guest */
#define R_ABORT		  (1u << 14) /* the end is a RST for the host */
#define R_GUEST_HUP	  (1u << 15) /* the guest program has closed altogether */

#define RELAY_ROOMS 16u

/* A request that moves data, or the rest that a full socket has left. */
struct relay_batch {
	struct io_op op;
	struct relay *r;
	struct relay_batch *next; /* in the stock */
	uint32_t first, n;	  /* buffers not yet done with, [first, n) */
	uint32_t bytes;		  /* in them */
	uint32_t charged;	  /* for a read, before it was known what it brings */
	bool whole;		  /* SEQPACKET: the last piece is there */
	struct passed_room *room; /* in msg, during a read; NULL: none */
	struct msghdr msg;
	struct iovec iov[RELAY_BATCH];
	struct zv_buf buf[RELAY_BATCH];
};

/* Of each lcore. */
struct relay_stock {
	struct relay_batch *free;
	unsigned n_free;
	char *msg; /* relay_scratch's */
	/* Room for descriptors; how many there are, those that are free, and for relay_recv. */
	unsigned n_rooms, n_rooms_free;
	struct passed_room *rooms_free[RELAY_ROOMS];
	struct passed_room room;
};

/* ---- relay.c ---- */

/* The stock of the relay's lcore, NULL: no memory. */
struct relay_stock *relay_stock(struct relay *r);
/* Its RELAY_MSG_MAX bytes of scratch memory, NULL: no memory. */
char *relay_scratch(struct relay *r);
/* Room for the descriptors of a message; relay_batch_put() gives back what is in a batch. NULL: all
 * are taken (relay_rooms_busy()), or no memory. @most: as many as guest_passed_reads() says. */
struct passed_room *relay_room_get(struct relay *r, uint32_t most);
bool relay_rooms_busy(struct relay *r);
struct relay_batch *relay_batch_get(struct relay *r);
void relay_batch_put(struct relay *r, struct relay_batch *b);

static inline struct lcore *relay_lcore(const struct relay *r)
{
	return r->f.owner.gq->lc;
}

/* Closes both sides, after what was sent; @how: R_RESET, R_ABORT. */
void relay_end(struct relay *r, unsigned how);
/* A request of an ending relay is over: goes on with the end. */
void relay_end_more(struct relay *r);
/*
 * @err (negative) of the socket only says that an AF_VSOCK program has closed with bytes unread,
 * which it says once, of SEQPACKET ahead of what is still to be read: notes the close.
 */
static inline bool relay_closed_unread(struct relay *r, int err)
{
	if (err != -ECONNRESET || !r->af_vsock)
		return false;
	r->flags |= R_HOST_HUP;
	return true;
}
/* The socket has failed with @err (negative): RST for the guest. */
void relay_host_failed(struct relay *r, int err);
/* The program has sent @n descriptors, or some that have not been taken (0): counts, logs. */
void relay_passed(struct relay *r, const int *fd, unsigned n);
/* Memory is short: both sides are reset. */
void relay_no_memory(struct relay *r);
/* The host's last byte is with the guest; the guest's last byte is out. */
void relay_host_eof(struct relay *r);
void relay_guest_eof(struct relay *r);
/* The guest receives no more (may be called again); the host program receives no more. */
void relay_guest_shut_rd(struct relay *r);
void relay_host_shut_rd(struct relay *r);
/* Sets the events of the guest's connection that matter in the present state. */
void relay_want_events(struct relay *r);
/* Polls the socket for something to read. */
void relay_poll_in(struct relay *r);
/* The host sends no more, all of it is read: polls the socket for the end of the other direction.
 */
void relay_poll_hup(struct relay *r);
/* Polls the socket for room; until then nothing is taken from the guest. */
void relay_poll_out(struct relay *r);
/* The guest has no room: ZV_EV_OUT will go on with it. */
void relay_wait_out(struct relay *r);

/* ---- relay_data.c ---- */

/* Moves what there is. */
void relay_from_guest(struct relay *r);
void relay_to_guest(struct relay *r);
/* After POLLOUT (out_ready): sends the rest, when it is its turn. */
void relay_from_guest_resume(struct relay *r);
/* Gives the buffers of a batch that is not under way back. */
void relay_from_guest_drop(struct relay *r);

/* ---- relay_sync.c ---- */

/* SEQPACKET, host to guest: a message at a time, about @most bytes of work in all. */
void relay_to_guest_seq(struct relay *r, uint32_t most);
/* Throws away what the host sends to a guest that receives no more. */
void relay_discard(struct relay *r);

#endif
