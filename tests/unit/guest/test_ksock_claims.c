/* SPDX-License-Identifier: BSD-3-Clause */
/* What the `vsock:` transport tells the host, and when: claims and grants. */
#include "fake_zvd.h"

#define SOME 40u /* connections, more than a burst */

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
	return s;
}

static void say_hi(struct zv_conn *from, struct zv_conn *to)
{
	assert_int_equal(zv_send(from, "hi", 2, 0), 2);
	RUN(zv_recv(to, got, 10, NULL) == 2);
	assert_memory_equal(got, "hi", 2);
}

/* ---- the control connection ---- */

static unsigned peer_of(struct zv_dev *dev)
{
	struct zv_dev_info i = {.size = sizeof(i)};

	assert_int_equal(zv_dev_info(dev, &i), 0);
	return i.peer;
}

static void a_region_is_offered_and_mapped(void **state)
{
	(void)state;
	zvd_ready();
	assert_int_equal(zvd.ctrls, 2);
	assert_int_equal(zvd.offers, 2);
	assert_int_equal(peer_of(client), ZV_PEER_ZVSOCK);
}

static void without_a_region_nothing_is_said(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	zvd_ready();
	own_region_release(&region);
	reopen(NULL, NULL);
	join(ZV_STREAM, &c, &s);
	RUN(zvd.ctrls == 0);
	assert_int_equal(zvd.connects, 0);
	assert_int_equal(peer_of(client), ZV_PEER_PLAIN);
	say_hi(c, s);
	close_both(c, s);
}

static char told[512];

static void on_log(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	if (strstr(line, "CAP_NET_BIND_SERVICE"))
		(void)strncpy(told, line, sizeof(told) - 1);
}

static void without_privilege_there_are_no_channels(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	ksock_unix_unprivileged = true;
	zv_set_log(on_log, NULL);
	reopen(NULL, NULL);
	join(ZV_STREAM, &c, &s);
	RUN(peer_of(client) == ZV_PEER_PLAIN && peer_of(server) == ZV_PEER_PLAIN);
	assert_non_null(strstr(told, "no channels"));
	say_hi(c, s);
	close_both(c, s);
	assert_int_equal(zvd.channels, 0);
}

static void nobody_answers(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .hello_timeout_ns = 20000000};
	struct zv_conn *c, *s;

	(void)state;
	zvd_ready();
	zvd.deaf = true;
	reopen(&o, &o);
	join(ZV_STREAM, &c, &s);
	PUMP(peer_of(client) == ZV_PEER_PLAIN && peer_of(server) == ZV_PEER_PLAIN);
	PUMP(zv_send(c, "hi", 2, 0) == 2);
	PUMP(zv_recv(s, got, 10, NULL) == 2);
	close_both(c, s);
	zvd.deaf = false;
	zvd_work();
}

/* ---- connections ---- */

static void one_that_is_declined_is_plain(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	zvd_ready();
	zvd.grants = false;
	join(ZV_STREAM, &c, &s);
	assert_int_equal(zvd.connects, 1);
	assert_int_equal(stats(cq).chans + stats(sq).chans, 0);
	say_hi(c, s);
	say_hi(s, c);
	close_both(c, s);
}

static void one_that_fails_is_taken_back(void **state)
{
	struct zv_conn *c;

	(void)state;
	zvd_ready();
	assert_int_equal(zv_connect(cq, 2, PORT, ZV_STREAM, &c), 0);
	RUN(has(c, ZV_EV_ERR));
	assert_int_equal(zv_conn_close(c), 0);
	RUN(zvd.no_connects == 1);
	assert_int_equal(zvd.connects, 1);
}

/* Many at once, and grants that come in pieces: each is there before its connection. */
static void grants_come_before_connections(void **state)
{
	struct zv_conn *c[SOME], *s[SOME];

	(void)state;
	zvd_ready();
	for (unsigned split = 0; split < 2; split++) {
		zvd.split = split;
		(void)zv_listen(server, PORT, ZV_STREAM, 0);
		RUN(zvd.listens);
		for (unsigned i = 0; i < SOME; i++)
			assert_int_equal(zv_connect(cq, 2, PORT, ZV_STREAM, &c[i]), 0);
		for (unsigned i = 0; i < SOME; i++)
			RUN(zv_accept(sq, PORT, &s[i]) == 0);
		for (unsigned i = 0; i < SOME; i++)
			RUN(strcmp(state_of(c[i]), "connected") == 0);
		assert_int_equal(stats(cq).chans, SOME);
		assert_int_equal(stats(sq).chans, SOME);
		for (unsigned i = 0; i < SOME; i++)
			close_both(c[i], s[i]);
		RUN(zvd.releases == 2 * SOME * (split + 1));
	}
	assert_int_equal(stats(cq).chan_broken + stats(sq).chan_broken, 0);
}

/* What the kernel does not take whole at once is no claim, and what it took in part is taken back.
 */
static void a_claim_that_is_late_is_none(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	zvd_ready();
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	RUN(zvd.listens);
	zvd.deaf = true;
	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(zv_connect(cq, 2, PORT + 1, ZV_STREAM, &c), 0);
		PUMP(has(c, ZV_EV_ERR));
		assert_int_equal(zv_conn_close(c), 0);
	}
	join(ZV_STREAM, &c, &s);
	assert_int_equal(stats(cq).chans, 0);
	say_hi(c, s);
	zvd.deaf = false;
	RUN(zvd.connects && zvd.connects == zvd.no_connects);
	assert_in_range(zvd.connects, 1, 4999);
	assert_int_equal(zvd.channels, 0);
	close_both(c, s);
	join(ZV_STREAM, &c, &s);
	assert_int_equal(stats(cq).chans, 1);
	close_both(c, s);
}

/* ---- ports ---- */

static void ports_are_claimed_while_they_are_open(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0); /* before there is a HELLO */
	zvd_ready();
	RUN(zvd.listens == 1);
	assert_int_equal(zv_listen(server, PORT + 1, ZV_SEQPACKET, 0), 0);
	RUN(zvd.listens == 2);
	assert_int_equal(zv_unlisten(server, PORT), 0);
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	RUN(zvd.listens == 3);
	assert_int_equal(zvd.no_listens, 1);
	join(ZV_STREAM, &c, &s);
	assert_int_equal(stats(sq).chans, 1);
	close_both(c, s);
	assert_int_equal(zv_unlisten(server, PORT), 0);
	assert_int_equal(zv_unlisten(server, PORT + 1), 0);
	RUN(zvd.no_listens == 3);
}

/* A device with several queues has channels for what it connects: each queue its own. */
static void several_queues(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 2};
	struct zv_conn *c[2], *s[2];

	(void)state;
	reopen(&o, NULL);
	RUN(zvd.mapped >= 2 && zvd.ctrls);
	for (unsigned i = 0; i < 2; i++) {
		cq = zv_queue(client, i);
		RUN(peer_of(client) == ZV_PEER_ZVSOCK && zvd.mapped >= 2 + i);
		join(ZV_STREAM, &c[i], &s[i]);
		RUN(zvd.listens);
	}
	assert_true(zv_unlisten(server, PORT) == 0);
	assert_int_equal(zv_listen(client, PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 100; i++)
		RUN(true);
	assert_int_equal(zvd.listens, 1);
	for (unsigned i = 0; i < 2; i++) {
		cq = zv_queue(client, i);
		say_hi(c[i], s[i]);
		close_both(c[i], s[i]);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, zvd_set_up, zvd_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_region_is_offered_and_mapped),
		TEST(without_a_region_nothing_is_said),
		TEST(without_privilege_there_are_no_channels),
		TEST(nobody_answers),
		TEST(one_that_is_declined_is_plain),
		TEST(one_that_fails_is_taken_back),
		TEST(grants_come_before_connections),
		TEST(a_claim_that_is_late_is_none),
		TEST(ports_are_claimed_while_they_are_open),
		TEST(several_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
