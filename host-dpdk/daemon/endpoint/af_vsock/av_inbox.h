/* SPDX-License-Identifier: BSD-3-Clause */
/* What an inbox consists of, for av_inbox.c and av_deliver.c; theory in av_dgram.h. [H] */
#ifndef ZVD_AV_INBOX_H
#define ZVD_AV_INBOX_H

#include "av_dgram.h"

/* A socket of zvsockd for the datagrams of one peer. */
struct av_peer {
	struct io_op in;     /* first: polls for data if the program has connected to this one */
	struct av_move read; /* what has arrived */
	struct av_inbox *inbox;
	struct dropin_addr remote;
	uint32_t local_cid;
	uint64_t opener; /* the sender that the socket was made for; AV_SENDER_NONE: the program */
	uint64_t sender; /* of what waits */
	struct av_waiting_list waiting; /* oldest first */
	uint32_t bytes, n_waiting;	/* of those; how many */
	int fd;
	uid_t uid; /* whose programs may have sent to it */
	bool ended;
	TAILQ_ENTRY(av_peer) link;
	TAILQ_ENTRY(av_peer) late_link; /* while some wait */
};

struct av_inbox {
	struct io_op pollout;	/* first: polls for space for what waits, ... */
	struct av_peer *polled; /* ... at this one's socket */
	struct av_space *space;
	struct av_port *port; /* NULL: the port no longer exists */
	uint64_t key;
	int hold; /* socket that recognizes the program's socket: av_dgram.h; -1: none yet */
	bool assigned;
	unsigned n_peers;
	TAILQ_HEAD(, av_peer) peers; /* oldest first */
	struct av_peer *with;	     /* the peer that the program's socket is connected to */
	TAILQ_HEAD(, av_peer) late;  /* peers with waiting datagrams, in the order of their turns */
	unsigned n_late, n_full;     /* how many; how many in a row found no space */
	struct av_move write;	     /* there is space */
	uint32_t bytes;
};

static inline struct io *av_inbox_io(const struct av_inbox *b)
{
	return lcore_io(b->space->home);
}

/* ---- av_deliver.c ---- */

void av_deliver_init(struct av_inbox *b);
/* Delivers nothing more. What waits stays until its peers end. */
void av_deliver_end(struct av_inbox *b);
/* What waits for the program from @p is lost. */
void av_deliver_drop(struct av_peer *p);
/* What waits from @sender. */
uint32_t av_inbox_bytes(const struct av_inbox *b, uint64_t sender);

/* ---- av_inbox.c ---- */

/* The peer for what comes from @from, with a socket; NULL: none can be had. */
struct av_peer *av_peer_for(struct av_inbox *b, uint32_t local_cid, const struct av_from *from);
/* Closes the socket of @p, which has ended, and frees it, unless it is still polled. */
void av_peer_over(struct av_peer *p);
/* Frees @b if it has ended and nothing refers to it. */
void av_inbox_over(struct av_inbox *b);

#endif
