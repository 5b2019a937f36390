/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest had sent before its session ended.
 *
 * Theory of operation
 * -------------------
 * When a session ends, the guest's transmit ring may hold packets that the owner has not received:
 * the last bytes of a guest that has closed and exited, or was killed. The control thread receives
 * them itself, while the owner is stopped, through the same checks as the owner (rx_burst), and
 * copies them into memory of our own, because the guest's memory goes with the session. The owner
 * gets them by vhost_pair_rx_rest before it ends the session's connections. At most saved_max
 * bytes, this pair's share of VHOST_SAVED_MAX, may be copied and not yet given back. Nothing is
 * saved beyond that point, so a connection always gets the beginning of what was sent, and never an
 * end of stream after a gap. The same applies to chains with so many descriptors that
 * vhost_pair_sweep() stops the copying.
 *
 * The token of such a packet is VHOST_SAVED_TOKEN and the number of a slot.
 */
#include "vhost_pair_priv.h"

#include <stdlib.h>
#include <string.h>

struct vhost_pair_saved {
	struct vsock_hdr hdr;
	uint8_t data[]; /* hdr.len bytes */
};

/* Makes a slot for one more; false: no memory. Slots in [saved_next, nsaved) wait for the owner. */
static bool slots_grow(struct vhost_pair *q)
{
	uint32_t size = q->saved_size ? 2 * q->saved_size : 64;
	struct vhost_pair_saved **p;

	if (q->nsaved < q->saved_size)
		return true;
	p = realloc(q->saved, size * sizeof(struct vhost_pair_saved *));
	if (!p)
		return false;
	q->saved = p;
	q->saved_size = size;
	return true;
}

static size_t cost(const struct vhost_pair_saved *k)
{
	return sizeof(*k) + sizeof(k) + k->hdr.len;
}

/* Copies a packet. False: there is no room for it. */
static bool save(struct vhost_pair *q, const struct rx_pkt *p)
{
	struct vhost_pair_saved *k;
	uint32_t at = 0;

	/* Checked by the burst: the segments have hdr.len bytes in all. */
	if (sizeof(*k) + sizeof(k) + p->hdr.len > q->saved_max - q->saved_bytes || !slots_grow(q))
		return false;
	k = malloc(sizeof(*k) + p->hdr.len);
	if (!k)
		return false;
	k->hdr = p->hdr;
	for (uint32_t i = 0; i < p->nseg; at += p->seg[i++].len)
		memcpy(k->data + at, p->seg[i].base, p->seg[i].len);
	q->saved_bytes += cost(k);
	q->saved[q->nsaved++] = k;
	return true;
}

static void drop(struct vhost_pair *q, uint32_t slot)
{
	q->saved_bytes -= cost(q->saved[slot]);
	free(q->saved[slot]);
	q->saved[slot] = NULL;
	/* From the end, so that the remaining ones keep their numbers. */
	while (q->nsaved > q->saved_next && !q->saved[q->nsaved - 1])
		q->nsaved--;
	while (q->nsaved == q->saved_next && q->nsaved && !q->saved[q->nsaved - 1])
		q->saved_next = --q->nsaved;
}

/* Chains that have been taken from the ring, mod 2^16. */
static uint16_t taken_of(const struct vhost_ring *r)
{
	return (uint16_t)(r->layout->verbs->offered(r) - vhost_ring_pending(r));
}

static bool has_more(struct vhost_ring *r)
{
	return vhost_ring_pending(r) || vhost_ring_refresh(r);
}

void vhost_pair_rx_save(struct vhost_pair *q)
{
	struct rx_pkt pkts[VHOST_BURST];
	/* No more than the ring holds: does not wait for a guest that keeps sending. */
	uint32_t left = q->ep ? q->from_guest.area.size : 0, first = q->nsaved;
	struct guest_mem *mem = q->ep ? guest_mem_get(q->ep->mem) : NULL;
	bool room = true, known = true;
	uint32_t work = 0;

	while (room && known && left && has_more(&q->from_guest)) {
		uint16_t before = taken_of(&q->from_guest), taken;
		int n = q->ops.rx_burst(&q->tq, pkts, left < VHOST_BURST ? left : VHOST_BURST);

		for (int i = 0; i < n; i++) {
			room = room && save(q, &pkts[i]);
			if (pkts[i].nseg)
				q->ops.rx_release(&q->tq, pkts[i].token);
		}
		if (!q->ep)
			break;
		taken = (uint16_t)(taken_of(&q->from_guest) - before);
		left -= taken;
		work += taken + q->from_guest.walked;
		known = taken != 0; /* or the first chain waits for its translation */
		if (work >= vhost_pair_sweep(q, &q->from_guest) && has_more(&q->from_guest))
			room = false;
	}
	/* Zeroes that replaced missing memory are not data. */
	if (mem && shm_load32(&mem->fault))
		while (q->nsaved > first)
			drop(q, q->nsaved - 1);
	guest_mem_put(mem);
	if (!room)
		zv_log_limited(&q->tq.log, ZV_LOG_WARN,
			       "%s: queue %u: the guest has gone, and of what it had sent more was "
			       "unread than is kept (%zu KiB, %u descriptors): the rest is lost, "
			       "and the connections concerned are reset",
			       q->name, q->index, q->saved_max >> 10,
			       vhost_pair_sweep(q, &q->from_guest));
	else if (!known)
		zv_log_limited(&q->tq.log, ZV_LOG_WARN,
			       "%s: queue %u: the guest has gone, and packets of it were at "
			       "addresses without a translation of its IOMMU: they are lost, and "
			       "the connections concerned are reset",
			       q->name, q->index);
}

int vhost_pair_rx_rest(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	unsigned n = 0;

	while (n < max && n < VHOST_BURST && q->saved_next < q->nsaved) {
		uint32_t slot = q->saved_next++;
		struct vhost_pair_saved *k = q->saved[slot];
		struct rx_pkt *p = &pkts[n];

		q->saved_seg[n] = (struct pkt_seg){k->data, k->hdr.len};
		*p = (struct rx_pkt){.hdr = k->hdr,
				     .seg = &q->saved_seg[n],
				     .nseg = k->hdr.len != 0,
				     .token = VHOST_SAVED_TOKEN + slot,
				     .ndesc = 1};
		n++;
		if (!p->nseg)
			drop(q, slot);
	}
	return (int)n;
}

void vhost_pair_saved_release(struct vhost_pair *q, uint32_t token)
{
	uint32_t slot = token - VHOST_SAVED_TOKEN;

	if (token >= VHOST_SAVED_TOKEN && slot < q->saved_next && q->saved[slot])
		drop(q, slot);
}

void vhost_pair_saved_fini(struct vhost_pair *q)
{
	for (uint32_t i = 0; i < q->nsaved; i++)
		free(q->saved[i]);
	free(q->saved);
	q->saved = NULL;
	q->nsaved = q->saved_next = q->saved_size = 0;
}
