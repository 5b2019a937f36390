/* SPDX-License-Identifier: BSD-3-Clause */
/* Packed rings: marks, places, event suppression, and what the driver has written into them. */
#include "dev_cases.h"

#include <errno.h>

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

/* A receive buffer with four bytes for the connection. */
static uint16_t filled(const char *text)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);
	uint16_t id = dev_take(RX0);

	vsock_hdr_put(dev_buf(RX0, id), &h);
	memcpy((uint8_t *)dev_buf(RX0, id) + VSOCK_HDR_LEN, text, 4);
	return id;
}

static void nothing_there(void)
{
	char b[16];

	gdev_pump();
	assert_int_equal(zv_recv(G.c[0], b, sizeof(b), NULL), -EAGAIN);
}

static void there(const char *text)
{
	size_t len = strlen(text);
	char b[16];

	gdev_pump();
	assert_int_equal(zv_recv(G.c[0], b, sizeof(b), NULL), len);
	assert_memory_equal(b, text, len);
}

/* The device goes round the ring once: the next places are of the second lap. */
static void next_lap(void)
{
	for (unsigned i = 0; i < G_N; i++) {
		uint16_t id = filled("lap.");

		dev_used(RX0, id, VSOCK_HDR_LEN + 4, true);
		there("lap.");
	}
}

/* Marks that are not those of a used descriptor in this lap: it is not there yet. */
static void marks(const struct dev_case *c)
{
	struct gring *r = &G.r[RX0];
	uint16_t id;

	if (c->two_looks)
		next_lap();
	id = filled("data");
	dev_place(r, r->used_idx, id, VSOCK_HDR_LEN + 4,
		  (uint16_t)(dev_marks(r, r->used_idx, true) ^ c->flags));
	nothing_there();
	dev_used(RX0, id, VSOCK_HDR_LEN + 4, true);
	there("data");
}

/* What the device writes behind a place that it has not written is not looked at. */
static void behind_a_gap(const struct dev_case *c)
{
	struct gring *r = &G.r[RX0];
	uint16_t id = filled("gap!");

	(void)c;
	dev_place(r, (uint16_t)(r->used_idx + 1), filled("next"), VSOCK_HDR_LEN + 4,
		  dev_marks(r, (uint16_t)(r->used_idx + 1), true));
	nothing_there();
	dev_used(RX0, id, VSOCK_HDR_LEN + 4, true);
	r->used_idx++;
	there("gap!next");
}

/* Flags that say nothing in a used descriptor. */
static void flags(const struct dev_case *c)
{
	struct gring *r = &G.r[RX0];
	uint16_t id = filled("data"), at = r->used_idx++;

	dev_place(r, at, id, VSOCK_HDR_LEN + 4,
		  (uint16_t)((c->flags & ~(AVAIL | USED)) | dev_marks(r, at, true)));
	there("data");
}

/* Every place up to the end of the ring says that it was used, with one id. */
static void all_used(const struct dev_case *c)
{
	struct gring *r = &G.r[c->on_ring];
	uint16_t id = c->on_ring == RX0 ? dev_take(RX0) : 0;

	for (uint16_t i = G_N - r->used_idx; i--;) {
		uint16_t n = (uint16_t)(r->used_idx + i);

		dev_place(r, n, id, c->len, dev_marks(r, n, true));
	}
	for (unsigned i = 0; i < c->times; i++) { /* what is out comes back, and no more */
		look_at_tx();
		gdev_pump();
	}
}

/* The driver's descriptors are scribbled over, and put back after a look: their marks stay. */
static void scribble(const struct dev_case *c)
{
	static struct vring_packed_desc copy[G_N];
	struct gring *r = &G.r[c->on_ring];
	struct vring_packed_desc *d = (void *)r->desc;
	struct zv_event ev[4];

	memcpy(copy, d, sizeof(copy));
	for (unsigned i = 0; i < G_N; i++) {
		d[i].addr = UINT64_MAX;
		d[i].len = UINT32_MAX;
		d[i].id = UINT16_MAX;
	}
	zv_poll(G.q[0], ev, 4);
	memcpy(d, copy, sizeof(copy));
}

/* What the driver has said that it wants to be told of is scribbled over, and what it is told. */
static void wishes(const struct dev_case *c)
{
	for (unsigned i = 0; i < 2; i++) {
		shm_store32((uint32_t *)(void *)G.r[i].avail, UINT32_MAX);
		shm_store32((uint32_t *)(void *)G.r[i].used, c->flags << 16 | c->event_idx);
	}
	for (int i = 0; i < 50; i++)
		assert_int_equal(zv_send(G.c[0], "data", 4, 0), 4);
}

const struct dev_case dev_packed_cases[] = {
	{"wrap counter flipped", marks, .flags = AVAIL | USED},
	{"wrap counter flipped in the second lap", marks, .flags = AVAIL | USED, .two_looks = true},
	{"only the avail flag is that of this lap", marks, .flags = USED},
	{"only the used flag is that of this lap", marks, .flags = AVAIL},
	{"only the avail flag is that of the second lap", marks, .flags = USED, .two_looks = true},
	{"only the used flag is that of the second lap", marks, .flags = AVAIL, .two_looks = true},
	{"used behind a place that is not", behind_a_gap, .rst = 0},
	{"used without WRITE", flags, .flags = 0},
	{"used with NEXT, INDIRECT and reserved flags", flags, .flags = 0xffff},
	{"every place used at once", all_used, BREAKS, .on_ring = RX0, .len = 44},
	{"transmit: every place used, and nothing was sent", all_used, .on_ring = TX0,
	 .times = G_N / 2},
	{"receive ring's descriptors scribbled over", scribble, .on_ring = RX0},
	{"transmit ring's descriptors scribbled over", scribble, .on_ring = TX0},
	{"event suppression: all ones", wishes, .flags = 0xffff, .event_idx = 0xffff},
	{"event suppression: reserved flags", wishes, .flags = 3},
	{"event suppression: beyond the ring", wishes, .flags = 2, .event_idx = G_N},
	{"event suppression: far beyond the ring", wishes, .flags = 2, .event_idx = 0x7fff},
	{"event suppression: another lap", wishes, .flags = 2, .event_idx = 0x8000},
};
const unsigned n_dev_packed_cases = sizeof(dev_packed_cases) / sizeof(dev_packed_cases[0]);
