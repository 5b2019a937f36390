/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver half of the raw frontend: rings and packets. */
#include "raw_layout.h"
#include "testbed.h"

#include <string.h>
#include <sys/eventfd.h>

#define SYNC_PORT 9u /* nobody listens there: every REQUEST is answered by RST */

void raw_desc_at(const struct raw *r, struct vring_desc *d, uint64_t gpa, uint32_t len,
		 unsigned flags, unsigned next)
{
	/* Word by word: a case may have another thread write there. */
	shm_store64((uint64_t *)(void *)&d->addr, raw_gpa(r, gpa));
	shm_store32(&d->len, len);
	shm_store16(&d->flags, (uint16_t)flags);
	shm_store16(&d->next, (uint16_t)next);
}

void raw_desc(struct raw *r, unsigned ring, unsigned i, uint64_t gpa, uint32_t len, unsigned flags,
	      unsigned next)
{
	raw_desc_at(r, r->layout->desc(&r->ring[ring], i), gpa, len, flags, next);
}

void raw_offer(struct raw *r, unsigned ring, uint16_t head)
{
	r->layout->offer(&r->ring[ring], head);
}

void raw_kick(struct raw *r, unsigned ring)
{
	if (r->ring[ring].doorbell)
		*r->ring[ring].doorbell = (uint16_t)ring;
	else
		(void)eventfd_write(r->ring[ring].kick, 1);
}

void raw_publish_idx(struct raw *r, unsigned ring, uint16_t idx)
{
	shm_store_release16(&r->ring[ring].avail->idx, idx);
	shm_mb();
	raw_kick(r, ring);
}

void raw_publish(struct raw *r, unsigned ring)
{
	r->layout->publish(&r->ring[ring]);
	shm_mb();
	raw_kick(r, ring);
}

void raw_post_rx(struct raw *r, unsigned i)
{
	raw_desc(r, RAW_RX, i, RAW_A + RAW_RX_AT + i * RAW_RX_SIZE, RAW_RX_SIZE, VRING_DESC_F_WRITE,
		 0);
	raw_offer(r, RAW_RX, (uint16_t)i);
}

void raw_rings_reset(struct raw *r)
{
	for (unsigned i = 0; i < RAW_RINGS; i++)
		r->layout->reset(&r->ring[i], r->flags & RAW_OLD && i != RAW_EVT ? RAW_USED : 0);
	if (r->flags & RAW_OLD) {
		raw_desc(r, RAW_EVT, 0, RAW_A + RAW_EVENT, 8, VRING_DESC_F_WRITE, 0);
		raw_offer(r, RAW_EVT, 0);
		r->layout->publish(&r->ring[RAW_EVT]);
	}
	memset(r->tx_busy, 0, sizeof(r->tx_busy));
	for (unsigned i = 0; i < RAW_RX_BUFS; i++)
		raw_post_rx(r, i);
	r->layout->publish(&r->ring[RAW_RX]);
}

static void take_rx(struct raw *r, uint32_t id, uint32_t len)
{
	struct raw_pkt *p = &r->log[r->npkts % RAW_LOG];
	const uint8_t *buf = raw_at(r, RAW_RX_AT + id * RAW_RX_SIZE);

	if (id >= RAW_RX_BUFS || len > RAW_RX_SIZE) {
		r->bad_used++;
		return;
	}
	if (len >= VSOCK_HDR_LEN) { /* 0: given back unused */
		vsock_hdr_get(&p->h, buf);
		p->used_len = len;
		memcpy(p->data, buf + VSOCK_HDR_LEN, RAW_DATA);
		r->npkts++;
	}
	if (!r->no_repost)
		raw_post_rx(r, id);
}

void raw_pump_rx(struct raw *r)
{
	uint32_t id, len;
	bool got = false;
	int ret;

	while ((ret = r->layout->used(&r->ring[RAW_RX], &id, &len)) > 0) {
		take_rx(r, id, len);
		got = true;
	}
	r->bad_used += ret < 0;
	if (got && !r->no_repost)
		raw_publish(r, RAW_RX);
}

void raw_pump(struct raw *r)
{
	uint32_t id, len;
	int ret;

	while ((ret = r->layout->used(&r->ring[RAW_TX], &id, &len)) > 0)
		if (id < RAW_N)
			r->tx_busy[id] = false;
		else
			r->bad_used++;
	r->bad_used += ret < 0;
	raw_pump_rx(r);
}

bool raw_settle(struct raw *r)
{
	const struct raw_ring *tx = &r->ring[RAW_TX];
	uint64_t end = raw_now_ms() + RAW_PATIENCE_MS;

	while (tx->used_seen != tx->avail_idx) {
		if (raw_now_ms() > end || (r->alive && !r->alive()))
			return false;
		raw_pump(r);
		testbed_idle();
	}
	return true;
}

int raw_tx_free(struct raw *r)
{
	uint64_t end = 0;

	for (;;) {
		raw_pump(r);
		for (unsigned i = 0; i < RAW_N; i++)
			if (!r->tx_busy[i])
				return (int)i;
		if (!end)
			end = raw_now_ms() + RAW_PATIENCE_MS;
		if (raw_now_ms() > end || (r->alive && !r->alive()))
			return -1;
		testbed_idle();
	}
}

/* ---- packets ---- */

struct vsock_hdr raw_hdr(const struct raw *r, unsigned op, uint32_t len)
{
	return (struct vsock_hdr){.src_cid = r->cid,
				  .dst_cid = VSOCK_CID_HOST,
				  .src_port = r->sport,
				  .dst_port = r->dport,
				  .len = len,
				  .type = r->type,
				  .op = (uint16_t)op,
				  .buf_alloc = 262144};
}

bool raw_pkt_as(struct raw *r, const struct vsock_hdr *h, const void *payload, uint32_t have)
{
	int i = raw_tx_free(r);
	uint32_t off = RAW_TX_AT + (uint32_t)i * RAW_TX_SIZE;

	if (i < 0 || have > RAW_TX_SIZE - VSOCK_HDR_LEN)
		return false;
	vsock_hdr_put(raw_at(r, off), h);
	if (have)
		memcpy(raw_at(r, off + VSOCK_HDR_LEN), payload, have);
	raw_desc(r, RAW_TX, (unsigned)i, RAW_A + off, VSOCK_HDR_LEN + have, 0, 0);
	r->tx_busy[i] = true;
	raw_offer(r, RAW_TX, (uint16_t)i);
	raw_publish(r, RAW_TX);
	return true;
}

bool raw_pkt(struct raw *r, unsigned op, const void *payload, uint32_t len)
{
	struct vsock_hdr h = raw_hdr(r, op, len);

	return raw_pkt_as(r, &h, payload, len);
}

static bool matches(const struct vsock_hdr *h, unsigned op, uint32_t sport, uint32_t dport)
{
	return (!op || h->op == op) && h->dst_port == sport && h->src_port == dport;
}

unsigned raw_count(const struct raw *r, uint32_t mark, unsigned op, uint32_t sport, uint32_t dport)
{
	unsigned n = 0;

	if (r->npkts - mark > RAW_LOG)
		mark = r->npkts - RAW_LOG;
	for (; mark != r->npkts; mark++)
		n += matches(&r->log[mark % RAW_LOG].h, op, sport, dport);
	return n;
}

static const struct raw_pkt *wait_for(struct raw *r, uint32_t mark, unsigned op, uint32_t sport,
				      uint32_t dport, unsigned ms)
{
	uint64_t end = raw_now_ms() + ms;

	for (;;) {
		raw_pump(r);
		if (r->npkts - mark > RAW_LOG)
			mark = r->npkts - RAW_LOG;
		for (; mark != r->npkts; mark++)
			if (matches(&r->log[mark % RAW_LOG].h, op, sport, dport))
				return &r->log[mark % RAW_LOG];
		if (raw_now_ms() > end || (r->alive && !r->alive()))
			return NULL;
		testbed_idle();
	}
}

const struct raw_pkt *raw_wait(struct raw *r, uint32_t mark, unsigned op, uint32_t sport,
			       uint32_t dport)
{
	return wait_for(r, mark, op, sport, dport, RAW_PATIENCE_MS);
}

bool raw_connect(struct raw *r, uint32_t sport, uint32_t dport, unsigned type)
{
	uint32_t mark = raw_mark(r);
	const struct raw_pkt *p;

	r->sport = sport ? sport : r->next_port++;
	r->dport = dport;
	r->type = (uint16_t)type;
	if (!raw_pkt(r, VSOCK_OP_REQUEST, NULL, 0))
		return false;
	p = raw_wait(r, mark, 0, r->sport, dport);
	return p && p->h.op == VSOCK_OP_RESPONSE && p->h.src_cid == VSOCK_CID_HOST &&
	       p->h.dst_cid == r->cid && p->h.type == type;
}

bool raw_echo(struct raw *r, const void *data, uint32_t len)
{
	uint32_t mark = raw_mark(r), have = 0;
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, len);

	h.flags = r->type == VSOCK_TYPE_SEQPACKET ? VSOCK_SEQ_EOM : 0;
	if (!raw_pkt_as(r, &h, data, len))
		return false;
	while (have < len) {
		const struct raw_pkt *p = raw_wait(r, mark, VSOCK_OP_RW, r->sport, r->dport);

		if (!p || p->h.len == 0 || p->h.len > len - have ||
		    p->used_len != VSOCK_HDR_LEN + p->h.len ||
		    memcmp(p->data, (const uint8_t *)data + have, p->h.len) != 0)
			return false;
		have += p->h.len;
		while (&r->log[mark % RAW_LOG] != p)
			mark++;
		mark++;
	}
	return true;
}

bool raw_sync(struct raw *r)
{
	uint32_t mark = raw_mark(r), port = r->next_port++;
	struct vsock_hdr h = {.src_cid = r->cid,
			      .dst_cid = VSOCK_CID_HOST,
			      .src_port = port,
			      .dst_port = SYNC_PORT,
			      .type = VSOCK_TYPE_STREAM,
			      .op = VSOCK_OP_REQUEST,
			      .buf_alloc = 4096};

	/* An RST that finds 64 others waiting is dropped, by right: ask again. */
	for (unsigned tries = 0; tries < 10; tries++)
		if (!raw_pkt_as(r, &h, NULL, 0))
			return false;
		else if (wait_for(r, mark, VSOCK_OP_RST, port, SYNC_PORT, RAW_PATIENCE_MS / 10))
			return true;
		else if (r->alive && !r->alive())
			return false;
	return false;
}
