/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams between guests of a real zvsockd: to siblings on the same lcore and on another one, to
 * nobody, in floods, and beside connections.
 */
#include "dgram_side.h"
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CID_A	  11u
#define CID_B	  12u
#define CID_ALONE 13u
#define CID_STOCK 14u
#define PORT	  5000u
#define FLOOD	  3000

static const char *program;
static struct zv_dev *A, *B, *alone, *stock;
static void begin(unsigned lcores)
{
	assert_true(zf_start(program,
			     "[guest a]\ncid = 11\nsocket = @a\ngroups = g\n"
			     "[guest b]\ncid = 12\nsocket = @b\ngroups = g\n"
			     "[guest alone]\ncid = 13\nsocket = @alone\n"
			     "[guest stock]\ncid = 14\nsocket = @stock\ngroups = g\n",
			     lcores));
	A = zf_zvsock_guest(0, "a", 1);
	B = zf_zvsock_guest(1, "b", 1);
	alone = zf_zvsock_guest(2, "alone", 1);
	stock = zf_guest(3, "stock", 1);
	assert_true(A && B && alone && stock);
}

static uint32_t mine; /* A's port */

/* Sends from A to B until it arrives: what is left of the flood comes first, and while it fills the
 * queue datagrams are lost. */
static bool again_arrives(void *arg)
{
	struct dg_wait *w = arg;

	(void)dg_send(A, mine, CID_B, PORT, "again", 5);
	return dg_arrived(w) && w->len == 5;
}

static void siblings(unsigned lcores)
{
	struct zv_dgram_addr from;
	struct dg_wait w;
	struct zf_conn *a, *b;
	int passed = 0;
	long lost;

	begin(lcores);
	assert_true(zf_until(dg_ready, A) && zf_until(dg_ready, B) && zf_until(dg_ready, alone));
	mine = dg_bind(A, ZV_PORT_ANY);
	dg_bind(B, PORT);
	assert_int_equal(zv_listen(B, PORT, ZV_STREAM, 0), 0);
	/* there and back, with their boundaries */
	assert_int_equal(dg_send(A, mine, CID_B, PORT, "one", 3), 3);
	assert_int_equal(dg_send(A, mine, CID_B, PORT, "", 0), 0);
	from = dg_expect(B, PORT, "one", 3);
	assert_int_equal(from.peer_cid, CID_A);
	assert_int_equal(from.local_cid, CID_B);
	assert_int_equal(from.peer_port, mine);
	assert_int_equal(from.local_port, PORT);
	(void)dg_expect(B, PORT, "", 0);
	assert_int_equal(zv_dgram_send(zv_queue(B, 0), &from, "back", 4, 0), 4);
	from = dg_expect(A, mine, "back", 4);
	assert_int_equal(from.peer_cid, CID_B);
	assert_true(hs_counter_becomes("a", "dgram_passed_on", 2));

	/* to the host, to who is in no group, who is not there, who is stock: lost, and counted */
	lost = 0;
	for (unsigned i = 0; i < 4; i++, lost++)
		assert_int_equal(
			dg_send(A, mine,
				(const uint64_t[]){ZV_CID_HOST, CID_ALONE, 99, CID_STOCK}[i], PORT,
				"x", 1),
			1);
	assert_true(hs_counter_becomes("a", "dgram_lost", lost));
	dg_bind(alone, PORT);
	assert_int_equal(dg_send(alone, PORT, ZV_CID_HOST, PORT, "x", 1), -EOPNOTSUPP);
	assert_int_equal(dg_send(stock, dg_bind(stock, PORT), ZV_CID_HOST, PORT, "x", 1),
			 -EOPNOTSUPP);

	/* a flood, which nobody reads, beside a connection of the same guests */
	a = zf_connect(A, 0, CID_B, PORT, ZV_STREAM, NULL);
	assert_non_null(a);
	b = zf_accept(B, PORT);
	assert_non_null(b);
	for (int i = 0; i < FLOOD; i++) {
		char byte = (char)i;

		if (dg_send(A, mine, CID_B, PORT, dg_payload, 4000) == 4000)
			passed++;
		if (i % 100 == 0) {
			assert_true(zf_send(a, &byte, 1, 0));
			assert_int_equal(zf_recv(b, dg_payload, 1, NULL), 1);
			assert_int_equal(dg_payload[0], byte);
		}
		zf_poll();
	}
	assert_true(passed > 100);
	zf_close(a);
	zf_close(b);
	/* who goes in the middle of it holds up nobody */
	assert_true(zf_guest_close(1));
	for (int i = 0; i < FLOOD; i++) {
		(void)dg_send(A, mine, CID_B, PORT, dg_payload, 4000);
		zf_poll();
	}
	B = zf_zvsock_guest(1, "b", 1);
	assert_non_null(B);
	assert_true(zf_until(dg_ready, B));
	dg_bind(B, PORT);
	w = (struct dg_wait){.dev = B, .port = PORT};
	assert_true(zf_until(again_arrives, &w));
	assert_true(zf_stop());
}

static void on_one_lcore(void **state)
{
	(void)state;
	siblings(1);
}

static void on_two_lcores(void **state)
{
	(void)state;
	siblings(2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_one_lcore),
		cmocka_unit_test(on_two_lcores),
	};

	program = argc > 1 ? argv[1] : "zvsockd";
	return cmocka_run_group_tests_name("dgram", tests, NULL, NULL);
}
