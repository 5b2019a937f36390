/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Payload on its way between a ring and the application.
 *
 * Theory of operation
 * -------------------
 * Received payload waits in *entries*, linked per connection, oldest first. An entry points either
 * into the ring's buffer (the descriptor is withheld from the peer: a loan) or into private memory.
 * A packet that lies in several pieces gives several entries; the first of them holds the rx token
 * and counts the others, and the descriptor goes back when the last is released.
 *
 * Loans never stall a ring: a queue withholds at most half of its descriptors, and one connection
 * at most its fair share of those (half divided by the connections that hold some, and one more).
 * Beyond that, payload is copied to private memory, which credit bounds, and the descriptor goes
 * back at once. So a slow reader costs a copy, not the queue. Consecutive copies of a stream share
 * one chunk, so one-byte packets do not cost a chunk each.
 *
 * Buffers reserved for sending are records as well (struct tx_loan).
 *
 * Entries and records live in growing arrays and are named by index, so they may move. What the
 * application holds is the index (zv_buf.cookie) and the serial number of the loan: an index is
 * used again, a number never. So a buffer that is given back twice, or to another queue (the
 * numbers of a queue begin at a random one), is refused instead of taking somebody else's loan.
 */
#ifndef ZV_LOAN_H
#define ZV_LOAN_H

#include "shm_access.h"
#include "transport.h"

#include <stdbool.h>
#include <stdint.h>

#define LOAN_NONE UINT32_MAX

struct zv_conn;
struct zv_queue;

struct rx_entry {
	uint8_t *data;
	uint32_t len;
	uint32_t next; /* in the connection's list, or the free list */
	/* the buffer behind: valid in the entry that `holder` names */
	uint32_t holder;   /* index of the entry that holds the buffer; itself for single pieces */
	uint32_t refs;	   /* holder only: entries that use the buffer */
	uint32_t token;	   /* holder only: rx token */
	uint16_t ndesc;	   /* holder only: descriptors withheld; 0: private memory */
	uint8_t flags;	   /* ZV_EOM, ZV_EOR */
	uint64_t conn_id;  /* whose credit it is; stale ids find nothing */
	uint8_t *priv;	   /* holder only: private memory, NULL for ring buffers */
	uint32_t priv_cap; /* holder only: bytes of priv */
	uint32_t extra;	   /* credit that it counts beyond len: ZV_CAP_EMPTY_MSG */
	uint64_t serial;   /* of its loan to the application; 0: it is not lent */
};

struct rx_loans {
	struct rx_entry *e;
	uint32_t size, free; /* entries allocated; head of the free list */
	uint32_t fresh;	     /* entries from here on have never been used */
	uint32_t used;	     /* entries in use */
	uint32_t lent_descs; /* descriptors withheld from the peer */
	uint32_t holders;    /* connections that withhold some */
	uint32_t app_loans;  /* entries that the application has */
	uint64_t serial;     /* of the last loan */
};

struct tx_loan {
	uint64_t conn_id;
	uint64_t serial; /* 0: free */
	uint32_t token;
	uint32_t capacity; /* what the application may use */
	uint32_t room;	   /* and what the buffer holds */
	uint32_t next;	   /* free list */
};

struct tx_loans {
	struct tx_loan *l;
	uint32_t size, free;
	uint32_t app_loans;
	uint64_t serial; /* of the last loan */
};

/*
 * Takes a packet's payload for @c; an empty one counts @extra bytes of credit. 0, -ENOMEM (nothing
 * is held, the token is given back).
 */
int loan_take(struct zv_conn *c, struct rx_pkt *p, unsigned flags, uint32_t extra);
/* Copying receive; see zv_recv. */
ssize_t loan_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags);
/* Zero-copy receive; see zv_buf_recv. */
int loan_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
void loan_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n);
/* Drops what @c has received and not read. */
void loan_drop_all(struct zv_conn *c);
/* Drops it when some of it lies in memory of the peer's. False: none does, nothing is dropped. */
bool loan_drop_lost(struct zv_conn *c);
/* @c receives no more: what it withholds is nobody's share, whoever gives it back and when. */
void loan_forget(struct zv_conn *c);
void loan_fini(struct zv_queue *q);

/*
 * A record for a reserved buffer, with what @l says of it and the serial t->serial; its index or
 * LOAN_NONE (no memory).
 */
uint32_t loan_tx_get(struct tx_loans *t, const struct tx_loan *l);
/* The record of @b, or NULL when it is not on loan from connection @conn_id. */
static inline struct tx_loan *loan_tx_find(struct tx_loans *t, uint64_t conn_id,
					   const struct zv_buf *b)
{
	struct tx_loan *l = b->cookie < t->size ? &t->l[b->cookie] : NULL;

	return l && b->serial && l->serial == b->serial && l->conn_id == conn_id ? l : NULL;
}
void loan_tx_put(struct tx_loans *t, uint32_t cookie);

#endif
