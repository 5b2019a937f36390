/* SPDX-License-Identifier: BSD-3-Clause */
/* What is used, of rings of any layout, and the event queue. */
#include "dev_cases.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define ROOM (VSOCK_HDR_LEN + G_BUF)

void rx_used(const struct dev_case *c)
{
	uint16_t id = dev_take(RX0);

	dev_used(RX0, c->id == ANY_ID ? id : c->id, c->len, true);
}

void look_at_tx(void)
{
	for (unsigned i = 0; i < HOT_RECLAIM; i++)
		(void)zv_send(G.c[0], "more", 4, 0);
}

static void tx_used(const struct dev_case *c)
{
	uint16_t id;

	assert_int_equal(zv_send(G.c[0], "data", 4, 0), 4);
	id = dev_take(TX0);
	dev_used(TX0, c->id == ANY_ID ? id : c->id, c->len, true);
	look_at_tx();
}

/* The same receive buffer twice, in one look of the driver or in two. */
static void rx_twice(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);
	uint16_t id = dev_take(RX0);
	struct zv_event ev[4];

	(void)dev_take(RX0);
	vsock_hdr_put(dev_buf(RX0, id), &h);
	dev_used(RX0, id, VSOCK_HDR_LEN + 4, c->two_looks);
	if (c->two_looks)
		zv_poll(G.q[0], ev, 4);
	dev_used(RX0, id, VSOCK_HDR_LEN + 4, true);
}

/* A buffer that the application has on loan is used once more. */
static void rx_on_loan(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);
	uint16_t id = dev_take(RX0);
	struct zv_buf b[1];

	(void)c;
	vsock_hdr_put(dev_buf(RX0, id), &h);
	memcpy((uint8_t *)dev_buf(RX0, id) + VSOCK_HDR_LEN, "loan", 4);
	dev_used(RX0, id, VSOCK_HDR_LEN + 4, true);
	gdev_pump();
	assert_int_equal(zv_buf_recv(G.c[0], b, 1), 1);
	dev_used(RX0, id, VSOCK_HDR_LEN + 4, true);
	gdev_pump();
	assert_memory_equal(b[0].data, "loan", 4); /* still there, and still ours */
	zv_buf_release(G.q[0], b, 1);
}

static void tx_twice(const struct dev_case *c)
{
	uint16_t id;

	(void)c;
	assert_int_equal(zv_send(G.c[0], "data", 4, 0), 4);
	assert_int_equal(zv_send(G.c[0], "data", 4, 0), 4);
	id = dev_take(TX0);
	(void)dev_take(TX0);
	dev_used(TX0, id, 0, false);
	dev_used(TX0, id, 0, true);
	look_at_tx();
}

/* The length in the header is not that of the used entry. */
static void hdr_len(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, c->len);

	dev_send(&h, "evil", 4, c->used_len);
}

/* ---- events ---- */

static void event(uint32_t what, uint32_t len)
{
	uint16_t id = dev_take(EVT);

	memcpy(dev_buf(EVT, id), &what, sizeof(what));
	dev_used(EVT, id, len, true);
}

/* The driver's control thread has dealt with what is in the event ring: its buffers are posted
 * again, or (@broken) the ring is given up. */
static bool settled(bool broken)
{
	return broken ? guest_stats(0).ring_broken != G.broken[0]
		      : G.layout->posted(&G.r[EVT], EVT_N);
}

void settle_events(const struct dev_case *c)
{
	bool broken = c->counter == CNT(ring_broken) && c->count == 1;

	fake_signal(&G.b, EVT);
	for (int i = 0; i < 100000 && !settled(broken); i++) {
		gdev_pump();
		nanosleep(&(struct timespec){0, 100000}, NULL);
	}
	assert_true(settled(broken));
	gdev_pump();
}

static void unknown_event(const struct dev_case *c)
{
	event(c->event, c->len);
	settle_events(c);
}

static void resets(const struct dev_case *c)
{
	for (uint64_t i = 0; i < c->times; i++) {
		if (!G.layout->posted(&G.r[EVT], 1))
			settle_events(c); /* all buffers are used */
		event(0, 4);
	}
	settle_events(c);
}

static void event_used(const struct dev_case *c)
{
	uint16_t id = dev_take(EVT);

	dev_used(EVT, c->id == ANY_ID ? id : c->id, c->len, true);
	settle_events(c);
}

/* A reset after which the guest's CID is a reserved one; then a good one again. */
static void bad_cid(const struct dev_case *c)
{
	unsigned before = atomic_load(&G.b.ready), hung_up = atomic_load(&G.b.disconnects);

	atomic_store(&G.b.cid, c->cid);
	event(0, 4);
	G.gone = true;
	fake_signal(&G.b, EVT);
	/* The driver hangs up when it has read the CID, which it may get to late. */
	for (int i = 0; i < 300000 && atomic_load(&G.b.disconnects) == hung_up; i++) {
		gdev_pump();
		nanosleep(&(struct timespec){0, 100000}, NULL);
	}
	assert_int_not_equal(atomic_load(&G.b.disconnects), hung_up);
	atomic_store(&G.b.cid, G_CID);
	assert_true(fake_wait_ready(&G.b, before + 1));
}

/* ---- between check and use ---- */

struct flip {
	uint32_t *word, a, b;
	int stop;
};

static void *flipper(void *arg)
{
	struct flip *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
		__atomic_store_n(f->word, f->a, __ATOMIC_RELAXED);
		shm_relax();
		__atomic_store_n(f->word, f->b, __ATOMIC_RELAXED);
		shm_relax();
	}
	return NULL;
}

/*
 * A word of the used entry, or the header's length, flips between the truth and something else. In
 * a packed ring the driver posts a buffer at that very place, which may be spoilt then; so there
 * are fewer rounds than places.
 */
static void flips(const struct dev_case *c)
{
	struct gring *r = &G.r[RX0];
	unsigned rounds = G.layout == &gdev_packed ? G_N / 2 : 100;

	for (unsigned i = 0; i < rounds && guest_stats(0).ring_broken == G.broken[0]; i++) {
		struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);
		uint16_t id = dev_take(RX0);
		struct flip f = {NULL, VSOCK_HDR_LEN + 4, c->to, 0};
		pthread_t t;
		char b[64];

		vsock_hdr_put(dev_buf(RX0, id), &h);
		memcpy((uint8_t *)dev_buf(RX0, id) + VSOCK_HDR_LEN, "evil", 4);
		f.word = G.layout->len_word(r);
		if (c->word == USED_ID) {
			f.word = G.layout->id_word(r);
			f.a = G.layout->id_value(r, id);
			f.b = G.layout->id_value(r, c->to);
		}
		if (c->word == HDR_LEN) { /* offset 24 of the buffer */
			f.word = (void *)((uint8_t *)dev_buf(RX0, id) + 24);
			f.a = 4;
		}
		dev_used(RX0, id, VSOCK_HDR_LEN + 4, false);
		assert_int_equal(pthread_create(&t, NULL, flipper, &f), 0);
		dev_show(RX0);
		gdev_pump();
		__atomic_store_n(&f.stop, 1, __ATOMIC_RELEASE);
		pthread_join(t, NULL);
		while (zv_recv(G.c[0], b, sizeof(b), NULL) > 0)
			;
	}
}

const struct dev_case dev_ring_cases[] = {
	{"used id is the ring's size", rx_used, BREAKS, .id = G_N, .len = 44},
	{"used id 2^32 - 1", rx_used, BREAKS, .id = UINT32_MAX, .len = 44},
	{"used id twice in one look", rx_twice, BREAKS, .two_looks = false},
	{"used id twice in two looks", rx_twice, BREAKS, .two_looks = true},
	{"used id of a buffer on loan", rx_on_loan, BREAKS},
	{"used length one beyond the buffer", rx_used, BREAKS, .id = ANY_ID, .len = ROOM + 1},
	{"used length 2^32 - 1", rx_used, BREAKS, .id = ANY_ID, .len = UINT32_MAX},
	{"used length 2^31", rx_used, BREAKS, .id = ANY_ID, .len = 1u << 31},
	{"used length 0: given back unused", rx_used, .counter = CNT(rx_bad_hdr), .count = 0,
	 .id = ANY_ID, .len = 0},
	{"used length 43", rx_used, DROPPED, .id = ANY_ID, .len = 43},
	{"header length one beyond the used length", hdr_len, DROPPED, .used_len = 48, .len = 5},
	{"header length 2^32 - 1", hdr_len, DROPPED, .used_len = 48, .len = UINT32_MAX},
	{"header length that wraps with its own size", hdr_len, DROPPED, .used_len = 48,
	 .len = UINT32_MAX - 43},
	{"header length beyond a used length of 44", hdr_len, DROPPED, .used_len = 44, .len = 1},
	{"header length within the buffer, beyond the used length", hdr_len, DROPPED,
	 .used_len = 48, .len = G_BUF},
	{"header length less than the used length", hdr_len, .used_len = ROOM, .len = 4},
	{"transmit: used id is the ring's size", tx_used, BREAKS, .id = G_N},
	{"transmit: used id 2^32 - 1", tx_used, BREAKS, .id = UINT32_MAX},
	{"transmit: used id that was never posted", tx_used, BREAKS, .id = 17},
	{"transmit: used id twice", tx_twice, BREAKS},
	{"transmit: used length 2^32 - 1 of what cannot be written", tx_used, .id = ANY_ID,
	 .len = UINT32_MAX},
	{"used id changes between check and use", flips, .ring = EITHER, .conn = WHATEVER,
	 .count = ANY, .rst = ANY, .word = USED_ID, .to = UINT32_MAX},
	{"used length changes between check and use", flips, .ring = EITHER, .conn = WHATEVER,
	 .count = ANY, .rst = ANY, .word = USED_LEN, .to = UINT32_MAX},
	{"used length changes to less than a header", flips, .count = ANY, .rst = ANY,
	 .word = USED_LEN, .to = 20},
	{"header length changes between check and use", flips, .count = ANY, .rst = ANY,
	 .word = HDR_LEN, .to = UINT32_MAX},
	{"event of an unknown kind", unknown_event, .event = 7, .len = 4},
	{"event 2^32 - 1", unknown_event, .event = UINT32_MAX, .len = 4},
	{"event of 0 bytes", unknown_event, .event = 0, .len = 0},
	{"event of 3 bytes", unknown_event, .event = 0, .len = 3},
	{"transport reset", resets, .conn = NEIGHBOUR_TOO, .rst = ANY, .times = 1},
	{"100 transport resets", resets, .conn = NEIGHBOUR_TOO, .rst = ANY, .times = 100},
	{"event ring: used id outside it", event_used, GIVEN_UP, .id = 16, .len = 4},
	{"event ring: used id 2^32 - 1", event_used, GIVEN_UP, .id = UINT32_MAX, .len = 4},
	{"event ring: used id that was never posted", event_used, GIVEN_UP, .id = 15, .len = 4},
	{"event ring: used length beyond the buffer", event_used, GIVEN_UP, .id = ANY_ID, .len = 5},
	{"reserved CID after a transport reset", bad_cid, .ring = EITHER, .conn = NEIGHBOUR_TOO,
	 .count = ANY, .rst = ANY, .cid = 2},
};
const unsigned n_dev_ring_cases = sizeof(dev_ring_cases) / sizeof(dev_ring_cases[0]);
