/* SPDX-License-Identifier: BSD-3-Clause */
/* Ephemeral ports of the connection table: partition, wrap, exhaustion. */
#include "proto_test.h"

#include "proto/vsock/conn_table.h"

#include <errno.h>

#define LO 50000u
#define HI 59999u

static struct conn_node node_of(uint64_t cid, uint32_t peer_port, uint32_t local_port)
{
	return (struct conn_node){.key = {cid, peer_port, local_port}};
}

static void test_ports_are_partitioned_by_queue(void **state)
{
	enum { STRIDE = 7, PORTS = 100 };
	bool taken[PORTS] = {false};
	unsigned given = 0;

	(void)state;
	for (uint32_t index = 0; index < STRIDE; index++) {
		static struct conn_node n[PORTS];
		struct conn_table t;
		uint32_t port, i = 0;

		assert_int_equal(
			conn_table_init(&t, 1000, index, index, STRIDE, LO, LO + PORTS - 1), 0);
		while (conn_table_port(&t, 2, 80, &port) == 0) {
			assert_in_range(port, LO, LO + PORTS - 1);
			assert_int_equal(port % STRIDE, index);
			assert_false(taken[port - LO]); /* by no queue */
			taken[port - LO] = true;
			assert_true(i < PORTS);
			n[i] = node_of(2, 80, port);
			assert_int_equal(conn_table_insert(&t, &n[i++]), 0);
			given++;
		}
		conn_table_fini(&t);
	}
	assert_int_equal(given, PORTS); /* and none is left over */
}

static void test_the_search_for_a_port_wraps_and_ends(void **state)
{
	enum { N = 10 };
	struct conn_node n[N];
	struct conn_table t;
	uint32_t port, first;

	(void)state;
	assert_int_equal(conn_table_init(&t, 100, 99, 0, 1, LO, LO + N - 1), 0);
	first = t.port_next;
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(conn_table_port(&t, 2, 80, &port), 0);
		assert_int_equal(port, LO + (first - LO + i) % N); /* in turn, once round */
		n[i] = node_of(2, 80, port);
		assert_int_equal(conn_table_insert(&t, &n[i]), 0);
	}
	port = 77;
	assert_int_equal(conn_table_port(&t, 2, 80, &port), -EADDRNOTAVAIL);
	assert_int_equal(port, 77);
	/* A port is taken towards one address only. */
	assert_int_equal(conn_table_port(&t, 2, 81, &port), 0);
	assert_int_equal(conn_table_port(&t, 3, 80, &port), 0);
	/* One is freed: found wherever the scan stands. */
	for (unsigned i = 0; i < N; i++) {
		conn_table_remove(&t, &n[i]);
		assert_int_equal(conn_table_port(&t, 2, 80, &port), 0);
		assert_int_equal(port, n[i].key.local_port);
		assert_int_equal(conn_table_insert(&t, &n[i]), 0);
	}
	conn_table_fini(&t);
}

static void test_ports_at_the_end_of_32_bits(void **state)
{
	struct conn_table t;
	uint32_t port, seen = 0;

	(void)state;
	/* p + stride overflows 32 bits; ports 2^32 - 4 and 2^32 - 1 are the queue's. */
	assert_int_equal(conn_table_init(&t, 10, 5, UINT32_MAX % 3, 3, UINT32_MAX - 5, UINT32_MAX),
			 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(conn_table_port(&t, 2, 80, &port), 0);
		assert_true(port == UINT32_MAX || port == UINT32_MAX - 3);
		seen |= port == UINT32_MAX ? 1 : 2;
	}
	assert_int_equal(seen, 3);
	conn_table_fini(&t);
}

static void test_first_port_depends_on_the_seed(void **state)
{
	uint32_t port[8], differ = 0;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct conn_table t;

		assert_int_equal(conn_table_init(&t, 10, i * 77, 1, 4, LO, HI), 0);
		assert_int_equal(conn_table_port(&t, 2, 80, &port[i]), 0);
		assert_in_range(port[i], LO, HI);
		assert_int_equal(port[i] % 4, 1);
		differ += port[i] != port[0];
		conn_table_fini(&t);
	}
	assert_true(differ >= 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports_are_partitioned_by_queue),
		cmocka_unit_test(test_the_search_for_a_port_wraps_and_ends),
		cmocka_unit_test(test_ports_at_the_end_of_32_bits),
		cmocka_unit_test(test_first_port_depends_on_the_seed),
	};

	return cmocka_run_group_tests_name("proto: ephemeral ports", tests, NULL, NULL);
}
