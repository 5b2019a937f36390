/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory behind received payload is replaced by zeros (a file that was cut off). Whoever copies it
 * then gets an error, also where the copy is made on arrival. With real memory: loopback cut_off.
 */
#include "pair.h"

#define LARGE 8000
#define SMALL 600

static struct zv_conn *g, *h;

static int setup(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = FAKE_QUEUES};

	(void)state;
	fake_zeros = false;
	/* Packets of SMALL bytes come in small pieces, and are copied on arrival; larger ones are
	 * held. */
	fake_config = (struct fake_config){.nbuf = 64, .buf_len = 8192, .nseg = 9};
	assert_int_equal(zv_open(&P.host, "fakehost:", &o), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	pump();
	return 0;
}

static void fault(void)
{
	fake_faults++;
	fake_zeros = true;
}

static void send(size_t len)
{
	static const uint8_t data[LARGE];

	assert_int_equal(zv_send(g, data, len, 0), len);
	pump();
}

static void close_all(void)
{
	fake_zeros = false;
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
}

static void a_copy_of_zeros_is_an_error(void **state)
{
	uint32_t flags = ZV_PEEK;
	uint8_t got[8192];

	(void)state;
	for (int type = ZV_STREAM; type <= ZV_SEQPACKET; type++) {
		connect_pair(type, 2000 + (uint32_t)type, &g, &h);
		send(LARGE);
		fault();
		flags = ZV_PEEK;
		assert_int_equal(zv_recv(h, got, sizeof(got), type == ZV_STREAM ? &flags : NULL),
				 -ECONNRESET);
		assert_int_equal(zv_recv(h, got, sizeof(got), NULL), -ECONNRESET);
		pump();
		assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
		assert_int_equal(zv_send(g, "x", 1, 0), -ECONNRESET); /* the peer is told */
		close_all();
	}
}

static void a_copy_on_arrival_is_one_too(void **state)
{
	struct zv_conn *g2, *h2;
	uint8_t got[8192];

	(void)state;
	for (int type = ZV_STREAM; type <= ZV_SEQPACKET; type++) {
		connect_pair(ZV_STREAM, 1000, &g2, &h2);
		g = g2;
		send(LARGE); /* on loan: faults are not forgotten */
		connect_pair(type, 2000 + (uint32_t)type, &g, &h);
		send(SMALL); /* copied, and good */
		fault();
		send(SMALL);
		assert_int_equal(zv_recv(h, got, sizeof(got), NULL), -ECONNRESET);
		close_all();
		zv_conn_close(g2);
		zv_conn_close(h2);
		pump();
	}
}

static void private_copies_outlive_it(void **state)
{
	uint8_t got[8192];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	send(SMALL);
	fault();
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), SMALL);
	close_all();
}

/* What is received after a fault of others costs no look at each piece any more. */
static void a_fault_of_others_is_forgotten(void **state)
{
	uint8_t got[8192];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	send(LARGE);
	fake_faults++;
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), LARGE);
	send(LARGE);
	fake_zeros = true; /* nobody asks */
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), LARGE);
	close_all();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_copy_of_zeros_is_an_error),
		T(a_copy_on_arrival_is_one_too),
		T(private_copies_outlive_it),
		T(a_fault_of_others_is_forgotten),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
