/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data path of a pair, written once for all ring layouts; called by the queue's owner.
 *
 * Theory of operation
 * -------------------
 * Each function takes the layout as its first argument, always a constant, and is always inlined,
 * so the compiler resolves the verbs at compile time. VSOCK_RINGS() defines the functions of one
 * layout and is the last line of the layout's file, virtqueue_NAME.c. The layout of a pair is
 * chosen once per session (vsock_pair_reset()), by the function table of its queue. Code that does
 * not depend on the layout is in vsock_drv.c, the control thread's code in vsock_setup.c.
 */
#ifndef ZV_VSOCK_BURST_H
#define ZV_VSOCK_BURST_H

#include "vsock_priv.h"

#include <limits.h>

#define VSOCK_INLINE static inline __attribute__((always_inline))

VSOCK_INLINE uint8_t *burst_buf(const struct vsock_bufs *b, uint16_t id)
{
	return b->base + (size_t)id * b->stride;
}

VSOCK_INLINE void burst_publish_ring(const struct virtq_layout *ring, struct vsock_pair *p,
				     struct virtq *vq, const struct virtq_notify *kick)
{
	if (virtq_pending(vq) && ring->publish(vq))
		vsock_kick(p, kick);
}

/*
 * Starts the watchdog if something was sent that the control thread does not watch yet. Called
 * where the owner finds nothing to do, so that it costs nothing per message.
 */
VSOCK_INLINE void burst_watch(struct vsock_pair *p)
{
	if (__builtin_expect(!p->watchdog.on && p->watchdog.idle_at != virtq_published(&p->tx), 0))
		vsock_watchdog_on(p);
}

/* ---- receive ---- */

/* Gives a receive buffer back to the device, or keeps it for later. */
VSOCK_INLINE void burst_rx_give(const struct virtq_layout *ring, struct vsock_pair *p, uint16_t id)
{
	if (!hot_rx_keep(&p->hot_rx, id, virtq_in_flight(&p->rx)))
		ring->post(&p->rx, id, vsock_buf_len(&p->rx_bufs));
}

/* Posts buffers that were kept, up to @want in flight. */
VSOCK_INLINE void burst_rx_top_up(const struct virtq_layout *ring, struct vsock_pair *p,
				  uint32_t want)
{
	while (p->hot_rx.nspare && virtq_in_flight(&p->rx) < want)
		ring->post(&p->rx, hot_rx_take(&p->hot_rx), vsock_buf_len(&p->rx_bufs));
}

/* True while an event of the device waits for the control thread. */
VSOCK_INLINE bool burst_held_by_event(const struct virtq_layout *ring, struct vsock_pair *p)
{
	uint16_t seen;

	if (!p->ev || __builtin_expect(!vsock_event_waits(ring, p->ev, &seen), 1))
		return false;
	vsock_notify_control(p, seen);
	return true;
}

/*
 * Prefetches a buffer by guess. The used entry names the buffer, but it comes from the other CPU as
 * well, and only then could the header be fetched. A device that works in order returns buffers as
 * they were posted, so headers and first payload lines are fetched on that guess, together with the
 * used entries.
 */
VSOCK_INLINE void burst_prefetch(const struct vsock_pair *p, uint16_t id)
{
	const uint8_t *buf = burst_buf(&p->rx_bufs, id);

	shm_prefetch(buf);
	shm_prefetch(buf + VSOCK_PAYLOAD_OFF);
}

/* A buffer that the device has used: its number, and the bytes written to it. */
struct burst_used {
	uint32_t len;
	uint16_t id;
};

/* Takes @n used buffers. False: the ring is broken. */
VSOCK_INLINE bool burst_rx_take(const struct virtq_layout *ring, struct vsock_pair *p,
				struct burst_used *used, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		burst_prefetch(p, ring->likely(&p->rx, i));
	for (unsigned i = 0; i < n; i++) {
		uint16_t guess = ring->likely(&p->rx, 0);

		if (!ring->take(&p->rx, true, &used[i].id, &used[i].len))
			return false;
		if (used[i].id != guess)
			burst_prefetch(p, used[i].id);
	}
	return true;
}

/*
 * Parses the packet of @len bytes in buffer @id, which is lent when there is payload. False: bad,
 * and counted.
 */
VSOCK_INLINE bool burst_rx_parse(struct vsock_pair *p, uint16_t id, uint32_t len,
				 struct rx_pkt *pkt, struct pkt_seg *seg)
{
	uint8_t *buf = burst_buf(&p->rx_bufs, id);

	if (__builtin_expect(len < VSOCK_HDR_LEN, 0))
		goto bad;
	vsock_hdr_get(&pkt->hdr, buf + VSOCK_HDR_OFF);
	if (p->rx_wipe) /* op 0 is invalid: counted and dropped */
		memset(buf + VSOCK_HDR_OFF, 0, VSOCK_HDR_LEN);
	if (__builtin_expect(pkt->hdr.len > len - VSOCK_HDR_LEN, 0))
		goto bad;
	pkt->ndesc = 1;
	pkt->seg = seg;
	pkt->nseg = pkt->hdr.len != 0;
	pkt->token = id;
	if (pkt->nseg) {
		*seg = (struct pkt_seg){buf + VSOCK_PAYLOAD_OFF, pkt->hdr.len};
		p->rx_state[id] = RX_LENT;
		p->hot_rx.lent++;
	}
	return true;
bad:
	/* Length 0 is not an error: a device that stops its rings returns buffers unused. */
	stats_add(&p->tq.stats.rx_bad_hdr, len != 0);
	return false;
}

VSOCK_INLINE int burst_rx(const struct virtq_layout *ring, struct transport_queue *q,
			  struct rx_pkt *pkts, unsigned max)
{
	struct vsock_pair *p = vsock_pair_of(q);
	struct burst_used used[VSOCK_BURST];
	unsigned n, out = 0;
	uint32_t bytes = 0, want;

	if (!q->up)
		return 0;
	n = ring->ready(&p->rx, max < VSOCK_BURST ? max : VSOCK_BURST);
	if (n == 0) {
		if ((p->hot_rx.nspare || virtq_pending(&p->rx)) && hot_rx_idle(&p->hot_rx)) {
			burst_rx_top_up(ring, p, virtq_size(&p->rx));
			burst_publish_ring(ring, p, &p->rx, &p->kick_rx);
		}
		burst_watch(p);
		if (__builtin_expect(virtq_fault(&p->rx), 0))
			vsock_broken(p, &p->rx);
		return 0;
	}
	/* After ready(): packets sent after an event are not seen before it. Barrier pair [T]. */
	if (burst_held_by_event(ring, p))
		return 0;
	if (__builtin_expect(!burst_rx_take(ring, p, used, n), 0)) {
		vsock_broken(p, &p->rx);
		return 0;
	}
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = used[i].id;
		struct rx_pkt *pkt = &pkts[out];
		bool good = burst_rx_parse(p, id, used[i].len, pkt, &p->seg[out]);

		if (!good || !pkt->nseg)
			burst_rx_give(ring, p, id);
		bytes += good ? pkt->hdr.len : 0;
		out += good;
	}
	want = hot_rx_learn(&p->hot_rx, out, bytes);
	if (p->hot_rx.nspare)
		burst_rx_top_up(ring, p, want);
	return (int)out;
}

VSOCK_INLINE int burst_rx_rest(const struct virtq_layout *ring, struct transport_queue *q,
			       struct rx_pkt *pkts, unsigned max)
{
	struct vsock_pair *p = vsock_pair_of(q);
	unsigned out = 0;

	while (p->rest_n && out < max && out < VSOCK_BURST) {
		const struct vsock_rest *r = &p->rest[p->rest_head++ & (virtq_size(&p->rx) - 1)];
		bool good;

		p->rest_n--;
		p->rx_state[r->id] = RX_POSTED;
		good = burst_rx_parse(p, r->id, r->len, &pkts[out], &p->seg[out]);
		if ((!good || !pkts[out].nseg) && q->up) /* down: the next start posts it */
			burst_rx_give(ring, p, r->id);
		out += good;
	}
	return (int)out;
}

VSOCK_INLINE void burst_rx_release(const struct virtq_layout *ring, struct transport_queue *q,
				   uint32_t token)
{
	struct vsock_pair *p = vsock_pair_of(q);

	if (token >= virtq_size(&p->rx) || p->rx_state[token] != RX_LENT)
		return;
	p->rx_state[token] = RX_POSTED;
	p->hot_rx.lent--;
	if (q->up)
		burst_rx_give(ring, p, (uint16_t)token);
}

/* ---- transmit ---- */

/* The device's address of buffer @id: header and payload. */
VSOCK_INLINE struct iova burst_tx_iova(const struct vsock_pair *p, uint16_t id)
{
	return iova_add(p->tx_bufs.iova, (uint64_t)id * p->tx_bufs.stride + VSOCK_HDR_OFF);
}

/* Buffer @id is back, while some buffers are posted as tables. */
VSOCK_INLINE void burst_table_back(const struct virtq_layout *ring, struct vsock_pair *p,
				   uint16_t id)
{
	if (p->tx_state[id] != TX_TABLE)
		return;
	ring->end_table(&p->tx, id, burst_tx_iova(p, id));
	vsock_table_over(p, id, 0);
}

/* Takes back what the device has sent. */
VSOCK_INLINE void burst_reclaim(const struct virtq_layout *ring, struct vsock_pair *p)
{
	uint16_t id;
	uint32_t ignored;

	for (unsigned n = ring->ready(&p->tx, UINT_MAX); n; n--) {
		if (!ring->take(&p->tx, false, &id, &ignored))
			break;
		if (__builtin_expect(p->tq.sent.out, 0))
			burst_table_back(ring, p, id);
		hot_tx_put(&p->hot_tx, id, virtq_in_flight(&p->tx));
	}
	if (__builtin_expect(virtq_fault(&p->tx), 0))
		vsock_broken(p, &p->tx);
}

/*
 * A caller that takes one buffer at a time would wait, at the barrier of each publish, for its
 * cache lines, which were last in the device's cache. So the next few are fetched in parallel.
 */
VSOCK_INLINE void burst_tx_ahead(struct vsock_pair *p)
{
	uint32_t have = hot_tx_near(&p->hot_tx);

	for (uint32_t i = 0; i < HOT_RECLAIM && i < have; i++) {
		uint8_t *buf = burst_buf(&p->tx_bufs, hot_tx_peek(&p->hot_tx, i));

		shm_prefetch_write(buf);
		shm_prefetch_write(buf + VSOCK_PAYLOAD_OFF);
	}
}

VSOCK_INLINE unsigned burst_tx_reserve(const struct virtq_layout *ring, struct transport_queue *q,
				       struct tx_slot *slots, unsigned n, uint32_t len,
				       unsigned flags)
{
	struct vsock_pair *p = vsock_pair_of(q);
	uint32_t keep = flags & TX_CTRL ? 0 : p->ctrl_reserve, have;

	if (!(flags & TX_CTRL))
		hot_tx_expect(&p->hot_tx, len);
	if (!q->up)
		return 0;
	if (hot_tx_wants_reclaim(&p->hot_tx, n, keep, len)) {
		burst_reclaim(ring, p);
		if (!q->up)
			return 0;
		if (n == 1 && len <= HOT_SMALL)
			burst_tx_ahead(p);
	}
	have = hot_tx_free(&p->hot_tx);
	have = have > keep ? have - keep : 0;
	if (n > have)
		n = have;
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = hot_tx_take(&p->hot_tx, len);
		uint8_t *buf = burst_buf(&p->tx_bufs, id);

		/* Both lines were last in the device's cache: fetch them in parallel. */
		shm_prefetch_write(buf);
		shm_prefetch_write(buf + VSOCK_PAYLOAD_OFF);
		p->tx_state[id] = TX_HELD;
		slots[i].data = buf + VSOCK_PAYLOAD_OFF;
		slots[i].capacity = p->tx_bufs.payload;
		slots[i].token = id;
	}
	return n;
}

VSOCK_INLINE void burst_tx_commit(const struct virtq_layout *ring, struct transport_queue *q,
				  uint32_t token, const struct vsock_hdr *h)
{
	struct vsock_pair *p = vsock_pair_of(q);

	if (token >= virtq_size(&p->tx))
		return;
	if (__builtin_expect(p->tx_state[token] != TX_HELD || h->len > p->tx_bufs.payload, 0)) {
		vsock_tx_cancel(q, token);
		return;
	}
	p->tx_state[token] = TX_FREE;
	vsock_hdr_put(burst_buf(&p->tx_bufs, (uint16_t)token) + VSOCK_HDR_OFF, h);
	ring->post(&p->tx, (uint16_t)token, VSOCK_HDR_LEN + h->len);
}

/*
 * The header stays in the buffer; the table lies where payload would. One ring descriptor still is
 * one buffer.
 */
VSOCK_INLINE void burst_tx_commit_mem(const struct virtq_layout *ring, struct transport_queue *q,
				      uint32_t token, const struct vsock_hdr *h, struct iova at,
				      uint32_t cookie)
{
	struct vsock_pair *p = vsock_pair_of(q);
	const uint16_t id = (uint16_t)token;
	uint8_t *buf = burst_buf(&p->tx_bufs, id);
	struct virtq_piece piece[2] = {{burst_tx_iova(p, id), VSOCK_HDR_LEN}, {at, h->len}};

	p->cookie[id] = cookie;
	p->tx_state[id] = TX_TABLE;
	q->sent.out++;
	vsock_hdr_put(buf + VSOCK_HDR_OFF, h);
	ring->post_table(&p->tx, id, buf + VSOCK_PAYLOAD_OFF, iova_add(piece[0].at, VSOCK_HDR_LEN),
			 piece, 2);
}

VSOCK_INLINE unsigned burst_tx_ready(const struct virtq_layout *ring, struct transport_queue *q)
{
	struct vsock_pair *p = vsock_pair_of(q);
	uint32_t have;

	if (!q->up)
		return 0;
	burst_reclaim(ring, p); /* all of them: somebody waits for more than one */
	have = hot_tx_free(&p->hot_tx);
	return q->up && have > p->ctrl_reserve ? have - p->ctrl_reserve : 0;
}

/* ---- notifications ---- */

/*
 * Released receive buffers are published in groups: a publish takes a cache line away from the
 * device and costs a barrier, and a device that still has a quarter of the circulating buffers does
 * not need them yet. Small rings have small groups; burst_arm() and HOT_IDLE empty looks publish
 * the rest.
 */
VSOCK_INLINE void burst_publish(const struct virtq_layout *ring, struct transport_queue *q)
{
	struct vsock_pair *p = vsock_pair_of(q);

	if (!q->up)
		return;
	burst_publish_ring(ring, p, &p->tx, &p->kick_tx);
	if (virtq_pending(&p->rx) >= p->rx_lazy || virtq_with_device(&p->rx) <= p->hot_rx.hot / 4)
		burst_publish_ring(ring, p, &p->rx, &p->kick_rx);
}

VSOCK_INLINE int burst_arm(const struct virtq_layout *ring, struct transport_queue *q,
			   unsigned room)
{
	struct vsock_pair *p = vsock_pair_of(q);

	if (!q->up)
		return 0; /* the control thread wakes the owner when that changes */
	burst_rx_top_up(ring, p, virtq_size(&p->rx));
	burst_publish_ring(ring, p, &p->tx, &p->kick_tx);
	burst_publish_ring(ring, p, &p->rx, &p->kick_rx);
	burst_watch(p);
	if (!ring->arm(&p->rx) && !burst_held_by_event(ring, p))
		return 1;
	if (__builtin_expect(q->sent.out, 0)) {
		const uint32_t out = q->sent.out;

		burst_reclaim(ring, p);
		if (!q->up || q->sent.out != out || !ring->arm(&p->tx)) {
			ring->disarm(&p->rx);
			ring->disarm(&p->tx);
			return 1;
		}
	}
	if (room && (burst_tx_ready(ring, q) >= room || !ring->arm(&p->tx))) {
		/* Also when a ring was found broken: the owner must learn that its session is over.
		 */
		ring->disarm(&p->rx);
		ring->disarm(&p->tx);
		return 1;
	}
	return 0;
}

VSOCK_INLINE void burst_disarm(const struct virtq_layout *ring, struct transport_queue *q,
			       bool rung)
{
	struct vsock_pair *p = vsock_pair_of(q);

	ring->disarm(&p->rx);
	ring->disarm(&p->tx);
	if (rung)
		vsock_clear_call(p);
}

/*
 * Defines the functions above for LAYOUT, a constant of this file, and the table NAME of type
 * struct vsock_rings by which they are chosen (vsock_rings.c).
 */
#define VSOCK_RINGS(NAME, LAYOUT)                                                                  \
	static int NAME##_rx_burst(struct transport_queue *q, struct rx_pkt *pkts, unsigned max)   \
	{                                                                                          \
		return burst_rx(&(LAYOUT), q, pkts, max);                                          \
	}                                                                                          \
	static int NAME##_rx_rest(struct transport_queue *q, struct rx_pkt *pkts, unsigned max)    \
	{                                                                                          \
		return burst_rx_rest(&(LAYOUT), q, pkts, max);                                     \
	}                                                                                          \
	static void NAME##_rx_release(struct transport_queue *q, uint32_t token)                   \
	{                                                                                          \
		burst_rx_release(&(LAYOUT), q, token);                                             \
	}                                                                                          \
	static unsigned NAME##_tx_reserve(struct transport_queue *q, struct tx_slot *slots,        \
					  unsigned n, uint32_t len, unsigned flags)                \
	{                                                                                          \
		return burst_tx_reserve(&(LAYOUT), q, slots, n, len, flags);                       \
	}                                                                                          \
	static void NAME##_tx_commit(struct transport_queue *q, uint32_t token,                    \
				     const struct vsock_hdr *h)                                    \
	{                                                                                          \
		burst_tx_commit(&(LAYOUT), q, token, h);                                           \
	}                                                                                          \
	static void NAME##_tx_commit_mem(struct transport_queue *q, uint32_t token,                \
					 const struct vsock_hdr *h, struct iova at,                \
					 uint32_t cookie)                                          \
	{                                                                                          \
		burst_tx_commit_mem(&(LAYOUT), q, token, h, at, cookie);                           \
	}                                                                                          \
	static void NAME##_publish(struct transport_queue *q)                                      \
	{                                                                                          \
		burst_publish(&(LAYOUT), q);                                                       \
	}                                                                                          \
	static unsigned NAME##_tx_ready(struct transport_queue *q)                                 \
	{                                                                                          \
		return burst_tx_ready(&(LAYOUT), q);                                               \
	}                                                                                          \
	static int NAME##_arm(struct transport_queue *q, unsigned room)                            \
	{                                                                                          \
		return burst_arm(&(LAYOUT), q, room);                                              \
	}                                                                                          \
	static void NAME##_disarm(struct transport_queue *q, bool rung)                            \
	{                                                                                          \
		burst_disarm(&(LAYOUT), q, rung);                                                  \
	}                                                                                          \
	const struct vsock_rings NAME = {                                                          \
		.layout = &(LAYOUT),                                                               \
		.queue = {.rx_burst = NAME##_rx_burst,                                             \
			  .rx_rest = NAME##_rx_rest,                                               \
			  .rx_release = NAME##_rx_release,                                         \
			  .tx_reserve = NAME##_tx_reserve,                                         \
			  .tx_commit = NAME##_tx_commit,                                           \
			  .tx_cancel = vsock_tx_cancel,                                            \
			  .tx_commit_mem = NAME##_tx_commit_mem,                                   \
			  .publish = NAME##_publish,                                               \
			  .tx_max = vsock_tx_max,                                                  \
			  .tx_ready = NAME##_tx_ready,                                             \
			  .arm = NAME##_arm,                                                       \
			  .disarm = NAME##_disarm},                                                \
	}

#endif
