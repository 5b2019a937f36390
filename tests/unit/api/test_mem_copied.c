/* SPDX-License-Identifier: BSD-3-Clause */
/* Registered memory (zvsock_mem.h) on devices that cannot read it: the same calls, and copies. */
#include "pair.h"

#include "zvsock_mem.h"

static uint8_t memory[3][65536] __attribute__((aligned(4096)));

static struct zv_mem *registered(struct zv_dev *d, unsigned i)
{
	struct zv_mem *m = NULL;

	memset(memory[i], (int)('a' + i), sizeof(memory[i]));
	assert_int_equal(zv_mem_register(d, memory[i], sizeof(memory[i]), -1, 0, &m), 1);
	assert_non_null(strstr(zv_error_text(), "payload is copied"));
	return m;
}

/* Either side sends; the completion is there at once, told until it is taken. */
static void side(struct zv_dev *d, struct zv_queue *q, struct zv_conn *from, struct zv_conn *to)
{
	struct zv_mem *m = registered(d, 0);
	struct zv_sent done[4];
	struct zv_event ev[8];
	char got[8192];

	assert_int_equal(zv_mem_done(q, done, 4), 0);
	assert_int_equal(zv_send_mem(from, m, 100, 5000, 0, &got), 5000);
	memset(memory[0], 'z', sizeof(memory[0])); /* it has been copied */
	for (int i = 0; i < 3; i++) {
		int n = zv_poll(q, ev, 8);

		assert_true(n > 0);
		assert_int_equal(ev[0].events, ZV_EV_SENT);
		assert_null(ev[0].conn);
	}
	assert_int_equal(zv_arm(q), -EAGAIN);
	assert_int_equal(zv_mem_unregister(m), -EBUSY);
	assert_int_equal(zv_mem_done(q, done, 4), 1);
	assert_ptr_equal(done[0].mem, m);
	assert_ptr_equal(done[0].user, &got);
	assert_int_equal(done[0].len, 5000);
	assert_int_equal(done[0].err, 0);
	assert_int_equal(done[0].flags, ZV_MEM_COPIED);
	assert_int_equal(zv_mem_done(q, done, 4), 0);
	pump();
	assert_int_equal(zv_recv(to, got, sizeof(got), NULL), 5000);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(got[i], 'a');
	assert_int_equal(zv_mem_unregister(m), 0);
}

static void test_both_sides(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	side(P.guest, P.g, g, h);
	side(P.host, P.h, h, g);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* A short count on a STREAM is what the completion says; a message is whole or not at all. */
static void test_room(void **state)
{
	struct zv_mem *m = registered(P.guest, 1);
	struct zv_conn *g, *h;
	struct zv_sent done[64];
	ssize_t n, sent = 0;
	int got;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while ((n = zv_send_mem(g, m, 0, sizeof(memory[1]), 0, NULL)) > 0)
		sent += n;
	assert_int_equal(n, -EAGAIN);
	while ((got = zv_mem_done(P.g, done, 64)) > 0)
		for (int i = 0; i < got; i++)
			sent -= (ssize_t)done[i].len;
	assert_int_equal(sent, 0);
	zv_conn_close(g);
	zv_conn_close(h);
	connect_pair(ZV_SEQPACKET, 1001, &g, &h);
	assert_int_equal(zv_send_mem(g, m, 0, 3000, ZV_EOR, NULL), 3000);
	assert_int_equal(zv_send_mem(g, m, 0, 0, 0, NULL), 0); /* an empty message completes too */
	assert_int_equal(zv_mem_done(P.g, done, 64), 2);
	assert_int_equal(done[1].len, 0);
	assert_int_equal(zv_conn_reset(g), 0);
	zv_conn_close(h);
	assert_int_equal(zv_mem_unregister(m), 0);
}

/* Each piece is its own; which device and where is checked. */
static void test_pieces(void **state)
{
	struct zv_mem *a = registered(P.guest, 0), *b = registered(P.guest, 1), *c, *other;
	struct zv_conn *g, *h;

	(void)state;
	assert_int_equal(zv_mem_register(P.guest, memory[0] + 4096, 4096, -1, 0, &c), -EEXIST);
	other = registered(P.host, 0);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send_mem(g, other, 0, 10, 0, NULL), -EINVAL);
	assert_int_equal(zv_send_mem(g, a, sizeof(memory[0]), 1, 0, NULL), -EINVAL);
	assert_int_equal(zv_mem_unregister(a), 0);
	a = registered(P.guest, 0);
	assert_int_equal(zv_mem_unregister(b), 0);
	assert_int_equal(zv_mem_unregister(a), 0);
	assert_int_equal(zv_mem_unregister(other), 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_sides, pair_setup, pair_teardown),
		cmocka_unit_test_setup_teardown(test_room, pair_setup, pair_teardown),
		cmocka_unit_test_setup_teardown(test_pieces, pair_setup, pair_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
