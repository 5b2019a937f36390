/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hot buffers: which of a ring's buffers circulate. Pure logic over private memory; virtqueue.h
 * handles the rings themselves.
 *
 * Theory of operation
 * -------------------
 * The cost of a message is cache lines that change owner, and how fast they do depends on where
 * they are. Measured between two CPUs: 64-byte messages pass at 14 million a second over 64
 * circulating buffers, which fit into the first-level caches of both, and at 5 to 6 million over
 * 128 or 256. Large payload is fastest while about 4 MiB circulate: it has then left the sender's
 * own caches when it is read, and is still in the shared one. With a single 64 KiB buffer at a time
 * it passes at a tenth of that rate, and with 64 MiB at a third. So a ring does not use all its
 * buffers all the time, but hot_count() of them:
 *   tx  Free buffers wait in a deque. Small messages take the newest, large ones the oldest. When
 *       a buffer comes back and more than hot_count() are in the deque and with the device, the
 *       oldest of the deque goes on the stack of cold ones, which are used when the deque is
 *       empty.
 *   rx  Twice as many circulate for small messages: half are with the device while the owner
 *       releases the other half, and 64 would leave the device waiting for each group (two thirds
 *       of the rate). A buffer is posted only while fewer than hot_count() are with the device or
 *       lent; the others are spare. All spare buffers are posted before the owner sleeps, after
 *       HOT_IDLE empty looks, and once in HOT_ROUND packets, because one message of many packets
 *       may make a device wait for more buffers at once than circulate.
 *
 * Invariants, while every buffer is given back once and taken only from here:
 *   tx  a free buffer is in the deque or on the stack of cold ones, once; no other buffer is in
 *       either. HOT_MIN <= hot <= size, or hot = size where the ring is smaller.
 *   rx  a spare buffer is on the stack once, and neither with the device nor lent. hot is bounded
 *       as above. While fewer than hot / 2 are with the device, none becomes spare.
 */
#ifndef ZV_HOT_BUFS_H
#define ZV_HOT_BUFS_H

#include <stdbool.h>
#include <stdint.h>

#define HOT_SMALL   2048u      /* payload bytes of a small message, at most */
#define HOT_MIN	    64u	       /* buffers that circulate for small messages */
#define HOT_RX_MIN  128u       /* the same for received ones */
#define HOT_BYTES   (4u << 20) /* payload bytes that circulate for large messages */
#define HOT_LEARN   64u	       /* received packets per estimate of the mean size */
#define HOT_ROUND   65536u     /* received packets after which all buffers are posted */
#define HOT_RECLAIM 8u	       /* small messages per look for returned buffers */
#define HOT_IDLE    4096u      /* empty looks after which all buffers are posted */

/* How many of @size buffers of @payload bytes should circulate for messages of @len bytes. */
static inline uint32_t hot_count(uint32_t len, uint32_t payload, uint32_t size)
{
	uint32_t n = HOT_MIN;

	/* A full buffer, however small, may be part of a large message. */
	if (len > HOT_SMALL || len >= payload)
		n = HOT_BYTES / (len ? len : 1);
	n = n < HOT_MIN ? HOT_MIN : n;
	return n < size ? n : size;
}

/* ---- transmit: the free buffers ---- */

struct hot_tx {
	uint16_t *deque; /* deque[head..tail) mod size */
	uint32_t head, tail;
	uint16_t *cold; /* stack */
	uint32_t ncold;
	uint32_t hot;		/* buffers that circulate */
	uint32_t len;		/* message size for which `hot` was chosen */
	uint32_t since_reclaim; /* small messages since the last look for returned buffers */
	uint32_t payload;	/* bytes of a buffer */
	uint32_t mask;		/* number of buffers, a power of two, minus one */
};

/*
 * Starts with all @size buffers of @payload bytes free. 0 or -ENOMEM; call hot_tx_fini() either
 * way.
 */
int hot_tx_init(struct hot_tx *h, uint32_t size, uint32_t payload);
void hot_tx_fini(struct hot_tx *h);

static inline uint32_t hot_tx_free(const struct hot_tx *h)
{
	return h->tail - h->head + h->ncold;
}

/*
 * Adds a free buffer to the deque, however many circulate: for the buffers of a ring that is reset.
 */
static inline void hot_tx_append(struct hot_tx *h, uint16_t id)
{
	h->deque[h->tail++ & h->mask] = id;
}

/* A buffer has come back; @in_flight others are with the device. */
static inline void hot_tx_put(struct hot_tx *h, uint16_t id, uint32_t in_flight)
{
	hot_tx_append(h, id);
	if (h->tail - h->head + in_flight > h->hot)
		h->cold[h->ncold++] = h->deque[h->head++ & h->mask];
}

/* Messages of @len bytes follow. */
static inline void hot_tx_expect(struct hot_tx *h, uint32_t len)
{
	if (len == h->len)
		return;
	h->len = len;
	h->hot = hot_count(len, h->payload, h->mask + 1);
}

/*
 * Whether to look for buffers that the device has returned, before @n are taken for messages of
 * @len bytes and @keep others stay. Small messages want the buffers that have just come back, but a
 * look takes two cache lines from the device, so there is one look per HOT_RECLAIM messages. Large
 * messages wait until half of the circulating buffers are gone: many entries are then taken in one
 * go, but not so many that the device runs dry before the first of them is sent again.
 */
static inline bool hot_tx_wants_reclaim(struct hot_tx *h, uint32_t n, uint32_t keep, uint32_t len)
{
	uint32_t left = h->tail - h->head;

	if (len > HOT_SMALL)
		return left < n + keep || left < h->hot / 2;
	h->since_reclaim += n;
	if (h->since_reclaim < HOT_RECLAIM && left >= n + keep)
		return false;
	h->since_reclaim = 0;
	return true;
}

/*
 * Number of free buffers in the deque. hot_tx_peek(): the buffer that the @i-th next hot_tx_take()
 * for a small message returns.
 */
static inline uint32_t hot_tx_near(const struct hot_tx *h)
{
	return h->tail - h->head;
}

static inline uint16_t hot_tx_peek(const struct hot_tx *h, uint32_t i)
{
	return h->deque[(h->tail - 1 - i) & h->mask];
}

/* Takes a free buffer for a message of @len bytes; there must be one. */
static inline uint16_t hot_tx_take(struct hot_tx *h, uint32_t len)
{
	if (h->tail == h->head)
		return h->cold[--h->ncold];
	return h->deque[(len <= HOT_SMALL ? --h->tail : h->head++) & h->mask];
}

/* ---- receive: the spare buffers ---- */

/* How many of @size should circulate for messages of @len bytes. */
static inline uint32_t hot_rx_count(uint32_t len, uint32_t payload, uint32_t size)
{
	uint32_t n = hot_count(len, payload, size);

	if (len <= HOT_SMALL && n < HOT_RX_MIN)
		n = HOT_RX_MIN;
	return n < size ? n : size;
}

struct hot_rx {
	uint16_t *spare; /* stack */
	uint32_t nspare;
	uint32_t hot;	      /* buffers that circulate */
	uint32_t lent;	      /* buffers that the socket layer has; counted by the caller */
	uint32_t pkts, bytes; /* received since `hot` was chosen */
	uint32_t round, idle; /* packets since all were posted; consecutive empty looks */
	uint32_t payload;     /* bytes of a buffer */
	uint32_t size;	      /* number of buffers */
};

/* Starts with no spare buffers: all circulate. 0 or -ENOMEM; call hot_rx_fini() either way. */
int hot_rx_init(struct hot_rx *h, uint32_t size, uint32_t payload);
void hot_rx_fini(struct hot_rx *h);
/* A session begins: no buffer is spare, all circulate; lent ones stay lent. */
void hot_rx_restart(struct hot_rx *h);

/*
 * Buffer @id has come back while @in_flight are with the device. True: it is spare now. False: the
 * caller has to post it.
 */
static inline bool hot_rx_keep(struct hot_rx *h, uint16_t id, uint32_t in_flight)
{
	if (in_flight < h->hot / 2 || in_flight + h->lent < h->hot)
		return false;
	h->spare[h->nspare++] = id;
	return true;
}

/* Takes the newest spare buffer; there must be one. */
static inline uint16_t hot_rx_take(struct hot_rx *h)
{
	return h->spare[--h->nspare];
}

/*
 * A burst of @n packets with @bytes of payload has been received. Returns the number in flight up
 * to which spare buffers are to be posted now.
 */
static inline uint32_t hot_rx_learn(struct hot_rx *h, uint32_t n, uint32_t bytes)
{
	h->pkts += n;
	h->bytes += bytes;
	h->idle = 0;
	if (h->pkts >= HOT_LEARN) {
		h->hot = hot_rx_count(h->bytes / h->pkts, h->payload, h->size);
		h->round += h->pkts;
		h->pkts = h->bytes = 0;
		if (h->round >= HOT_ROUND) {
			h->round %= HOT_ROUND;
			return h->size;
		}
	}
	/* Half: buffers that the owner is about to release are hotter than spare ones. */
	return h->hot / 2;
}

/* An empty look. True: post all spare buffers, because the device may be waiting for them. */
static inline bool hot_rx_idle(struct hot_rx *h)
{
	return ++h->idle >= HOT_IDLE;
}

#endif
