/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit buffers reserved by the application (zv_buf_alloc). Only zv_buf_send is left to the
 * socket type: which packet a buffer becomes.
 *
 * Each buffer has a record. Records live in a growing array and are named by index, so the array
 * may move. The application holds the index (zv_buf.cookie) and the serial number of the loan: an
 * index is reused, a number never. So a buffer that is sent twice, or on another queue (each
 * queue's numbers start at a random one), is refused and does not hit another buffer.
 */
#ifndef ZV_TX_BUF_H
#define ZV_TX_BUF_H

#include "tx_wait.h"

struct tx_loan {
	uint64_t conn_id;
	uint64_t serial; /* 0: free */
	uint32_t token;
	uint32_t capacity; /* bytes that the application may use */
	uint32_t room;	   /* bytes that the buffer holds */
	uint32_t next;	   /* free list */
};

int tx_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len);
/*
 * Takes back those of @bufs that are reserved on @c. Returns the index of the first that is not, or
 * @n.
 */
unsigned tx_buf_cancel(struct zv_conn *c, const struct zv_buf *bufs, unsigned n);

/* ---- for the verbs of socket types ---- */

/* The record of @b, or NULL when @b is not reserved on @c. */
static inline struct tx_loan *tx_buf_find(const struct zv_conn *c, const struct zv_buf *b)
{
	const struct tx_loans *t = &c->q->tx;
	struct tx_loan *l = b->cookie < t->size ? &t->l[b->cookie] : NULL;

	return l && b->serial && l->serial == b->serial && l->conn_id == c->id ? l : NULL;
}

/* @b may be sent: it is reserved, and its length and flags are valid. */
static inline bool tx_buf_good(const struct zv_buf *b, const struct tx_loan *l)
{
	return l && b->len <= l->capacity && !(b->flags & ~(ZV_EOM | ZV_EOR));
}

/* Sets the error text for buffer @i of @n, which may not be sent. Returns -EINVAL. */
int tx_buf_bad(const struct zv_buf *b, const struct tx_loan *l, unsigned i, unsigned n)
	__attribute__((cold));

/* Ends a reservation; the buffer is the caller's. */
static inline struct tx_slot tx_buf_take(struct zv_conn *c, const struct zv_buf *b,
					 struct tx_loan *l)
{
	struct tx_loans *t = &c->q->tx;
	struct tx_slot s = {.data = b->data, .capacity = l->room, .token = l->token};

	c->tx.reserved -= l->capacity;
	c->tx.loans--;
	c->tx.returned += c->tx.returned != UINT32_MAX;
	tx_credit_back(c);
	l->serial = 0;
	l->next = t->free;
	t->free = b->cookie;
	t->app_loans--;
	return s;
}

void tx_buf_fini(struct zv_queue *q);

#endif
