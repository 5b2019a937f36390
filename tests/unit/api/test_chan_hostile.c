/* SPDX-License-Identifier: BSD-3-Clause */
/* A hostile peer at the other end of a channel breaks its own connection, and nothing else. */
#include "chan_pair.h"
#include "channel_int.h"

#include <stdlib.h>
#include <sys/socket.h>

static struct chan_pair C;
static char got[8192], data[8192];

static void begin(enum zv_type type, bool bells)
{
	struct shm_channel_desc d = chan_small();

	chan_connect(&C, type, &d, bells);
}

static uint64_t *marks(enum shm_role from)
{
	return (uint64_t *)(C.mem + C.l.dir[from].marks);
}

static void test_a_broken_channel_is_reset(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1001, &g, &h);
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "ok", 2, 0), 2);
	marks(SHM_ROLE_A)[1] = UINT64_MAX;
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 2);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), -ECONNRESET);
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_ERR);
	assert_int_equal(chan_stats(P.h).chan_broken, 1);
	pump();
	assert_int_equal(seen_guest.err, -ECONNRESET);
	chan_close(&C);

	begin(ZV_STREAM, false); /* found by a poll */
	marks(SHM_ROLE_A)[0] = UINT64_MAX;
	assert_true(chan_events_of(P.h, C.host.c) & ZV_EV_ERR);
	chan_close(&C);

	begin(ZV_STREAM, false); /* found while sending */
	((struct channel_ctl *)(C.mem + C.l.dir[SHM_ROLE_B].ctl))->cons = 77;
	while (zv_send(C.host.c, "x", 1, 0) > 0)
		;
	assert_int_equal(zv_send(C.host.c, "x", 1, 0), -ECONNRESET);
	pump();
	chan_close(&C);
	assert_int_equal(chan_stats(P.h).chan_broken, 3);
	assert_int_equal(zv_send(g, "well", 4, 0), 4); /* nobody else is hurt */
	pump();
	assert_int_equal(zv_recv(h, got, 9, NULL), 4);
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
}

static void test_data_behind_the_end(void **state)
{
	struct shm_channel *ch;

	(void)state;
	begin(ZV_STREAM, false);
	ch = C.guest.c->chan->ch;
	assert_int_equal(zv_send(C.guest.c, "a", 1, 0), 1);
	assert_int_equal(shm_channel_control(ch, CHAN_END, 0), 1);
	assert_int_equal(shm_channel_send(ch, &(struct shm_msg){.data = data, .len = 1}, 1), 1);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 1);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), -ECONNRESET);
	chan_close(&C);

	begin(ZV_STREAM, false);
	assert_int_equal(shm_channel_control(C.guest.c->chan->ch, 99, 0), 1);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	chan_close(&C);
}

/* Empty messages mean nothing to a stream, however many there are. */
static void test_empty_messages_are_no_end(void **state)
{
	struct shm_channel *ch;

	(void)state;
	begin(ZV_STREAM, false);
	ch = C.guest.c->chan->ch;
	for (int i = 0; i < 200; i++) {
		(void)shm_channel_send(ch, &(struct shm_msg){.data = data}, 1);
		assert_int_equal(zv_recv(C.host.c, got, 9, NULL), -EAGAIN);
	}
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), 1);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 1);
	chan_close(&C);
}

/*
 * A peer that fills the ring again whenever this side gives places back, in the middle of its call:
 * what a second CPU could do all the time.
 */
#define FEEDS 1000

static struct {
	struct shm_channel *ch;
	struct shm_msg m;
	int left;
} peer;

static int feed(void *arg)
{
	(void)arg;
	if (peer.left && --peer.left) {
		while (shm_channel_send(peer.ch, &peer.m, 1) == 1)
			;
		(void)shm_channel_arm(peer.ch, SHM_WANT_ROOM, 0);
	}
	return 0;
}

static void begin_to_feed(size_t len)
{
	peer.ch = C.guest.c->chan->ch;
	peer.m = (struct shm_msg){.data = data, .len = (uint32_t)len};
	peer.left = FEEDS;
	C.host.c->chan->ch->peer_data.wake = feed;
	(void)feed(NULL);
}

static void test_unwanted_messages_keep_nobody(void **state)
{
	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "abcd", 4, 0), 4);
	begin_to_feed(0);
	assert_int_equal(zv_recv(C.host.c, got, sizeof(got), NULL), 4);
	assert_true(peer.left > FEEDS - 10);
	peer.left = 0;
	chan_close(&C);

	begin(ZV_SEQPACKET, false);
	assert_int_equal(zv_shutdown(C.host.c, SHUT_RD), 0);
	begin_to_feed(5);
	assert_int_equal(zv_recv(C.host.c, got, sizeof(got), NULL), 0);
	assert_true(peer.left > FEEDS - 10);
	peer.left = 0;
	chan_close(&C);
}

static void scribble(unsigned *seed)
{
	size_t words = C.size / 8;

	for (int n = rand_r(seed) % 8; n >= 0; n--) {
		uint64_t *w =
			(uint64_t *)C.mem + (size_t)rand_r(seed) % (rand_r(seed) & 1 ? 400 : words);

		switch (rand_r(seed) % 4) {
		case 0:
			*w = (uint64_t)rand_r(seed) << 32 | (uint32_t)rand_r(seed);
			break;
		case 1:
			*w ^= UINT64_C(1) << rand_r(seed) % 64;
			break;
		case 2:
			*w += 1;
			break;
		default:
			*w = (uint64_t)rand_r(seed) % 20;
		}
	}
}

/* One call of the API, whatever it returns. */
static void any_call(unsigned *seed, struct zv_queue *q, struct zv_conn *c, struct zv_buf *tx,
		     unsigned *ntx, struct zv_buf *rx, unsigned *nrx)
{
	size_t len = (size_t)rand_r(seed) % 2000;
	uint32_t flags = rand_r(seed) & 1 ? ZV_PEEK : 0;
	int n;

	switch (rand_r(seed) % 9) {
	case 0:
		(void)zv_send(c, data, len, 0);
		break;
	case 1:
		(void)zv_send(c, data, len % 130, 0);
		break;
	case 2:
		(void)zv_recv(c, got, len, &flags);
		break;
	case 3:
		n = zv_buf_alloc(c, tx + *ntx, 4, len + 1);
		*ntx += n > 0 ? (unsigned)n : 0;
		if (*ntx < 12)
			break;
		/* fallthrough */
	case 4:
		(void)zv_buf_send(c, tx, *ntx);
		*ntx = 0;
		break;
	case 5:
		n = zv_buf_recv(c, rx + *nrx, 4);
		*nrx += n > 0 ? (unsigned)n : 0;
		if (*nrx < 12)
			break;
		/* fallthrough */
	case 6:
		zv_buf_release(q, rx, *nrx);
		*nrx = 0;
		break;
	case 7:
		if (!zv_arm(q))
			(void)chan_readable(q);
		break;
	default:
		(void)zv_poll(q, &(struct zv_event){0}, 1);
	}
}

static void test_random_bytes_in_the_shared_part(void **state)
{
	unsigned broken = 0;

	(void)state;
	for (unsigned round = 1; round <= 3000; round++) {
		struct zv_buf tx[2][16], rx[2][16];
		unsigned seed = round, ntx[2] = {0}, nrx[2] = {0};

		begin(round & 1 ? ZV_STREAM : ZV_SEQPACKET, round & 2);
		for (int i = 0; i < 60; i++) {
			int s = rand_r(&seed) & 1;

			if (rand_r(&seed) % 8 == 0)
				scribble(&seed);
			if (round & 2 && rand_r(&seed) % 16 == 0)
				C.page[s]->bits[rand_r(&seed) % 64] = (uint64_t)rand_r(&seed) << 33;
			if (round & 2 && rand_r(&seed) % 16 == 0)
				C.page[s]->words = (uint64_t)rand_r(&seed) << 33 | 2;
			any_call(&seed, s ? P.h : P.g, s ? C.host.c : C.guest.c, tx[s], &ntx[s],
				 rx[s], &nrx[s]);
		}
		for (int s = 0; s < 2; s++) {
			zv_buf_cancel(s ? C.host.c : C.guest.c, tx[s], ntx[s]);
			zv_buf_release(s ? P.h : P.g, rx[s], nrx[s]);
		}
		broken += C.host.c->chan->over;
		assert_int_equal(zv_conn_reset(C.guest.c), 0);
		assert_int_equal(zv_conn_close(C.host.c), 0);
		C.guest.c = C.host.c = NULL;
		fake_new_session(true); /* a close may wait for what was scribbled away */
		pump();
		chan_close(&C);
	}
	assert_true(broken > 100);
	assert_int_equal(P.g->rx.app_loans + P.h->rx.app_loans, 0);
	assert_int_equal(P.g->tx.app_loans + P.h->tx.app_loans, 0);
	assert_int_equal(P.g->chans.staging.nfree, P.g->chans.staging.size);
	assert_int_equal(P.h->chans.staging.nfree, P.h->chans.staging.size);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_broken_channel_is_reset),
		TEST(test_data_behind_the_end),
		TEST(test_empty_messages_are_no_end),
		TEST(test_unwanted_messages_keep_nobody),
		TEST(test_random_bytes_in_the_shared_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
