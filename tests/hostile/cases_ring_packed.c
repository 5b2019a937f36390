/* SPDX-License-Identifier: BSD-3-Clause */
/* Packed virtqueues: marks, laps, ids, lists, event suppression. */
#include "host_cases.h"

#include <string.h>

#define NAPS 50u /* in which the device looks at what it must not take */

static void good_at(struct raw *r, unsigned at, uint16_t id, uint16_t flags)
{
	raw_put_place(&r->ring[RAW_TX], at, raw_gpa(r, PKT), PKT_LEN, id, flags);
}

/* The next place of the transmit ring is @n places further on, and nothing is out. */
static void go_on(struct raw *r, unsigned n)
{
	for (; n; n--)
		assert_true(raw_pkt(r, VSOCK_OP_CREDIT_UPDATE, NULL, 0));
	assert_true(raw_settle(r));
}

/* The last of @n lists that a case has written by itself, @places in all, comes back: its id. */
static uint32_t last_back(struct raw *r, unsigned n, unsigned places, unsigned last)
{
	struct raw_ring *g = &r->ring[RAW_TX];
	const unsigned at = (g->at + places - last) % RAW_N;
	bool wrap = g->wrap ^ (g->at + places - last >= RAW_N);
	uint64_t end = raw_now_ms() + RAW_PATIENCE_MS, w;

	raw_kick(r, RAW_TX);
	do {
		w = shm_load_acquire64((uint64_t *)(void *)&raw_place(g, at)->len);
		testbed_nap();
	} while ((w >> 48 & RAW_MARKS) != raw_used_marks(wrap) && testbed_victim_up() &&
		 raw_now_ms() < end);
	raw_pass(g, places);
	g->used_at = g->at;
	g->used_wrap = g->wrap;
	g->avail_idx = (uint16_t)(g->avail_idx + n);
	g->used_seen = g->avail_idx;
	return (uint16_t)(w >> 32);
}

/* A good descriptor with marks that are not those of an available one in this lap. */
static void marks(struct raw *r, const struct host_case *c)
{
	const struct raw_ring *g = &r->ring[RAW_TX];
	uint16_t wrong = (uint16_t)c->flags;

	go_on(r, c->steps);
	if (wrong == 0 && !c->index_too) /* the wrap counter is flipped */
		wrong = (uint16_t)(raw_avail_marks(g) ^ RAW_MARKS);
	put_good_packet(r);
	good_at(r, g->at, D0, wrong);
	for (unsigned i = 0; i < NAPS; i++) {
		raw_kick(r, RAW_TX);
		testbed_nap();
	}
}

/* The id is the driver's own affair, and is given back as it came. */
static void id(struct raw *r, const struct host_case *c)
{
	const struct raw_ring *g = &r->ring[RAW_TX];

	put_good_packet(r);
	good_at(r, g->at, (uint16_t)c->value, raw_avail_marks(g));
	assert_int_equal(last_back(r, 1, 1, 1), c->value);
}

static void id_twice(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];
	uint16_t marks_now = raw_avail_marks(g);

	(void)c;
	put_good_packet(r);
	good_at(r, g->at + 1u, D0, marks_now);
	good_at(r, g->at, D0, marks_now);
	assert_int_equal(last_back(r, 2, 2, 1), D0);
}

/* Of a list the id in its last descriptor counts (VIRTIO 1.2, section 2.8.6). */
static void other_ids(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	(void)c;
	put_good_packet(r);
	raw_put_place(g, g->at + 1u, raw_gpa(r, PKT + 44), 4, 77, raw_avail_marks(g));
	raw_put_place(g, g->at, raw_gpa(r, PKT), 44, 3, raw_avail_marks(g) | NX);
	assert_int_equal(last_back(r, 1, 2, 2), 77);
}

/* A list over all places of the ring, behind the last of which it goes on, or not. */
static void whole_ring(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	go_on(r, (RAW_N - g->at) % RAW_N);
	put_good_packet(r);
	for (unsigned i = RAW_N; i--;)
		raw_put_place(g, i, raw_gpa(r, PKT + i), i < PKT_LEN, D0,
			      raw_avail_marks(g) | (i < RAW_N - 1 || c->index_too ? NX : 0));
	if (c->index_too)
		raw_kick(r, RAW_TX);
	else
		assert_int_equal(last_back(r, 1, RAW_N, RAW_N), D0);
}

/* A list over the end of the ring: the marks change in it. */
static void over_the_end(struct raw *r, const struct host_case *c)
{
	(void)c;
	go_on(r, (2 * RAW_N - 2 - r->ring[RAW_TX].at) % RAW_N);
	put_good_packet(r);
	raw_desc(r, RAW_TX, D0, PKT, 20, NX, D0 + 1);
	raw_desc(r, RAW_TX, D0 + 1, PKT + 20, 24, NX, D0 + 2);
	raw_desc(r, RAW_TX, D0 + 2, PKT + 44, 1, NX, D0 + 3);
	raw_desc(r, RAW_TX, D0 + 3, PKT + 45, 3, 0, 0);
	offer(r, D0);
	assert_true(raw_settle(r));
}

/* NEXT in the last place, and nothing was written behind it: used descriptors of 0 bytes are. */
static void next_at_the_end(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	(void)c;
	go_on(r, (2 * RAW_N - 1 - g->at) % RAW_N);
	put_good_packet(r);
	raw_put_place(g, g->at, raw_gpa(r, PKT), 44, D0, raw_avail_marks(g) | NX);
	(void)last_back(r, 1, 2, 2);
}

/* What both sides want to be told of is nonsense, and a packet follows. */
static void wishes(struct raw *r, const struct host_case *c)
{
	for (unsigned i = 0; i < 2; i++) {
		struct raw_ring *g = &r->ring[i];

		shm_store32((uint32_t *)(void *)(c->index_too ? (void *)g->used : g->avail),
			    c->value);
	}
	put_good_packet(r);
	for (unsigned i = 0; i < c->times; i++) {
		raw_desc(r, RAW_TX, D0, PKT, PKT_LEN, 0, 0);
		offer(r, D0);
		assert_true(raw_settle(r));
	}
}

/* All places say that they were used, ahead of the device too: it must not read that back. */
static void used_ahead(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	go_on(r, c->steps);
	for (unsigned i = 0; i < RAW_N; i++)
		raw_put_place(g, i, UINT64_MAX, UINT32_MAX, UINT16_MAX,
			      (g->wrap ? RAW_MARKS : 0) | NX);
	put_good_packet(r);
	raw_desc(r, RAW_TX, D0, PKT, PKT_LEN, 0, 0);
	offer(r, D0);
	assert_true(raw_settle(r));
}

/* Every place is available at once, as often as the device likes to look. */
static void all_available(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_TX];

	(void)c;
	for (unsigned i = RAW_N; i--;) {
		bool wrap = g->wrap ^ (i < g->at);

		raw_put_place(g, i, raw_gpa(r, RAW_HOLE), PKT_LEN, (uint16_t)i,
			      wrap ? RAW_AVAIL : RAW_USED_MARK);
	}
	raw_kick(r, RAW_TX);
}

/* A receive buffer that the device has is written over: what it has copied counts. */
static void out_overwritten(struct raw *r, const struct host_case *c)
{
	struct raw_ring *g = &r->ring[RAW_RX];
	uint32_t mark = raw_mark(r);

	(void)c;
	raw_put_place(g, g->used_at, raw_gpa(r, RAW_HOLE), 1, 0xeeee,
		      (g->used_wrap ? RAW_USED_MARK : RAW_AVAIL) | NX);
	assert_true(raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0));
	assert_non_null(raw_wait(r, mark, VSOCK_OP_CREDIT_UPDATE, r->sport, r->dport));
}

#define WISH(flags, off) .value = (uint32_t)(flags) << 16 | (off), .times = 3, .rw = ANY

const struct host_case packed_cases[] = {
	{"wrap counter flipped", marks, .steps = 0},
	{"wrap counter flipped in the second lap", marks, .steps = RAW_N},
	{"avail and used flag both set", marks, .flags = RAW_MARKS},
	{"avail and used flag both set in the second lap", marks, .flags = RAW_MARKS,
	 .steps = RAW_N},
	{"avail and used flag both clear", marks, .index_too = true},
	{"avail and used flag both clear in the second lap", marks, .index_too = true,
	 .steps = RAW_N},
	{"id that is the ring's size", id, TAKEN, .value = RAW_N},
	{"id 65535", id, TAKEN, .value = UINT16_MAX},
	{"id of a list that is out", id_twice, .rw = ANY},
	{"list with other ids than its last one", other_ids, TAKEN},
	{"list as long as the ring", whole_ring, TAKEN},
	{"list longer than the ring", whole_ring, BREAKS, .index_too = true},
	{"list over the end of the ring", over_the_end, TAKEN},
	{"NEXT at the end of the ring, and nothing behind it", next_at_the_end, DROPPED},
	{"indirect descriptor at the end of a list", TWO(44, T0, 16, IND), BREAKS,
	 .ind = {{PKT + 44, 4, 0, 0}}},
	{"indirect descriptor amid a list", BREAKS,
	 .d = {{PKT, 44, NX, D0 + 1}, {T0, 16, IND | NX, D0 + 2}, {PKT + 44, 4, 0, 0}}},
	{"flags of an indirect table are reserved: a table", TABLE(16), DROPPED,
	 .ind = {{T1, 16, IND, 0}}},
	{"flags of an indirect table are reserved: links", TABLE(32), TAKEN,
	 .ind = {{PKT, 44, NX, 7}, {PKT + 44, 4, NX | 0xfff8, 0xffff}}},
	{"driver's event suppression: all ones", wishes, WISH(0xffff, 0xffff)},
	{"driver's event suppression: reserved flags", wishes, WISH(3, 0)},
	{"driver's event suppression: beyond the ring", wishes, WISH(2, RAW_N)},
	{"driver's event suppression: far beyond the ring", wishes, WISH(2, 0x7fff)},
	{"driver's event suppression: another lap", wishes, WISH(2, 0x8000)},
	{"device's event suppression scribbled over", wishes, WISH(0xffff, 0xffff),
	 .index_too = true},
	{"descriptors written ahead as used", used_ahead, TAKEN},
	{"descriptors written ahead as used in the second lap", used_ahead, TAKEN, .steps = RAW_N},
	{"every place available at once", all_available, BREAKS},
	{"receive buffer that is out written over", out_overwritten, .rw = 0},
};
const unsigned n_packed_cases = sizeof(packed_cases) / sizeof(packed_cases[0]);
