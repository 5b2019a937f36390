/* SPDX-License-Identifier: BSD-3-Clause */
/* Life cycle of a pair and of the event queue; called by the control thread. */
#include "vsock_drv.h"
#include "vsock_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * The stride is an odd number of cache lines. If 64 KiB plus a line were rounded up to a power of
 * two, the headers of all buffers would have the same low address bits and compete for the eight or
 * so ways of one cache set; an odd multiple of the line size visits every set before it repeats
 * one.
 */
size_t vsock_stride(uint32_t payload)
{
	size_t lines = 1 + ((size_t)payload + SHM_CACHE_LINE - 1) / SHM_CACHE_LINE;

	return (lines | 1) * SHM_CACHE_LINE;
}

int vsock_pair_init(struct vsock_pair *p, const struct vsock_pair_conf *conf)
{
	uint32_t n = conf->ring_size;
	int ret;

	memset(p, 0, sizeof(*p));
	ret = virtq_init(&p->rx, conf->rx_ring, n);
	if (ret == 0)
		ret = virtq_init(&p->tx, conf->tx_ring, n);
	if (ret == 0) {
		p->rx_state = calloc(n, sizeof(*p->rx_state));
		p->rest = calloc(n, sizeof(*p->rest));
		p->tx_state = calloc(n, sizeof(*p->tx_state));
		p->cookie = calloc(n, sizeof(*p->cookie));
		p->tq.sent.ring = calloc(n, sizeof(*p->tq.sent.ring));
		p->tq.sent.mask = n - 1;
		if (!p->rx_state || !p->rest || !p->tx_state || !p->cookie || !p->tq.sent.ring)
			ret = -ENOMEM;
	}
	if (ret == 0)
		ret = hot_rx_init(&p->hot_rx, n, conf->rx_bufs.payload);
	if (ret == 0)
		ret = hot_tx_init(&p->hot_tx, n, conf->tx_bufs.payload);
	if (ret) {
		vsock_pair_fini(p);
		return ret;
	}
	p->rx_bufs = conf->rx_bufs;
	p->tx_bufs = conf->tx_bufs;
	p->call_fd = conf->call_fd;
	p->kick_rx = conf->kick_rx;
	p->kick_tx = conf->kick_tx;
	p->watchdog.fd = -1;
	p->ctrl_reserve = n / 8 < VSOCK_TX_CTRL ? n / 8 : VSOCK_TX_CTRL;
	p->rx_lazy = (uint16_t)(n / 16 < 16 ? n / 16 : 16);
	p->tq.rx_descs = n;
	p->tq.tx_descs = n;
	return 0;
}

void vsock_pair_fini(struct vsock_pair *p)
{
	virtq_fini(&p->rx);
	virtq_fini(&p->tx);
	free(p->rx_state);
	free(p->rest);
	free(p->tx_state);
	free(p->cookie);
	free(p->tq.sent.ring);
	hot_rx_fini(&p->hot_rx);
	hot_tx_fini(&p->hot_tx);
	p->rx_state = p->tx_state = NULL;
	p->cookie = NULL;
	p->tq.sent.ring = NULL;
	p->rest = NULL;
}

/* Buffers reserved now belong to connections that are over. */
static void make_stale(struct vsock_pair *p)
{
	for (uint32_t i = 0; i < virtq_size(&p->tx); i++)
		if (p->tx_state[i] == TX_HELD)
			p->tx_state[i] = TX_STALE;
}

/*
 * Takes received packets out of the ring, for rx_rest. None while a TRANSPORT_RESET is not handled:
 * they may belong to the next session, which does not begin.
 */
static void save_rest(struct vsock_pair *p)
{
	uint32_t mask = virtq_size(&p->rx) - 1;
	uint16_t seen;

	if (!p->tq.up || (p->ev && vsock_event_waits(p->layout, p->ev, &seen)))
		return;
	while (p->layout->ready(&p->rx, 1)) {
		struct vsock_rest *r = &p->rest[(p->rest_head + p->rest_n) & mask];

		if (!p->layout->take(&p->rx, true, &r->id, &r->len))
			return;
		p->rx_state[r->id] = RX_REST;
		p->rest_n++;
	}
}

void vsock_pair_let_go(struct vsock_pair *p)
{
	for (uint32_t i = 0; p->tq.sent.out && i < virtq_size(&p->tx); i++)
		if (p->tx_state[i] == TX_TABLE)
			vsock_table_over(p, (uint16_t)i, -ECONNRESET);
}

void vsock_pair_stop(struct vsock_pair *p)
{
	if (virtq_fault(&p->rx) == VIRTQ_OK)
		save_rest(p);
	p->tq.session++;
	shm_store32(&p->tq.up, 0);
	make_stale(p);
}

void vsock_pair_renew(struct vsock_pair *p)
{
	if (!p->tq.up)
		return;
	p->tq.session++;
	make_stale(p);
}

/* Describes to a ring buffers that carry header and payload. */
static struct virtq_bufs packets_of(const struct vsock_bufs *b, uint32_t count, bool write)
{
	return (struct virtq_bufs){
		.addr = iova_add(b->iova, VSOCK_HDR_OFF),
		.stride = b->stride,
		.len = vsock_buf_len(b),
		.count = (uint16_t)count,
		.write = write,
	};
}

void vsock_pair_reset(struct vsock_pair *p, const struct vsock_rings *rings, bool event_idx)
{
	const struct virtq_layout *l = rings->layout;
	uint32_t n = virtq_size(&p->tx);
	struct virtq_bufs rx = packets_of(&p->rx_bufs, n, true);
	struct virtq_bufs tx = packets_of(&p->tx_bufs, n, false);

	vsock_pair_let_go(p);
	for (uint32_t i = 0; i < n; i++)
		if (virtq_has(&p->tx, (uint16_t)i))
			hot_tx_append(&p->hot_tx, (uint16_t)i);
	p->layout = l;
	p->tq.ops = &rings->queue;
	l->reset(&p->rx, event_idx);
	l->reset(&p->tx, event_idx);
	l->set_bufs(&p->rx, &rx);
	l->set_bufs(&p->tx, &tx);
}

void vsock_pair_start(struct vsock_pair *p, const struct vsock_events *ev)
{
	for (uint32_t i = 0; i < virtq_size(&p->rx); i++)
		if (p->rx_state[i] == RX_POSTED)
			p->layout->post(&p->rx, (uint16_t)i, vsock_buf_len(&p->rx_bufs));
	hot_rx_restart(&p->hot_rx);
	p->ev = ev;
	p->notified = UINT32_MAX; /* no value of seen */
	vsock_watchdog_reset(p);
	p->tq.session++;
	shm_store32(&p->tq.up, 1);
	stats_add(&p->tq.stats.sessions, 1);
	if (p->layout->publish(&p->rx))
		vsock_kick(p, &p->kick_rx);
}

void vsock_pair_wake(const struct vsock_pair *p)
{
	eventfd_signal(p->call_fd);
}

/* ---- event queue ---- */

int vsock_events_init(struct vsock_events *ev, void *ring, void *buf, struct iova iova, int call_fd,
		      struct virtq_notify kick)
{
	memset(ev, 0, sizeof(*ev));
	ev->buf = buf;
	ev->iova = iova;
	ev->call_fd = call_fd;
	ev->kick = kick;
	return virtq_init(&ev->vq, ring, VSOCK_EVENT_RING);
}

void vsock_events_fini(struct vsock_events *ev)
{
	virtq_fini(&ev->vq);
}

void vsock_events_reset(struct vsock_events *ev, const struct vsock_rings *rings, bool event_idx)
{
	const struct virtq_bufs bufs = {
		.addr = ev->iova,
		.stride = SHM_CACHE_LINE,
		.len = sizeof(struct virtio_vsock_event),
		.count = VSOCK_EVENTS,
		.write = true,
	};

	ev->layout = rings->layout;
	ev->layout->reset(&ev->vq, event_idx);
	ev->layout->set_bufs(&ev->vq, &bufs);
	__atomic_store_n(&ev->seen, 0, __ATOMIC_RELEASE);
}

static void events_post(struct vsock_events *ev)
{
	for (uint16_t i = 0; i < VSOCK_EVENTS; i++)
		if (!virtq_has(&ev->vq, i))
			ev->layout->post(&ev->vq, i, sizeof(struct virtio_vsock_event));
	if (virtq_pending(&ev->vq) && ev->layout->publish(&ev->vq))
		virtq_notify(&ev->kick);
	/*
	 * Events that are already there are not lost: triggers one more look, by signalling call_fd
	 * from this side.
	 */
	if (!ev->layout->arm(&ev->vq))
		eventfd_signal(ev->call_fd);
}

void vsock_events_start(struct vsock_events *ev)
{
	events_post(ev);
}

int vsock_events_take(struct vsock_events *ev)
{
	int resets = 0;
	uint16_t id;
	uint32_t len, what;

	for (unsigned n = ev->layout->ready(&ev->vq, VSOCK_EVENTS); n; n--) {
		if (!ev->layout->take(&ev->vq, true, &id, &len))
			break;
		what = shm_load32((const uint32_t *)(ev->buf + id * SHM_CACHE_LINE));
		/* Events that came with a later version of the specification are ignored. */
		if (len >= sizeof(what) && le32toh(what) == VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)
			resets++;
	}
	return virtq_fault(&ev->vq) ? -EPROTO : resets;
}

void vsock_events_done(struct vsock_events *ev)
{
	/* First the buffers, then the packets (VIRTIO 1.2, section 5.10.6.7). */
	events_post(ev);
	__atomic_store_n(&ev->seen, virtq_taken(&ev->vq), __ATOMIC_RELEASE); /* barrier pair [T] */
}
