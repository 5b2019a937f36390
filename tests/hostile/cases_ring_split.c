/* SPDX-License-Identifier: BSD-3-Clause */
/* Split virtqueues: indices, heads, links. */
#include "host_cases.h"

#include <string.h>

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
	while (shm_load_acquire16(&g->used->idx) != g->avail_idx && testbed_victim_up())
		testbed_nap();
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

const struct host_case split_cases[] = {
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
	{"indirect table inside an indirect table", TABLE(16), BREAKS, .ind = {{T1, 16, IND, 0}}},
	{"indirect table that contains itself", TABLE(16), BREAKS, .ind = {{T0, 16, IND, 0}}},
	{"receive buffer as a table that links to itself", ONE(T0, 16, IND), .rx = true, BREAKS,
	 .ind = {{PKT, 1, NX | WR, 0}}},
	{"used entries and flags scribbled over", scribble_used, .rw = 1},
	{"used index scribbled over", scribble_used, .rw = 1, .index_too = true},
	{"avail flags and used_event full of garbage", avail_garbage, .rw = 1},
};
const unsigned n_split_cases = sizeof(split_cases) / sizeof(split_cases[0]);
