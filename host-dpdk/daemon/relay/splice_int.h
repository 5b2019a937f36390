/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by the files of the splice: splice.c (life cycle), splice_data.c (payload), splice_chan.c
 * (channels).
 *
 * lend       put a buffer that the guest has sent into this side's ring, for the other side to copy
 * take back  release a lent buffer to the guest's queue (zv_buf_release), once it has been copied
 * kick       have the other side's work run, on its lcore
 */
#ifndef ZVD_SPLICE_INT_H
#define ZVD_SPLICE_INT_H

#include "share.h"
#include "splice.h"

#define SPLICE_SLOTS 32u

enum splice_state {
	SPLICE_OPENING,
	SPLICE_UP,
	SPLICE_CLOSED, /* ended in order: all data has been copied */
	SPLICE_DEAD,   /* ended by a failure: the other side is reset */
};

/* [S] written by this side's lcore, [O] by the other side's. Fields used by both are atomic. */
struct splice_side {
	struct flow f; /* first */
	struct splice *sp;
	struct splice_side *other; /* itself: echo */
	struct lcore *lc;	   /* [S] NULL: this side has not started */
	struct share *share;	   /* side 1: of this guest's connections: share.h */
	bool kicked;		   /* [O] a kick is pending */
	bool asks;		   /* its guest has requested the connection */

	uint32_t state;		  /* [S] enum splice_state */
	uint32_t head;		  /* number of buffers lent so far */
	uint32_t eof;		  /* [S] 1: head is final */
	uint32_t tail;		  /* [O] number of buffers copied so far */
	uint32_t shut_rd;	  /* [O] 1: the other side's guest no longer receives */
	uint32_t busy;		  /* [O] 1: the other side is reading slots now */
	uint32_t off;		  /* [O] bytes copied of the buffer at tail */
	uint32_t taken_back;	  /* number of buffers released to the guest's queue so far */
	uint32_t events;	  /* as last passed to flow_events() */
	struct lcore_timer again; /* the other side's guest rests until then: lcore.h */
	bool from_guest_done;	  /* the guest sends no more */
	/* The guest has been notified that no more comes, or it no longer receives. */
	bool to_guest_done;
	uint32_t msg_bytes; /* SEQPACKET: bytes already sent of an unfinished message */
	struct zv_buf slot[SPLICE_SLOTS];
};

struct splice {
	int refs;		  /* atomic */
	struct splice_chan *chan; /* NULL: payload is copied; splice_chan.h */
	const struct conn_kind *kind;
	uint32_t port, src_port;
	uint64_t src_cid;
	struct share_asker asker;
	char asker_name[CFG_NAME_MAX];
	enum zv_type type;
	struct splice_side side[2];
};

static inline enum splice_state splice_state(const struct splice_side *s)
{
	return (enum splice_state)__atomic_load_n(&s->state, __ATOMIC_SEQ_CST);
}

static inline void splice_ref(struct splice *sp)
{
	__atomic_add_fetch(&sp->refs, 1, __ATOMIC_RELAXED);
}

/* ---- splice.c ---- */

void splice_unref(struct splice *sp);

/* Runs the pending work of @s, on its lcore; @s may be freed by it. */
void splice_run(struct splice_side *s);
/* Has the other side check what has changed. */
void splice_kick(struct splice_side *from);
/* Resets @s, and so the other side. */
void splice_fail(struct splice_side *s);

/* ---- splice_data.c ---- */

/* Releases buffers up to index @tail. */
void splice_take_back(struct splice_side *s, uint32_t tail);
/* Lends what the guest has sent. */
void splice_lend(struct splice_side *s);
/* Copies to the guest what the other side has lent. False: @s has failed, and may be freed. */
bool splice_copy(struct splice_side *s);
/* The guest no longer receives. */
void splice_guest_shut_rd(struct splice_side *s);

#endif
