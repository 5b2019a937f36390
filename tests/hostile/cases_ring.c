/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtqueues: indices, chains, addresses. */
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

/* Makes the host use up the good receive buffers, so that what was offered last is next. */
static void use_rx(struct raw *r)
{
	for (unsigned i = 0; i < RAW_RX_BUFS + 8; i++)
		(void)raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
}

void offer_chain(struct raw *r, const struct host_case *c)
{
	struct vring_desc *table = raw_at(r, RAW_SCRATCH);
	unsigned ring = c->rx ? RAW_RX : RAW_TX;

	for (unsigned i = 0; i < 3; i++)
		raw_desc_at(r, &table[i], c->ind[i].gpa, c->ind[i].len, c->ind[i].flags,
			    c->ind[i].next);
	put_good_packet(r);
	for (unsigned i = 0; i < 3; i++)
		raw_desc(r, ring, D0 + i, c->d[i].gpa, c->d[i].len, c->d[i].flags, c->d[i].next);
	r->no_repost = c->rx;
	raw_offer(r, ring, c->head ? c->head : D0);
	raw_publish(r, ring);
	if (c->rx)
		use_rx(r);
}

/* The avail index moves without entries. */
static void jump(struct raw *r, const struct host_case *c)
{
	unsigned ring = c->rx ? RAW_RX : RAW_TX;

	r->no_repost = c->rx;
	raw_publish_idx(r, ring, (uint16_t)(r->ring[ring].avail_idx + c->steps));
	if (c->rx)
		use_rx(r);
}

static void whole_ring_loop(struct raw *r, const struct host_case *c)
{
	(void)c;
	for (unsigned i = 0; i < RAW_N; i++)
		raw_desc(r, RAW_TX, i, PKT, 1, NX, (i + 1) % RAW_N);
	offer(r, 0);
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

/* The device's half of the ring is scribbled over: it must not be read back. */
static void scribble_used(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	memset(g->used->ring, 0xee, sizeof(g->used->ring[0]) * RAW_N);
	g->used->flags = 0xffff;
	if (c->index_too)
		shm_store16(&g->used->idx, 0x5555);
	put_good_packet(r);
	raw_desc(r, RAW_TX, D0, PKT, PKT_LEN, 0, 0);
	offer(r, D0);
	/* the device stores its own index, not ours plus one */
	while (shm_load_acquire16(&g->used->idx) != g->avail_idx && world_victim_up())
		world_nap();
}

static void avail_garbage(struct raw *r, const struct host_case *c)
{
	(void)c;
	shm_store16(&r->ring[RAW_TX].avail->flags, 0xffff);
	shm_store16(&r->ring[RAW_TX].avail->ring[RAW_N], 0x8000);
	shm_store16(&r->ring[RAW_RX].avail->flags, 0xffff);
	shm_store16(&r->ring[RAW_RX].avail->ring[RAW_N], 0x8000);
	put_good_packet(r);
	raw_desc(r, RAW_TX, D0, PKT, PKT_LEN, 0, 0);
	offer(r, D0);
}

/* A receive buffer whose header is cut into pieces: legal, and data fits behind it. */
static void rx_crumbs(struct raw *r, const struct host_case *c)
{
	const struct raw_pkt *p;
	struct vsock_hdr h;
	uint32_t mark;

	(void)c;
	r->no_repost = true;
	for (unsigned i = 0; i < 3; i++)
		raw_desc(r, RAW_RX, D0 + i, PKT + 0x1000 + i * 20, i == 2 ? 1000 : 20,
			 WR | (i < 2 ? NX : 0), D0 + i + 1);
	raw_offer(r, RAW_RX, D0);
	raw_publish(r, RAW_RX);
	for (unsigned i = 0; i < RAW_RX_BUFS; i++) {
		mark = raw_mark(r);
		(void)raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
		p = raw_wait(r, mark, VSOCK_OP_CREDIT_UPDATE, r->sport, r->dport);
		if (!p)
			return;
	}
	(void)raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
	while (r->ring[RAW_RX].used->ring[r->ring[RAW_RX].used_seen % RAW_N].id != D0 &&
	       world_victim_up())
		world_nap();
	while (shm_load_acquire16(&r->ring[RAW_RX].used->idx) == r->ring[RAW_RX].used_seen &&
	       world_victim_up())
		world_nap();
	r->ring[RAW_RX].used_seen++;
	vsock_hdr_get(&h, raw_at(r, PKT_OFF + 0x1000));
	if (h.op != VSOCK_OP_CREDIT_UPDATE || h.dst_port != r->sport)
		r->bad_used++;
	r->no_repost = false;
	for (unsigned i = 0; i < RAW_RX_BUFS; i++)
		raw_post_rx(r, i);
	raw_publish(r, RAW_RX);
}

#define BREAKS		 .ring = BROKEN, .conn = WHATEVER, .rst = ANY, .rw = ANY
#define DROPPED		 .counter = CNT(rx_bad_hdr), .count = 1
#define TAKEN		 .rw = 1
#define ONE(g, l, f)	 .d = {{g, l, f, 0}}
#define TWO(l0, g, l, f) .d = {{PKT, l0, NX, D0 + 1}, {g, l, f, 0}}
#define TABLE(l)	 ONE(T0, l, IND)

const struct host_case ring_cases[] = {
	{"avail index jumps by the ring size and one", jump, BREAKS, .steps = RAW_N + 1},
	{"avail index jumps by half the number space", jump, BREAKS, .steps = 0x8000},
	{"avail index runs backwards", jump, BREAKS, .steps = 0xffff},
	{"avail index of the receive ring jumps", jump, BREAKS, .rx = true, .steps = RAW_N},
	{"avail index of the receive ring runs backwards", jump, BREAKS, .rx = true,
	 .steps = 0xff00},
	{"head beyond the table", .head = RAW_N, BREAKS},
	{"head 65535", .head = 0xffff, BREAKS},
	{"head of the receive ring beyond the table", .head = RAW_N, .rx = true, BREAKS},
	{"next beyond the table", .d = {{PKT, 44, NX, RAW_N}}, BREAKS},
	{"next 65535", .d = {{PKT, 44, NX, 0xffff}}, BREAKS},
	{"descriptor that is its own next", .d = {{PKT, 1, NX, D0}}, BREAKS},
	{"loop of two descriptors", .d = {{PKT, 1, NX, D0 + 1}, {PKT, 1, NX, D0}}, BREAKS},
	{"loop of empty descriptors", .d = {{PKT, 0, NX, D0 + 1}, {PKT, 0, NX, D0}}, BREAKS},
	{"loop through the whole ring", whole_ring_loop, BREAKS},
	{"receive chain that loops", .rx = true, BREAKS,
	 .d = {{PKT, 1, NX | WR, D0 + 1}, {PKT, 0, NX | WR, D0 + 1}}},
	{"indirect table that links to itself", TABLE(32), BREAKS,
	 .ind = {{PKT, 1, NX, 1}, {PKT, 1, NX, 0}}},
	{"indirect table with an entry that is its own next", TABLE(16), BREAKS,
	 .ind = {{PKT, 1, NX, 0}}},
	{"indirect table with next beyond it", TABLE(32), BREAKS, .ind = {{PKT, 1, NX, 2}}},
	{"indirect table of 0 bytes", TABLE(0), BREAKS},
	{"indirect table of 8 bytes", TABLE(8), BREAKS},
	{"indirect table of 17 bytes", TABLE(17), BREAKS},
	{"indirect table with more entries than allowed", TABLE(1025 * 16), BREAKS},
	{"indirect table of 2^32 - 16 bytes", TABLE(0xfffffff0u), BREAKS},
	{"indirect table inside an indirect table", TABLE(16), BREAKS, .ind = {{T1, 16, IND, 0}}},
	{"indirect table that contains itself", TABLE(16), BREAKS, .ind = {{T0, 16, IND, 0}}},
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
	{"receive buffer as a table that links to itself", ONE(T0, 16, IND), .rx = true, BREAKS,
	 .ind = {{PKT, 1, NX | WR, 0}}},
	{"receive buffer in pieces is used", rx_crumbs, .rst = 0},
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
	{"used entries and flags scribbled over", scribble_used, .rw = 1},
	{"used index scribbled over", scribble_used, .rw = 1, .index_too = true},
	{"avail flags and used_event full of garbage", avail_garbage, .rw = 1},
};
const unsigned n_ring_cases = sizeof(ring_cases) / sizeof(ring_cases[0]);
