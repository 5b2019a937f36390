/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Received payload, from the packet to the application and back.
 *
 * Theory of operation
 * -------------------
 * Received payload waits in *entries*, linked per connection, oldest first. An entry points either
 * into a ring buffer (whose descriptor is withheld from the device: a loan) or into private memory.
 * A packet that lies in several pieces gives several entries; the first of them holds the rx token
 * and counts the others, and the descriptor goes back when the last is released.
 *
 * Loans never stall a ring: a queue withholds at most half of its descriptors, and one connection
 * at most its fair share of those (half divided by the number of connections that hold some plus
 * one). A connection begins with an eighth of that half and gets as many more as it has given back,
 * so one that never releases anything withholds a sixteenth of the ring. Beyond that, payload is
 * copied to private memory, which credit bounds, and the descriptor goes back at once. So a slow
 * reader costs a copy, not the queue. Consecutive copies of a stream share one chunk, so one-byte
 * packets do not cost a chunk each.
 *
 * Entries live in a growing array (rx_entries.h) and are named by index, so the array may move;
 * serial numbers protect the entries that the application has, as in tx_buf.h.
 */
#ifndef ZV_RX_LOAN_H
#define ZV_RX_LOAN_H

#include "rx_entries.h"
#include "socket/core/credit.h"

#include <string.h>

/*
 * Queues a packet's payload on @c; an empty one uses @extra bytes of credit. 0; -ENOMEM or, when
 * the memory that it lay in is gone, -ECONNRESET: nothing is held, and its buffer is given back.
 */
int rx_take(struct zv_conn *c, struct rx_pkt *p, unsigned flags, uint32_t extra);

/* Gives back the buffer of a packet that was not queued. */
void rx_drop(struct zv_queue *q, const struct rx_pkt *p);

/* What a receiving call returns when no payload is queued. */
int rx_empty(struct zv_conn *c);

/* zv_buf_recv. */
int rx_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n);

/*
 * zv_buf_release, up to the first buffer that is not on loan from this queue; returns how many.
 * *drained gets the connections that have nothing more to read and whose peer has closed, linked by
 * drained_next; the caller clears CF_DRAINED.
 */
unsigned rx_buf_release(struct zv_queue *q, const struct zv_buf *bufs, unsigned n,
			struct zv_conn **drained);

/* The peer has shut down both directions and everything is read. */
static inline bool rx_drained(const struct zv_conn *c)
{
	return vsock_shut_done(&c->shut) && !c->rx.queued;
}

/*
 * Bytes that wait for the application: received, and neither consumed nor on loan to it. An empty
 * message may count as one (ZV_CAP_EMPTY_MSG). Not meaningful for a connection that was reset.
 * Credit counts the bytes anyway, so this costs receiving calls nothing, and zv_buf_recv and
 * zv_buf_release one addition per buffer.
 */
static inline uint32_t rx_waiting(const struct zv_conn *c)
{
	return c->credit.rx_cnt - c->credit.fwd_cnt - c->rx.app_bytes;
}

/*
 * Drops what @c has received and not read. The peer decides how much that is, and how many
 * connections end in one poll, so most of it is left to rx_chores().
 */
void rx_drop_all(struct zv_conn *c);
/* A bounded part of what rx_drop_all() and the end of all entries have left. To be called by each
 * poll while rx_loans.chores. */
void rx_chores(struct zv_queue *q) __attribute__((cold));
/* Drops it when some of it lies in the peer's memory. False: none does, and nothing is dropped. */
bool rx_drop_lost(struct zv_conn *c);
/*
 * @c receives no more: from here on it is not counted among the connections that share the
 * descriptors, even if its application still has loans.
 */
void rx_forget(struct zv_conn *c);
void rx_init(struct zv_queue *q);
/* No connection is left. By the queue's owner, as it may release buffers. */
void rx_fini(struct zv_queue *q);
/* Before a burst is received: ignores faults so far when nothing is on loan. */
static inline void rx_faults_rebase(struct zv_queue *q)
{
	uint32_t now = shm_load32(q->rx.faults);

	if (__builtin_expect(now != q->rx.faults_seen, 0) && !q->rx.lent_descs)
		q->rx.faults_seen = now;
}

/* ---- for the receiving calls of socket types ---- */

static inline struct rx_entry *rx_first(const struct zv_conn *c)
{
	return &c->q->rx.e[c->rx.head];
}

/* Takes the first entry off the connection's list. */
static inline uint32_t rx_pop(struct zv_conn *c)
{
	uint32_t i = c->rx.head;

	/* The table is there, because an entry of it is in use. */
	c->rx.head = c->q->rx.e[i].next; /* NOLINT(clang-analyzer-core.NullDereference) */
	if (c->rx.head == LOAN_NONE)
		c->rx.tail = LOAN_NONE;
	c->rx.queued--;
	return i;
}

/* The slow half of rx_copy(). */
bool rx_intact(const struct zv_queue *q, const struct rx_entry *e) __attribute__((cold));

/* Compiler barrier: the copy to @dst is complete before the count of faults is loaded. */
static inline void rx_copied(const void *dst)
{
	/* As long as any copy may be; nothing is read. */
	struct any {
		char byte[1u << 31];
	};

	__asm__ __volatile__("" : : "m"(*(const struct any *)dst));
}

/*
 * Copies the first @n bytes of an entry. False: they may be zeros in place of the peer's memory,
 * because its file was truncated (transport_queue.faults).
 */
static inline bool rx_copy(const struct zv_queue *q, void *dst, const struct rx_entry *e, size_t n)
{
	memcpy(dst, e->data, n);
	rx_copied(dst);
	return __builtin_expect(shm_load32(q->rx.faults) == q->rx.faults_seen, 1) ||
	       rx_intact(q, e);
}

/* Gives an entry back; @c is its connection, or NULL when that is gone. */
void rx_release(struct zv_queue *q, struct zv_conn *c, uint32_t i);

/* The slow half of rx_consumed(): tells the peer, now (@due) or soon. */
void rx_report_credit(struct zv_conn *c, bool due);

/*
 * Accounts consumed bytes, and @pkts packets of a SEQPACKET, and tells the peer when that is due.
 */
static inline void rx_consumed(struct zv_conn *c, uint32_t len, uint32_t pkts)
{
	bool due;

	credit_rx_consumed(&c->credit, len);
	c->credit.unreported_pkts += pkts;
	due = credit_update_due(&c->credit);
	if (__builtin_expect(due || credit_peer_stuck(&c->credit), 0))
		rx_report_credit(c, due);
}

#endif
