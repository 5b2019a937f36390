/* SPDX-License-Identifier: BSD-3-Clause */
/* Used rings: indices, and what the driver's half is worth. */
#include "dev_cases.h"

/* The used index of a ring moves without entries. */
static void jump(const struct dev_case *c)
{
	if (c->on_ring == TX0)
		look_at_tx(); /* up to where the device is */
	dev_used_idx(c->on_ring, (uint16_t)(G.r[c->on_ring].used_idx + c->steps));
	G.r[c->on_ring].used_idx = (uint16_t)(G.r[c->on_ring].used_idx + c->steps);
	if (c->on_ring == TX0)
		look_at_tx();
}

/* Before the driver has posted anything to send, some buffer comes back. */
static void tx_unasked(const struct dev_case *c)
{
	dev_used(TX0, c->id, 0, true);
	look_at_tx();
}

/* Everything the driver owns in the rings is scribbled over, and put back after a look. */
static void scribble(const struct dev_case *c)
{
	static uint8_t desc[16 * G_N], avail[4 + 2 * G_N];
	struct gring *r = &G.r[c->on_ring];
	struct zv_event ev[4];

	memcpy(desc, r->desc, sizeof(desc));
	memcpy(avail, r->avail, sizeof(avail));
	memset(r->desc, 0xee, sizeof(desc));
	memset(r->avail, 0xee, sizeof(avail));
	zv_poll(G.q[0], ev, 4);
	memcpy(r->desc, desc, sizeof(desc));
	memcpy(r->avail, avail, sizeof(avail));
}

static void wishes(const struct dev_case *c)
{
	for (unsigned i = 0; i < 2; i++) {
		shm_store16(&G.r[i].used->flags, (uint16_t)c->flags);
		shm_store16((uint16_t *)(void *)&G.r[i].used->ring[G_N], (uint16_t)c->event_idx);
	}
	for (int i = 0; i < 50; i++)
		assert_int_equal(zv_send(G.c[0], "data", 4, 0), 4);
}

static void event_jump(const struct dev_case *c)
{
	jump(c);
	settle_events(c);
}

const struct dev_case dev_split_cases[] = {
	{"used id with high bits", rx_used, BREAKS, .id = 0x10000, .len = 44},
	{"used index jumps by the ring's size and one", jump, BREAKS, .steps = G_N + 1,
	 .on_ring = RX0},
	{"used index jumps by half the number space", jump, BREAKS, .steps = 0x8000,
	 .on_ring = RX0},
	{"used index runs backwards", jump, BREAKS, .steps = 0xffff, .on_ring = RX0},
	{"transmit: used entry without a packet", tx_unasked, BREAKS, .id = 0},
	{"transmit: used index jumps", jump, BREAKS, .steps = G_N + 1, .on_ring = TX0},
	{"transmit: used index runs backwards", jump, BREAKS, .steps = 0xffff, .on_ring = TX0},
	{"driver's receive ring scribbled over", scribble, .on_ring = RX0},
	{"driver's transmit ring scribbled over", scribble, .on_ring = TX0},
	{"used flags and avail_event all ones", wishes, .flags = 0xffff, .event_idx = 0xffff},
	{"avail_event far away", wishes, .flags = 0, .event_idx = 0x8000},
	{"event ring: used index jumps", event_jump, GIVEN_UP, .steps = 17, .on_ring = EVT},
	{"event ring: used index runs backwards", event_jump, GIVEN_UP, .steps = 0xffff,
	 .on_ring = EVT},
};
const unsigned n_dev_split_cases = sizeof(dev_split_cases) / sizeof(dev_split_cases[0]);
