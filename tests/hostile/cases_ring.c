/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtqueues of any layout: chains, addresses. */
#include "host_cases.h"

#include <string.h>

void put_good_packet(struct raw *r)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	vsock_hdr_put(raw_at(r, PKT_OFF), &h);
	memcpy(raw_at(r, PKT_OFF + VSOCK_HDR_LEN), "evil", 4);
}

void offer(struct raw *r, uint16_t head)
{
	raw_offer(r, RAW_TX, head);
	raw_publish(r, RAW_TX);
}

void use_rx(struct raw *r)
{
	for (unsigned i = 0; i < RAW_RX_BUFS + 8; i++)
		(void)raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
}

void put_entry(struct raw *r, unsigned i, const struct desc *d)
{
	const struct vring_desc e = {d->gpa, d->len, d->flags, d->next};

	r->layout->entry(r, raw_at(r, RAW_SCRATCH), i, &e);
}

void offer_chain(struct raw *r, const struct host_case *c)
{
	unsigned ring = c->rx ? RAW_RX : RAW_TX;

	for (unsigned i = 0; i < 3; i++)
		put_entry(r, i, &c->ind[i]);
	put_good_packet(r);
	for (unsigned i = 0; i < 3; i++)
		raw_desc(r, ring, D0 + i, c->d[i].gpa, c->d[i].len, c->d[i].flags, c->d[i].next);
	r->no_repost = c->rx;
	raw_offer(r, ring, c->head ? c->head : D0);
	raw_publish(r, ring);
	if (c->rx)
		use_rx(r);
}

/* A descriptor for each byte of header and payload: legal. */
static void crumbs(struct raw *r, const struct host_case *c)
{
	(void)c;
	put_good_packet(r);
	for (unsigned i = 0; i < PKT_LEN; i++)
		raw_desc(r, RAW_TX, i, PKT + i, 1, i + 1 < PKT_LEN ? NX : 0, i + 1);
	memset(r->tx_busy, true, PKT_LEN);
	offer(r, 0);
}

static void same_head_often(struct raw *r, const struct host_case *c)
{
	put_good_packet(r);
	raw_desc(r, RAW_TX, D0, PKT, PKT_LEN, 0, 0);
	for (unsigned i = 0; i < c->times; i++)
		raw_offer(r, RAW_TX, D0);
	raw_publish(r, RAW_TX);
}

/* Two chains of which each alone is legal, or one that adds up to more than 4 GiB. */
static void gigabytes(struct raw *r, const struct host_case *c)
{
	put_good_packet(r);
	raw_desc(r, RAW_TX, D0, PKT, PKT_LEN, NX, D0 + 1);
	raw_desc(r, RAW_TX, D0 + 1, RAW_D, UINT32_MAX, 0, 0);
	if (c->ring == ALIVE)
		raw_desc(r, RAW_TX, D0 + 1, RAW_D, UINT32_MAX - PKT_LEN, 0, 0);
	offer(r, D0);
}

/* The ring's own memory as a buffer. */
static void ring_as_buffer(struct raw *r, const struct host_case *c)
{
	(void)c;
	raw_desc(r, RAW_TX, D0, RAW_A + 0x4000, 0x400, 0, 0);
	offer(r, D0);
}

/* A receive buffer whose header is cut into pieces, perhaps in a table: legal, and data fits behind
 * it. */
static void rx_crumbs(struct raw *r, const struct host_case *c)
{
	uint64_t end = raw_now_ms() + RAW_PATIENCE_MS;
	uint32_t mark, id = RAW_N, len = 0;
	struct vsock_hdr h;

	r->no_repost = true;
	for (unsigned i = 0; i < 3; i++) {
		const struct desc d = {PKT + 0x1000 + i * 20ull, i == 2 ? 1000 : 20,
				       WR | (i < 2 ? NX : 0), (uint16_t)(i + 1)};

		put_entry(r, i, &d);
		raw_desc(r, RAW_RX, D0 + i, d.gpa, d.len, d.flags, D0 + i + 1);
	}
	if (c->index_too)
		raw_desc(r, RAW_RX, D0, T0, 3 * sizeof(struct vring_desc), IND, 0);
	raw_offer(r, RAW_RX, D0);
	raw_publish(r, RAW_RX);
	for (unsigned i = 0; i < RAW_RX_BUFS; i++) {
		mark = raw_mark(r);
		(void)raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
		if (!raw_wait(r, mark, VSOCK_OP_CREDIT_UPDATE, r->sport, r->dport))
			return;
	}
	(void)raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
	while (!r->layout->used(&r->ring[RAW_RX], &id, &len) && raw_now_ms() < end)
		testbed_nap();
	vsock_hdr_get(&h, raw_at(r, PKT_OFF + 0x1000));
	if (id != D0 || len != VSOCK_HDR_LEN || h.op != VSOCK_OP_CREDIT_UPDATE ||
	    h.dst_port != r->sport)
		r->bad_used++;
	r->no_repost = false;
	for (unsigned i = 0; i < RAW_RX_BUFS; i++)
		raw_post_rx(r, i);
	raw_publish(r, RAW_RX);
}

const struct host_case ring_cases[] = {
	{"indirect table of 0 bytes", TABLE(0), BREAKS},
	{"indirect table of 8 bytes", TABLE(8), BREAKS},
	{"indirect table of 17 bytes", TABLE(17), BREAKS},
	{"indirect table with more entries than allowed", TABLE(1025 * 16), BREAKS},
	{"indirect table of 2^32 - 16 bytes", TABLE(0xfffffff0u), BREAKS},
	{"indirect descriptor with next", .d = {{T0, 16, IND | NX, D0 + 1}}, BREAKS},
	{"indirect table in a hole", ONE(RAW_HOLE, 16, IND), BREAKS},
	{"indirect table that straddles two regions", ONE(RAW_B - 16, 32, IND), BREAKS},
	{"indirect table that wraps at 2^64", ONE(UINT64_MAX - 15, 32, IND), BREAKS},
	{"indirect table without the feature", TABLE(16), BREAKS, .raw_flags = RAW_NO_IND,
	 .ind = {{PKT, PKT_LEN, 0, 0}}},
	{"indirect table with a writable entry", TABLE(32), BREAKS,
	 .ind = {{PKT, 44, NX, 1}, {PKT + 44, 4, WR, 0}}},
	{"indirect table whose entry lies in a hole", TABLE(16), BREAKS,
	 .ind = {{RAW_HOLE, PKT_LEN, 0, 0}}},
	{"good indirect table, marked writable", ONE(T0, 32, IND | WR), TAKEN,
	 .ind = {{PKT, 44, NX, 1}, {PKT + 44, 4, 0, 0}}},
	{"address in a hole", ONE(RAW_HOLE, PKT_LEN, 0), BREAKS},
	{"address 0", ONE(0, PKT_LEN, 0), BREAKS, .needs = NEEDS_NOTHING_AT_0},
	{"address 2^64 - 1", ONE(UINT64_MAX, PKT_LEN, 0), BREAKS},
	{"payload in a hole", TWO(44, RAW_HOLE, 4, 0), BREAKS},
	{"buffer that straddles two adjacent regions", ONE(RAW_B - 20, PKT_LEN, 0), BREAKS},
	{"payload that straddles two adjacent regions", TWO(44, RAW_B - 2, 4, 0), BREAKS},
	{"buffer that runs past the last region", ONE(RAW_B + RAW_B_SIZE - 20, PKT_LEN, 0), BREAKS},
	{"buffer that wraps at 2^64", ONE(UINT64_MAX - 19, PKT_LEN, 0), BREAKS},
	{"payload that wraps into low memory", TWO(44, UINT64_MAX - 1, 0x200000, 0), BREAKS},
	{"last byte below 2^64 is usable", TWO(44, UINT64_MAX - 3, 4, 0), TAKEN,
	 .needs = NEEDS_MEMORY_AT_THE_TOP},
	{"length 2^32 - 1", ONE(PKT, UINT32_MAX, 0), BREAKS},
	{"payload of length 2^32 - 1", TWO(44, PKT + 44, UINT32_MAX, 0), BREAKS},
	{"chain of almost 4 GiB, header says 4", gigabytes, TAKEN, .raw_flags = RAW_BIG,
	 .needs = NEEDS_4_GIB},
	{"chain of more than 4 GiB", gigabytes, BREAKS, .raw_flags = RAW_BIG, .needs = NEEDS_4_GIB},
	{"writable where readable is needed", ONE(PKT, PKT_LEN, WR), BREAKS},
	{"writable payload behind a readable header", TWO(44, PKT + 44, 4, WR), BREAKS},
	{"readable where writable is needed", ONE(PKT, 4096, 0), .rx = true, BREAKS},
	{"receive buffer with a readable tail in the header", .rx = true, BREAKS,
	 .d = {{PKT, 20, NX | WR, D0 + 1}, {PKT + 20, 100, 0, 0}}},
	{"receive buffer in a hole", ONE(RAW_HOLE, 4096, WR), .rx = true, BREAKS},
	{"receive buffer that straddles two regions", ONE(RAW_B - 50, 4096, WR), .rx = true,
	 BREAKS},
	{"receive buffer that wraps at 2^64", ONE(UINT64_MAX - 60, 4096, WR), .rx = true, BREAKS},
	{"receive buffer of 43 bytes", ONE(PKT, 43, WR), .rx = true, BREAKS},
	{"receive buffer of 0 bytes", ONE(PKT, 0, WR), .rx = true, BREAKS},
	{"receive buffer as an indirect table of 0 bytes", ONE(T0, 0, IND), .rx = true, BREAKS},
	{"receive buffer in pieces is used", rx_crumbs, .rst = 0},
	{"receive buffer in a table is used", rx_crumbs, .index_too = true},
	{"empty chain", ONE(PKT, 0, 0), DROPPED},
	{"two empty descriptors", TWO(0, PKT, 0, 0), DROPPED},
	{"empty descriptor with a wild address", ONE(UINT64_MAX, 0, 0), DROPPED},
	{"chain of 43 bytes", ONE(PKT, 43, 0), DROPPED},
	{"chain of 20 and 23 bytes", TWO(20, PKT + 20, 23, 0), DROPPED},
	{"header says one byte more than the chain has", ONE(PKT, 47, 0), DROPPED},
	{"header in pieces of a byte", crumbs, TAKEN},
	{"payload behind an empty descriptor",
	 .d = {{PKT, 44, NX, D0 + 1}, {0, 0, NX, D0 + 2}, {PKT + 44, 4, 0, 0}}, TAKEN},
	{"unknown descriptor flags", ONE(PKT, PKT_LEN, 0xfff8), TAKEN},
	{"one chain offered 20 times over", same_head_often, .rw = ANY, .times = 20},
	{"the ring itself as a packet", ring_as_buffer, .count = ANY, .rst = ANY, .rw = ANY},
};
const unsigned n_ring_cases = sizeof(ring_cases) / sizeof(ring_cases[0]);
