/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a pair and the event queue: called by the control thread. */
#include "vsock_drv.h"
#include "vsock_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * An odd number of lines. With a stride of 64 KiB plus a line rounded to a power of two, the
 * headers of all buffers would have the same low address bits and compete for the eight or so ways
 * of one cache set; an odd multiple of the line size visits every set before it comes round.
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
		if (!p->rx_state || !p->rest || !p->tx_state)
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
	p->ctrl_keep = n / 8 < VSOCK_TX_CTRL ? n / 8 : VSOCK_TX_CTRL;
	p->rx_lazy = (uint16_t)(n / 8 < 32 ? n / 8 : 32);
	p->tq.ops = &vsock_queue_ops;
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
	hot_rx_fini(&p->hot_rx);
	hot_tx_fini(&p->hot_tx);
	p->rx_state = p->tx_state = NULL;
	p->rest = NULL;
}

/* What is reserved now was reserved for connections that are dead. */
static void make_stale(struct vsock_pair *p)
{
	for (uint32_t i = 0; i < p->tx.size; i++)
		if (p->tx_state[i] == TX_HELD)
			p->tx_state[i] = TX_STALE;
}

/*
 * Takes what the device has finished out of the used ring. Behind a TRANSPORT_RESET that nobody has
 * looked at, it may be the next session's, which does not begin.
 */
static void keep_rest(struct vsock_pair *p)
{
	if (!p->tq.up || (p->ev && vsock_event_waits(p->ev)))
		return;
	while (virtq_ready(&p->rx)) {
		struct vsock_rest *r = &p->rest[(p->rest_head + p->rest_n) & p->rx.mask];

		if (!virtq_take(&p->rx, true, &r->id, &r->len))
			return;
		p->rx_state[r->id] = RX_REST;
		p->rest_n++;
	}
}

void vsock_pair_stop(struct vsock_pair *p)
{
	if (!p->rx.fault)
		keep_rest(p);
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

void vsock_pair_reset(struct vsock_pair *p, bool event_idx)
{
	for (uint32_t i = 0; i < p->tx.size; i++)
		if (virtq_has(&p->tx, (uint16_t)i))
			hot_tx_append(&p->hot_tx, (uint16_t)i);
	virtq_reset(&p->rx, event_idx);
	virtq_reset(&p->tx, event_idx);
	for (uint32_t i = 0; i < p->rx.size; i++) {
		virtq_set_desc(&p->rx, (uint16_t)i,
			       iova_add(p->rx_bufs.iova, i * p->rx_bufs.stride + VSOCK_HDR_OFF),
			       vsock_room(&p->rx_bufs), VRING_DESC_F_WRITE);
		virtq_set_desc(&p->tx, (uint16_t)i,
			       iova_add(p->tx_bufs.iova, i * p->tx_bufs.stride + VSOCK_HDR_OFF),
			       vsock_room(&p->tx_bufs), 0);
	}
}

void vsock_pair_start(struct vsock_pair *p, const struct vsock_events *ev)
{
	for (uint32_t i = 0; i < p->rx.size; i++)
		if (p->rx_state[i] == RX_POSTED)
			virtq_post(&p->rx, (uint16_t)i, vsock_room(&p->rx_bufs));
	hot_rx_restart(&p->hot_rx);
	p->ev = ev;
	p->nudged = 0;
	p->tq.session++;
	shm_store32(&p->tq.up, 1);
	stats_add(&p->tq.stats.sessions, 1);
	if (virtq_publish(&p->rx)) {
		stats_add(&p->tq.stats.kicks, 1);
		virtq_notify(&p->kick_rx);
	}
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

void vsock_events_reset(struct vsock_events *ev, bool event_idx)
{
	virtq_reset(&ev->vq, event_idx);
	__atomic_store_n(&ev->seen, 0, __ATOMIC_RELEASE);
	for (uint16_t i = 0; i < VSOCK_EVENTS; i++)
		virtq_set_desc(&ev->vq, i, iova_add(ev->iova, i * SHM_CACHE_LINE),
			       sizeof(struct virtio_vsock_event), VRING_DESC_F_WRITE);
}

static void events_post(struct vsock_events *ev)
{
	for (uint16_t i = 0; i < VSOCK_EVENTS; i++)
		if (!virtq_has(&ev->vq, i))
			virtq_post(&ev->vq, i, sizeof(struct virtio_vsock_event));
	if (virtq_pending(&ev->vq) && virtq_publish(&ev->vq))
		virtq_notify(&ev->kick);
	/* Events that are there already are not lost: one more look, by way of our own eventfd. */
	if (!virtq_arm(&ev->vq))
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

	for (unsigned n = virtq_ready(&ev->vq); n; n--) {
		if (!virtq_take(&ev->vq, true, &id, &len))
			break;
		what = shm_load32((const uint32_t *)(ev->buf + id * SHM_CACHE_LINE));
		/* Events that came with a later version of the specification are ignored. */
		if (len >= sizeof(what) && le32toh(what) == VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)
			resets++;
	}
	return ev->vq.fault ? -EPROTO : resets;
}

void vsock_events_done(struct vsock_events *ev)
{
	/* First the buffers, then the packets (VIRTIO 1.2, section 5.10.6.7). */
	events_post(ev);
	__atomic_store_n(&ev->seen, ev->vq.used_idx, __ATOMIC_RELEASE); /* barrier pair [T] */
}
