/* SPDX-License-Identifier: BSD-3-Clause */
#include "drv_fix.h"
#include "raw_packed.h"
#include "ring_toy.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const struct vsock_rings *rings = &vsock_rings_split;

void fix_layout(const struct vsock_rings *r)
{
	rings = r;
}

/* For a ring of any layout: the next session may have another. */
static void *ring_mem(uint32_t n)
{
	static const struct vsock_rings *const all[] = {&toy_rings, &vsock_rings_packed,
							&vsock_rings_split, NULL};

	return aligned_alloc(VIRTQ_ALIGN, vsock_rings_bytes(all, n));
}

static struct raw_ring raw_ring(const struct virtq *vq)
{
	if (rings == &vsock_rings_packed)
		return raw_packed(vq, true);
	return rings == &toy_rings ? raw_toy(vq, true) : raw_split(vq, true);
}

uint8_t *va(const struct fixture *f, uint64_t iova)
{
	return f->mem + (iova - IOVA.v);
}

void setup(struct fixture *f, uint32_t n, uint32_t payload, bool events)
{
	size_t stride = vsock_stride(payload);
	struct vsock_pair_conf c = {.ring_size = n};

	memset(f, 0, sizeof(*f));
	f->n = n;
	f->p = aligned_alloc(SHM_CACHE_LINE, sizeof(*f->p));
	f->mem = aligned_alloc(SHM_CACHE_LINE, 2 * n * stride);
	c.rx_ring = f->rings[0] = ring_mem(n);
	c.tx_ring = f->rings[1] = ring_mem(n);
	c.rx_bufs = (struct vsock_bufs){f->mem, IOVA, stride, payload};
	c.tx_bufs = (struct vsock_bufs){f->mem + n * stride, iova_add(IOVA, n * stride), stride,
					payload};
	c.call_fd = eventfd(0, EFD_NONBLOCK);
	c.kick_rx = virtq_notify_eventfd(eventfd(0, EFD_NONBLOCK));
	c.kick_tx = virtq_notify_eventfd(eventfd(0, EFD_NONBLOCK));
	assert_int_equal(vsock_pair_init(f->p, &c), 0);
	f->q = &f->p->tq;
	assert_int_equal(f->q->up, 0);
	vsock_pair_reset(f->p, rings, true);
	f->rx = raw_ring(&f->p->rx);
	f->tx = raw_ring(&f->p->tx);
	if (events) {
		f->rings[2] = ring_mem(VSOCK_EVENT_RING);
		f->ev_buf = aligned_alloc(SHM_CACHE_LINE, VSOCK_EVENTS * SHM_CACHE_LINE);
		assert_int_equal(vsock_events_init(&f->ev, f->rings[2], f->ev_buf, IOVA_EV,
						   eventfd(0, EFD_NONBLOCK),
						   virtq_notify_eventfd(eventfd(0, EFD_NONBLOCK))),
				 0);
		vsock_events_reset(&f->ev, rings, true);
		f->ev_ring = raw_ring(&f->ev.vq);
		vsock_events_start(&f->ev);
	}
	vsock_pair_start(f->p, events ? &f->ev : NULL);
}

void teardown(struct fixture *f)
{
	close(f->p->call_fd);
	close(f->p->kick_rx.fd);
	close(f->p->kick_tx.fd);
	vsock_pair_fini(f->p);
	if (f->ev_buf) {
		close(f->ev.call_fd);
		close(f->ev.kick.fd);
		vsock_events_fini(&f->ev);
	}
	for (unsigned i = 0; i < 3; i++)
		free(f->rings[i]);
	free(f->ev_buf);
	free(f->mem);
	free(f->p);
}

bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

void restart(struct fixture *f)
{
	vsock_pair_reset(f->p, rings, true);
	f->rx = raw_ring(&f->p->rx);
	f->tx = raw_ring(&f->p->tx);
	vsock_pair_start(f->p, NULL);
}

void dev_fill(struct fixture *f, uint16_t id, uint32_t len, uint8_t fill)
{
	struct vsock_hdr h = {.src_cid = 2, .dst_cid = 3, .len = len, .op = VSOCK_OP_RW, .type = 1};
	const struct vring_desc *d = &f->rx.desc[id];
	uint8_t *b = va(f, d->addr);

	assert_int_equal(d->flags, VRING_DESC_F_WRITE);
	assert_true(d->len >= VSOCK_HDR_LEN + len);
	h.src_port = fill;
	vsock_hdr_put(b, &h);
	memset(b + VSOCK_HDR_LEN, fill, len);
	raw_put(&f->rx, id, VSOCK_HDR_LEN + len);
}

bool dev_send(struct fixture *f, uint32_t len, uint8_t fill, bool flush)
{
	uint16_t id;

	if (!raw_pop(&f->rx, &id))
		return false;
	dev_fill(f, id, len, fill);
	if (flush)
		(void)raw_flush(&f->rx);
	return true;
}

int dev_recv(struct fixture *f, uint8_t *fill, bool give_back)
{
	struct vsock_hdr h;
	struct vring_desc *d;
	uint16_t id;
	uint8_t *b;

	if (!raw_pop(&f->tx, &id))
		return -1;
	d = &f->tx.desc[id];
	assert_int_equal(d->flags, 0);
	b = va(f, d->addr);
	vsock_hdr_get(&h, b);
	assert_int_equal(d->len, VSOCK_HDR_LEN + h.len);
	*fill = (uint8_t)h.src_port;
	for (uint32_t i = 0; i < h.len; i++)
		assert_int_equal(b[VSOCK_HDR_LEN + i], *fill);
	if (give_back) {
		raw_put(&f->tx, id, 0);
		(void)raw_flush(&f->tx);
	}
	return (int)h.len;
}

void drv_commit(struct fixture *f, const struct tx_slot *s, uint32_t len, uint8_t fill)
{
	struct vsock_hdr h = {.len = len, .op = VSOCK_OP_RW, .src_port = fill};

	memset(s->data, fill, len);
	f->q->ops->tx_commit(f->q, s->token, &h);
}
