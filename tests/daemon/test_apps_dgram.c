/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams of applications that attach themselves to a real zvsockd (`daemon:`): with each other
 * and with guests, from ports that are theirs only, in floods, and beside connections.
 */
#include "dgram_side.h"
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CID_A 11u
#define PORT  5000u
#define FLOOD 3000

static const char conf[] = "applications = @apps\napplication_ports = 5000-5999\n"
			   "[guest a]\ncid = 11\nsocket = @a.sock\n"
			   "[guest stock]\ncid = 14\nsocket = @s.sock\n";

static const char *program;
static unsigned lcores;
static struct zv_dev *A, *stock, *x, *y;
static char sent[ZV_DGRAM_MAX];

static int up(void **state)
{
	(void)state;
	if (!zf_start(program, conf, lcores))
		return -1;
	A = zf_zvsock_guest(0, "a.sock", 1);
	stock = zf_guest(1, "s.sock", 1);
	x = zf_app(2, "apps", 1);
	y = zf_app(3, "apps", 2);
	return A && stock && x && y && zf_until(dg_ready, A) && zf_until(dg_ready, x) &&
			       zf_until(dg_ready, y)
		       ? 0
		       : -1;
}

static int down(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

/* There, and back to where it came from. */
static void there_and_back(struct zv_dev *from, uint32_t port, uint64_t cid, struct zv_dev *to,
			   uint64_t seen_as)
{
	static const size_t sizes[] = {0, 1, 4000, 30000};
	struct zv_dgram_addr a;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(sent, 'a' + (int)i, sizes[i]);
		assert_int_equal(dg_send(from, port, cid, PORT, sent, sizes[i]), sizes[i]);
	}
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(sent, 'a' + (int)i, sizes[i]);
		a = dg_expect(to, PORT, sent, sizes[i]);
		assert_int_equal(a.peer_cid, seen_as);
		assert_int_equal(a.peer_port, port);
		assert_int_equal(a.local_port, PORT);
	}
	assert_int_equal(zv_dgram_send(zv_queue(to, 0), &a, "back", 4, 0), 4);
	a = dg_expect(from, port, "back", 4);
	assert_int_equal(a.peer_port, PORT);
}

static void applications(void **state)
{
	uint32_t mine = dg_bind(x, ZV_PORT_ANY), taken = PORT, far = 80;

	(void)state;
	assert_true(mine >= 49152);
	dg_bind(y, PORT);
	there_and_back(x, mine, ZV_CID_LOCAL, y, ZV_CID_HOST);
	there_and_back(x, mine, ZV_CID_HOST, y, ZV_CID_HOST);
	/* ports are of one application, and those that may be had */
	assert_int_equal(zv_dgram_bind(x, &taken, 0), -EADDRINUSE);
	assert_int_equal(zv_dgram_bind(x, &far, 0), -EACCES);
	assert_int_equal(zv_dgram_bind_all(x, 0, 0), -EOPNOTSUPP);
	/* and not those of connections */
	assert_int_equal(zv_listen(x, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_dgram_unbind(y, PORT), 0);
	assert_int_equal(zv_dgram_bind(x, &taken, 0), 0);
	assert_int_equal(zv_unlisten(x, PORT), 0);
	assert_int_equal(zv_listen(y, PORT, ZV_STREAM, 0), 0);
	dg_bind(y, PORT + 1);
	assert_int_equal(dg_send(y, PORT + 1, ZV_CID_LOCAL, PORT, "on", 2), 2);
	dg_expect(x, PORT, "on", 2);
}

static void guests(void **state)
{
	uint32_t mine = dg_bind(x, ZV_PORT_ANY), theirs = dg_bind(A, 7000);

	(void)state;
	dg_bind(y, PORT);
	dg_bind(A, PORT);
	there_and_back(x, mine, CID_A, A, ZV_CID_HOST);
	there_and_back(A, theirs, ZV_CID_HOST, y, CID_A);
	assert_true(hs_counter_becomes("a", "dgram_lost", 0));
}

static bool unbound_at_the_guest(void *arg)
{
	struct zv_queue_stats st;

	(void)arg;
	return zv_queue_stats(zv_queue(A, 0), &st, sizeof(st)) == 0 && st.dgram_unbound == 1;
}

/* Nobody is told; it is counted where it was sent. */
static void to_nobody(void **state)
{
	static const uint64_t cid[] = {ZV_CID_LOCAL, ZV_CID_HOST, 99, 14, CID_A};
	uint32_t mine = dg_bind(x, ZV_PORT_ANY);

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(dg_send(x, mine, cid[i], 77, "x", 1), 1);
	assert_true(hs_counter_becomes("app.0", "dgram_lost", 4));
	assert_true(
		hs_counter_becomes("app.0", "dgram_passed_on", 1)); /* the guest counts that one */
	assert_true(zf_until(unbound_at_the_guest, NULL));
	dg_bind(stock, PORT);
	assert_int_equal(dg_send(stock, PORT, ZV_CID_HOST, PORT, "x", 1), -EOPNOTSUPP);
}

/* Two whose drivers believe that the port is theirs, as zvsockd was away when they bound it: one
 * has it. */
static void a_port_of_others(void **state)
{
	const struct zv_dgram_addr to = {
		.peer_cid = ZV_CID_LOCAL, .local_port = PORT, .peer_port = PORT + 1};
	struct dg_wait w = {.dev = x, .port = PORT + 1};
	struct zv_dev *const both[] = {x, y};

	(void)state;
	assert_true(zf_kill());
	assert_true(zf_until(dg_away, x) && zf_until(dg_away, y));
	dg_bind(x, PORT);
	dg_bind(y, PORT);
	dg_bind(x, PORT + 1);
	assert_true(zf_start_again(program));
	assert_true(zf_until(dg_back, x) && zf_until(dg_back, y));
	for (unsigned i = 0; i < 2; i++)
		while (zv_dgram_send(zv_queue(both[i], 0), &to, "x", 1, 0) < 0)
			zf_poll();
	while (hs_counter("app.0", "dgram_lost") + hs_counter("app.1", "dgram_lost") != 1)
		zf_poll();
	/* The other one of the two. */
	assert_true(zf_until(dg_arrived, &w));
	for (unsigned i = 0; i < 200; i++) {
		zf_poll();
		assert_false(dg_arrived(&w));
	}
}

struct conns {
	struct zf_conn *a, *b;
};

static struct conns connect_both(void)
{
	struct conns c;

	assert_int_equal(zv_listen(A, PORT, ZV_STREAM, 0), 0);
	c.a = zf_connect(y, 0, CID_A, PORT, ZV_STREAM, NULL);
	assert_non_null(c.a);
	c.b = zf_accept(A, PORT);
	assert_non_null(c.b);
	return c;
}

struct mine {
	struct dg_wait w;
	unsigned came;
};

static bool most_came(void *arg)
{
	struct mine *m = arg;

	m->came += dg_arrived(&m->w) && m->w.len == 4;
	return m->came > FLOOD / 30 / 2;
}

/* x sends as much as it can, to those who read nothing and to nobody: y's own come through, and its
 * connection goes on. */
static void floods(void **state)
{
	uint32_t flood = dg_bind(x, ZV_PORT_ANY), mine = dg_bind(y, ZV_PORT_ANY),
		 theirs = dg_bind(A, 7000);
	struct conns c = connect_both();
	struct mine own = {.w = {.dev = A, .port = theirs}};
	unsigned passed = 0;

	(void)state;
	dg_bind(A, PORT);
	dg_bind(y, PORT);
	for (int i = 0; i < FLOOD; i++) {
		const char byte = (char)i;

		passed += dg_send(x, flood, i & 1 ? CID_A : ZV_CID_LOCAL, i & 2 ? PORT : 78, sent,
				  4000) == 4000;
		if (i % 30 == 0) {
			(void)dg_send(y, mine, CID_A, theirs, "mine", 4);
			assert_true(zf_send(c.a, &byte, 1, 0));
			assert_int_equal(zf_recv(c.b, dg_payload, 1, NULL), 1);
			assert_int_equal(dg_payload[0], byte);
		}
		zf_poll();
		(void)most_came(&own);
	}
	assert_true(passed > 100);
	assert_true(zf_until(most_came, &own));
	zf_close(c.a);
	zf_close(c.b);
}

/* One that goes while others send to it holds up nobody, and its ports are free. */
static void one_that_goes(void **state)
{
	uint32_t flood = dg_bind(x, ZV_PORT_ANY);

	(void)state;
	dg_bind(y, PORT);
	for (int i = 0; i < FLOOD; i++) {
		(void)dg_send(x, flood, ZV_CID_LOCAL, PORT, sent, 4000);
		zf_poll();
		if (i == FLOOD / 2)
			assert_true(zf_guest_close(3));
	}
	y = zf_app(3, "apps", 1);
	assert_non_null(y);
	assert_true(zf_until(dg_ready, y));
	dg_bind(y, PORT);
	while (dg_send(x, flood, ZV_CID_LOCAL, PORT, "again", 5) == -EAGAIN)
		zf_poll();
	dg_expect(y, PORT, "again", 5);
}

static int run(const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(applications, up, down),
		cmocka_unit_test_setup_teardown(guests, up, down),
		cmocka_unit_test_setup_teardown(to_nobody, up, down),
		cmocka_unit_test_setup_teardown(a_port_of_others, up, down),
		cmocka_unit_test_setup_teardown(floods, up, down),
		cmocka_unit_test_setup_teardown(one_that_goes, up, down),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	int bad;

	if (argc < 2)
		return 2;
	program = argv[1];
	lcores = 1;
	bad = run("one lcore");
	lcores = 2;
	return run("two lcores") || bad;
}
