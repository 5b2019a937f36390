/* SPDX-License-Identifier: BSD-3-Clause */
#include "tap.h"

#include <stdlib.h>
#include <sys/uio.h>

/* Where the pieces' addresses go: room for @n, or for as many as there was memory for. */
static struct iovec *tap_iov(struct queue_tap *t, uint32_t *n)
{
	struct iovec *v;

	if (*n > t->room) {
		v = realloc(t->iov, *n * sizeof(*v));
		if (v) {
			t->iov = v;
			t->room = *n;
		}
	}
	*n = *n < t->room ? *n : t->room;
	return t->iov;
}

static void show(struct zv_queue *q, bool sent, const struct vsock_hdr *h,
		 const struct pkt_seg *seg, uint32_t nseg)
{
	struct iovec *v = tap_iov(&q->tap, &nseg);
	uint8_t wire[VSOCK_HDR_LEN];

	vsock_hdr_put(wire, h);
	for (uint32_t i = 0; i < nseg; i++)
		v[i] = (struct iovec){seg[i].base, seg[i].len};
	q->tap.fn(q->tap.ctx, sent, wire, nseg ? v : NULL, (int)nseg);
}

void tap_received(struct zv_queue *q, const struct rx_pkt *p)
{
	show(q, false, &p->hdr, p->seg, p->nseg);
}

void tap_sent(struct zv_queue *q, const struct vsock_hdr *h, const uint8_t *data)
{
	const struct pkt_seg seg = {(uint8_t *)(uintptr_t)data, h->len};

	show(q, true, h, &seg, h->len != 0);
}
