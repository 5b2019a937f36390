/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of the relay: relay.c (life cycle), relay_data.c (streams), relay_sync.c
 * (messages, and data to be discarded). */
#ifndef ZVD_RELAY_INT_H
#define ZVD_RELAY_INT_H

#include "passed.h"
#include "relay.h"

#include <errno.h>
#include <sys/uio.h>

/* relay.flags, above those of relay_init */
#define R_HUP_ONLY	  (1u << 3)  /* the host sends no more: the poll waits for it to close */
#define R_GUEST_SHUT_RD	  (1u << 4)  /* the guest no longer receives (R_TO_GUEST_DONE is set too) */
#define R_IN_READY	  (1u << 5)  /* the socket has data to read */
#define R_WAIT_OUT	  (1u << 6)  /* the guest has no room: waits for ZV_EV_OUT */
#define R_FULL		  (1u << 7)  /* the socket has no room: waits for it, ZV_EV_IN is off */
#define R_FROM_GUEST_END  (1u << 8)  /* the guest has sent its last byte */
#define R_FROM_GUEST_DONE (1u << 9)  /* ... and the host has been told */
#define R_TO_GUEST_DONE	  (1u << 10) /* the host has sent its last byte, the guest was told */
#define R_HOST_HUP	  (1u << 11) /* the host program has closed its socket completely */
#define R_ENDING	  (1u << 12) /* to be freed when no request is in progress */
#define R_RESET		  (1u << 13) /* ends with a RST to the guest */
#define R_ABORT		  (1u << 14) /* ends with a reset to the host */
#define R_GUEST_HUP	  (1u << 15) /* the guest program has closed its socket completely */

#define RELAY_CMSGS 16u

/* A request that moves data, or the rest that a full socket did not take. */
struct relay_batch {
	struct io_op op;
	struct relay *r;
	struct relay_batch *next; /* in the stock */
	uint32_t first, n;	  /* buffers not done yet: [first, n) */
	uint32_t bytes;		  /* in them */
	uint32_t charged;	  /* work charged for a read before its size was known */
	bool complete;		  /* SEQPACKET: the last piece has arrived */
	struct passed_cmsg *cmsg; /* in msg, during a read; NULL: none */
	struct msghdr msg;
	struct iovec iov[RELAY_BATCH];
	struct zv_buf buf[RELAY_BATCH];
};

/* One for each lcore. */
struct relay_stock {
	struct relay_batch *free;
	unsigned n_free;
	char *msg; /* memory of relay_scratch() */
	/* Rooms for descriptors: how many exist, how many are free, the free ones; one for
	 * relay_recv. */
	unsigned n_cmsgs, n_cmsgs_free;
	struct passed_cmsg *cmsgs_free[RELAY_CMSGS];
	struct passed_cmsg cmsg;
};

/* ---- relay.c ---- */

/* The stock of the relay's lcore. NULL: no memory. */
struct relay_stock *relay_stock(struct relay *r);
/* The stock's RELAY_MSG_MAX bytes of scratch memory. NULL: no memory. */
char *relay_scratch(struct relay *r);
/* Room for the descriptors of a message; relay_batch_put() returns the one in a batch. NULL: all
 * are taken (relay_cmsgs_busy()), or no memory. @most: the result of guest_passed_reads(). */
struct passed_cmsg *relay_cmsg_get(struct relay *r, uint32_t most);
bool relay_cmsgs_busy(struct relay *r);
struct relay_batch *relay_batch_get(struct relay *r);
void relay_batch_put(struct relay *r, struct relay_batch *b);

static inline struct lcore *relay_lcore(const struct relay *r)
{
	return r->f.owner.gq->lc;
}

/* Closes both sides after the data already sent; @how: R_RESET, R_ABORT. */
void relay_end(struct relay *r, unsigned how);
/* A request of an ending relay has completed: continues the end. */
void relay_end_more(struct relay *r);
/*
 * True if @err (negative) of the socket only means that an AF_VSOCK program has closed with unread
 * bytes; the close is recorded. AF_UNIX reports this once, for SEQPACKET before the messages that
 * are still to be read.
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
/* The program has sent @n descriptors, or (0) some that were not received: counts, logs. */
void relay_passed(struct relay *r, const int *fd, unsigned n);
/* Out of memory: both sides are reset. */
void relay_no_memory(struct relay *r);
/* The guest has the host's last byte; the host has the guest's last byte. */
void relay_host_eof(struct relay *r);
void relay_guest_eof(struct relay *r);
/* The guest no longer receives (may be called again); the host program no longer receives. */
void relay_guest_shut_rd(struct relay *r);
void relay_host_shut_rd(struct relay *r);
/* Enables the connection events that matter in the current state. */
void relay_want_events(struct relay *r);
/* Polls the socket for data to read. */
void relay_poll_in(struct relay *r);
/* The host sends no more and everything is read: polls the socket for the end of the other
 * direction. */
void relay_poll_hup(struct relay *r);
/* Polls the socket for room; until then nothing is received from the guest. */
void relay_poll_out(struct relay *r);
/* The guest has no room: continues at ZV_EV_OUT. */
void relay_wait_out(struct relay *r);

/* ---- relay_data.c ---- */

/* Move the available data. */
void relay_from_guest(struct relay *r);
void relay_to_guest(struct relay *r);
/* After POLLOUT (out_ready): sends the rest when its turn comes. */
void relay_from_guest_resume(struct relay *r);
/* Releases the buffers of a batch whose request is not in progress. */
void relay_from_guest_drop(struct relay *r);

/* ---- relay_sync.c ---- */

/* SEQPACKET, host to guest: one message at a time, about @most bytes of work in all. */
void relay_to_guest_seq(struct relay *r, uint32_t most);
/* Discards what the host sends to a guest that no longer receives. */
void relay_discard(struct relay *r);

#endif
