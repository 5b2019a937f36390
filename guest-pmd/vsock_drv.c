/* SPDX-License-Identifier: BSD-3-Clause */
/* The data path of a pair: called by the queue's owner. Setting up is in vsock_setup.c. */
#include "vsock_drv.h"
#include "vsock_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static inline struct vsock_pair *pair_of(struct transport_queue *q)
{
	return (struct vsock_pair *)q; /* tq is the first member */
}

static inline uint8_t *buf_at(const struct vsock_bufs *b, uint16_t id)
{
	return b->base + (size_t)id * b->stride;
}

static void broken(struct vsock_pair *p, const struct virtq *vq)
{
	stats_add(&p->tq.stats.ring_broken, 1);
	zv_log_limited(&p->tq.log, ZV_LOG_ERR,
		       "vsock driver: %s ring broken by the device (%s); the queue is down",
		       vq == &p->rx ? "receive" : "transmit", virtq_fault_name(vq->fault));
	vsock_pair_stop(p);
}

static void publish_ring(struct vsock_pair *p, struct virtq *vq, const struct virtq_notify *kick)
{
	if (virtq_pending(vq) && virtq_publish(vq)) {
		stats_add(&p->tq.stats.kicks, 1);
		virtq_notify(kick);
	}
}

/* ---- receive ---- */

/* Gives a receive buffer back to the device, or keeps it for later. */
static inline void rx_give(struct vsock_pair *p, uint16_t id)
{
	if (!hot_rx_keep(&p->hot_rx, id, virtq_in_flight(&p->rx)))
		virtq_post(&p->rx, id, vsock_room(&p->rx_bufs));
}

/* Posts buffers that were kept, up to @want in flight. */
static void rx_top_up(struct vsock_pair *p, uint32_t want)
{
	while (p->hot_rx.nspare && virtq_in_flight(&p->rx) < want)
		virtq_post(&p->rx, hot_rx_take(&p->hot_rx), vsock_room(&p->rx_bufs));
}

/* True when the device has sent an event that the control thread has not dealt with. */
static bool held_by_event(struct vsock_pair *p)
{
	const struct vsock_events *ev = p->ev;
	uint16_t idx;

	if (!ev || __builtin_expect(!vsock_event_waits(ev), 1))
		return false;
	idx = shm_load16(&ev->vq.used->idx);
	if (p->nudged != idx) { /* a device need not have signalled; once is enough */
		p->nudged = idx;
		eventfd_signal(ev->call_fd);
	}
	return true;
}

/*
 * The used entry names the buffer, but it comes from the other CPU as well, and only then could
 * the header be fetched. A device that works in order gives the buffers back as they were posted,
 * so headers and first payload lines are fetched on that guess, together with the used entries.
 *
 * always_inline: gcc takes a function that does nothing but prefetch for pure and drops the call.
 */
static inline __attribute__((always_inline)) void prefetch_rx(const struct vsock_pair *p,
							      uint16_t id)
{
	const uint8_t *buf = buf_at(&p->rx_bufs, id);

	shm_prefetch(buf);
	shm_prefetch(buf + VSOCK_PAYLOAD_OFF);
}

/* Takes @n used entries: buffer into pkts[].token, written length into pkts[].ndesc. */
static bool take_rx(struct vsock_pair *p, struct rx_pkt *pkts, unsigned n)
{
	struct virtq *vq = &p->rx;
	uint16_t pos = vq->used_idx;

	for (unsigned i = 0; i < n; i++)
		prefetch_rx(p, vq->slot[(uint16_t)(pos + i) & vq->mask]);
	for (unsigned i = 0; i < n; i++) {
		uint16_t id;

		if (!virtq_take(vq, true, &id, &pkts[i].ndesc))
			return false;
		if (id != vq->slot[(uint16_t)(pos + i) & vq->mask])
			prefetch_rx(p, id);
		pkts[i].token = id;
	}
	return true;
}

/*
 * The packet of @len bytes in buffer @id, which is lent when there is payload. False: bad, and
 * counted.
 */
static inline bool rx_parse(struct vsock_pair *p, uint16_t id, uint32_t len, struct rx_pkt *pkt,
			    struct pkt_seg *seg)
{
	uint8_t *buf = buf_at(&p->rx_bufs, id);

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
	/* 0: unused; a device that stops its rings returns what it holds. */
	stats_add(&p->tq.stats.rx_bad_hdr, len != 0);
	return false;
}

int vsock_rx_burst(struct transport_queue *q, struct rx_pkt *pkts, unsigned max)
{
	struct vsock_pair *p = pair_of(q);
	unsigned n, out = 0;
	uint32_t bytes = 0, want;

	if (!q->up)
		return 0;
	n = virtq_ready(&p->rx);
	if (n == 0) {
		if ((p->hot_rx.nspare || virtq_pending(&p->rx)) && hot_rx_idle(&p->hot_rx)) {
			rx_top_up(p, p->rx.size);
			publish_ring(p, &p->rx, &p->kick_rx);
		}
		if (__builtin_expect(p->rx.fault, 0))
			broken(p, &p->rx);
		return 0;
	}
	/* After the load of the used index: packets sent after an event are not seen before it.
	 * Barrier pair [T]. */
	if (held_by_event(p))
		return 0;
	if (n > max)
		n = max;
	if (n > VSOCK_BURST)
		n = VSOCK_BURST;
	if (__builtin_expect(!take_rx(p, pkts, n), 0)) {
		broken(p, &p->rx);
		return 0;
	}
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = (uint16_t)pkts[i].token;
		uint32_t len = pkts[i].ndesc;
		struct rx_pkt *pkt = &pkts[out]; /* out <= i */
		bool good = rx_parse(p, id, len, pkt, &p->seg[out]);

		if (!good || !pkt->nseg)
			rx_give(p, id);
		bytes += good ? pkt->hdr.len : 0;
		out += good;
	}
	want = hot_rx_learn(&p->hot_rx, out, bytes);
	if (p->hot_rx.nspare)
		rx_top_up(p, want);
	return (int)out;
}

int vsock_rx_rest(struct transport_queue *q, struct rx_pkt *pkts, unsigned max)
{
	struct vsock_pair *p = pair_of(q);
	unsigned out = 0;

	while (p->rest_n && out < max && out < VSOCK_BURST) {
		const struct vsock_rest *r = &p->rest[p->rest_head++ & p->rx.mask];
		bool good;

		p->rest_n--;
		p->rx_state[r->id] = RX_POSTED;
		good = rx_parse(p, r->id, r->len, &pkts[out], &p->seg[out]);
		if ((!good || !pkts[out].nseg) && q->up) /* down: the next start posts it */
			rx_give(p, r->id);
		out += good;
	}
	return (int)out;
}

void vsock_rx_release(struct transport_queue *q, uint32_t token)
{
	struct vsock_pair *p = pair_of(q);

	if (token >= p->rx.size || p->rx_state[token] != RX_LENT)
		return;
	p->rx_state[token] = RX_POSTED;
	p->hot_rx.lent--;
	if (q->up)
		rx_give(p, (uint16_t)token);
}

/* ---- transmit ---- */

/* Takes back what the device has sent. */
static void reclaim(struct vsock_pair *p)
{
	uint16_t id;
	uint32_t ignored;

	for (unsigned n = virtq_ready(&p->tx); n; n--) {
		if (!virtq_take(&p->tx, false, &id, &ignored))
			break;
		hot_tx_put(&p->hot_tx, id, virtq_in_flight(&p->tx));
	}
	if (__builtin_expect(p->tx.fault, 0))
		broken(p, &p->tx);
}

unsigned vsock_tx_reserve(struct transport_queue *q, struct tx_slot *slots, unsigned n,
			  uint32_t len, unsigned flags)
{
	struct vsock_pair *p = pair_of(q);
	uint32_t keep = flags & TX_CTRL ? 0 : p->ctrl_keep, have;

	if (!(flags & TX_CTRL))
		hot_tx_expect(&p->hot_tx, len);
	if (!q->up)
		return 0;
	if (hot_tx_wants_reclaim(&p->hot_tx, n + keep, len)) {
		reclaim(p);
		if (!q->up)
			return 0;
	}
	have = hot_tx_free(&p->hot_tx);
	have = have > keep ? have - keep : 0;
	if (n > have)
		n = have;
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = hot_tx_take(&p->hot_tx, len);
		uint8_t *buf = buf_at(&p->tx_bufs, id);

		/* Both lines were last in the device's cache: their transfers run side by side. */
		shm_prefetch_write(buf);
		shm_prefetch_write(buf + VSOCK_PAYLOAD_OFF);
		p->tx_state[id] = TX_HELD;
		slots[i].data = buf + VSOCK_PAYLOAD_OFF;
		slots[i].capacity = p->tx_bufs.payload;
		slots[i].token = id;
	}
	return n;
}

void vsock_tx_cancel(struct transport_queue *q, uint32_t token)
{
	struct vsock_pair *p = pair_of(q);

	if (token >= p->tx.size || p->tx_state[token] == TX_FREE)
		return;
	p->tx_state[token] = TX_FREE;
	hot_tx_put(&p->hot_tx, (uint16_t)token, virtq_in_flight(&p->tx));
}

void vsock_tx_commit(struct transport_queue *q, uint32_t token, const struct vsock_hdr *h)
{
	struct vsock_pair *p = pair_of(q);

	if (token >= p->tx.size)
		return;
	if (__builtin_expect(p->tx_state[token] != TX_HELD || h->len > p->tx_bufs.payload, 0)) {
		vsock_tx_cancel(q, token);
		return;
	}
	p->tx_state[token] = TX_FREE;
	vsock_hdr_put(buf_at(&p->tx_bufs, (uint16_t)token) + VSOCK_HDR_OFF, h);
	virtq_post(&p->tx, (uint16_t)token, VSOCK_HDR_LEN + h->len);
}

unsigned vsock_tx_max(struct transport_queue *q)
{
	struct vsock_pair *p = pair_of(q);

	return p->tx.size - p->ctrl_keep;
}

unsigned vsock_tx_ready(struct transport_queue *q)
{
	struct vsock_pair *p = pair_of(q);
	uint32_t have;

	if (!q->up)
		return 0;
	reclaim(p); /* all there are: somebody waits for more than one */
	have = hot_tx_free(&p->hot_tx);
	return q->up && have > p->ctrl_keep ? have - p->ctrl_keep : 0;
}

unsigned vsock_pair_unsent(struct vsock_pair *p)
{
	if (!p->tq.up)
		return 0;
	reclaim(p);
	return p->tq.up ? virtq_in_flight(&p->tx) : 0;
}

/* ---- notifications ---- */

/*
 * Released receive buffers are published in groups: a publish takes the line of the avail index
 * away from the device and costs a barrier, and a device that still has a quarter of the ring does
 * not miss them. Small rings have small groups; vsock_arm() and HOT_IDLE empty looks leave
 * nothing behind.
 */
void vsock_publish(struct transport_queue *q)
{
	struct vsock_pair *p = pair_of(q);

	if (!q->up)
		return;
	publish_ring(p, &p->tx, &p->kick_tx);
	if (virtq_pending(&p->rx) >= p->rx_lazy ||
	    (uint16_t)(p->rx.published - p->rx.used_idx) <= p->hot_rx.hot / 4)
		publish_ring(p, &p->rx, &p->kick_rx);
}

int vsock_arm(struct transport_queue *q, unsigned room)
{
	struct vsock_pair *p = pair_of(q);

	if (!q->up)
		return 0; /* the control thread wakes the owner when that changes */
	rx_top_up(p, p->rx.size);
	publish_ring(p, &p->tx, &p->kick_tx);
	publish_ring(p, &p->rx, &p->kick_rx);
	if (!virtq_arm(&p->rx) && !held_by_event(p))
		return 1;
	if (room && (vsock_tx_ready(q) >= room || !virtq_arm(&p->tx))) {
		/* Also when a ring was found broken: the owner must learn that its session is over.
		 */
		virtq_disarm(&p->rx);
		virtq_disarm(&p->tx);
		return 1;
	}
	return 0;
}

void vsock_disarm(struct transport_queue *q)
{
	struct vsock_pair *p = pair_of(q);
	uint64_t count;

	virtq_disarm(&p->rx);
	virtq_disarm(&p->tx);
	/* EAGAIN: nothing had happened. */
	if (read(p->call_fd, &count, sizeof(count)) < 0)
		return;
}

int vsock_fd(struct transport_queue *q)
{
	return pair_of(q)->call_fd;
}

const struct transport_queue_ops vsock_queue_ops = {
	.rx_burst = vsock_rx_burst,
	.rx_rest = vsock_rx_rest,
	.rx_release = vsock_rx_release,
	.tx_reserve = vsock_tx_reserve,
	.tx_commit = vsock_tx_commit,
	.tx_cancel = vsock_tx_cancel,
	.publish = vsock_publish,
	.tx_max = vsock_tx_max,
	.tx_ready = vsock_tx_ready,
	.arm = vsock_arm,
	.disarm = vsock_disarm,
};
