/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams between guests of a real zvsockd: to siblings on the same lcore and on another one, to
 * nobody, in floods, and beside connections.
 */
#include "host_side.h"
#include "zvd_fixture.h"
#include "zvsock_dgram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CID_A	  11u
#define CID_B	  12u
#define CID_ALONE 13u
#define CID_STOCK 14u
#define PORT	  5000u
#define FLOOD	  3000

static const char *program;
static struct zv_dev *A, *B, *alone, *stock;
static char got[ZV_DGRAM_MAX];

static uint32_t bound(struct zv_dev *dev, uint32_t port)
{
	assert_int_equal(zv_dgram_bind(dev, &port, 0), 0);
	return port;
}

static ssize_t send_to(struct zv_dev *from, uint32_t port, uint64_t cid, const void *data,
		       size_t len)
{
	const struct zv_dgram_addr to = {.peer_cid = cid, .local_port = port, .peer_port = PORT};

	return zv_dgram_send(zv_queue(from, 0), &to, data, len, 0);
}

/* What zf_until waits for: a datagram on any queue of a device. */
struct wanted {
	struct zv_dev *dev;
	uint32_t port;
	struct zv_dgram_addr from;
	ssize_t len;
};

static bool arrived(void *arg)
{
	struct wanted *w = arg;

	for (unsigned i = 0; i < zv_nqueues(w->dev); i++) {
		w->len = zv_dgram_recv(zv_queue(w->dev, i), w->port, got, sizeof(got), NULL,
				       &w->from);
		if (w->len >= 0)
			return true;
	}
	return false;
}

static struct zv_dgram_addr expect(struct zv_dev *dev, uint32_t port, const char *text)
{
	struct wanted w = {.dev = dev, .port = port};

	assert_true(zf_until(arrived, &w));
	assert_int_equal(w.len, strlen(text));
	assert_memory_equal(got, text, strlen(text));
	return w.from;
}

/* The counter of guest a is what *arg says. */
static const char *counter_name;
static bool counted(void *arg)
{
	return hs_counter("a", counter_name) == *(long *)arg;
}

static void expect_count(const char *name, long n)
{
	counter_name = name;
	if (!zf_until(counted, &n))
		fail_msg("%s is %ld, not %ld", name, hs_counter("a", name), n);
}

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

/* HELLO is over. */
static bool takes_datagrams(void *arg)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	return zv_dev_info(arg, &info) == 0 && info.peer != ZV_PEER_UNKNOWN;
}

static void siblings(unsigned lcores)
{
	struct zv_dgram_addr from;
	struct zf_conn *a, *b;
	uint32_t mine;
	int passed = 0;
	long lost;

	begin(lcores);
	assert_true(zf_until(takes_datagrams, A) && zf_until(takes_datagrams, B) &&
		    zf_until(takes_datagrams, alone));
	mine = bound(A, ZV_PORT_ANY);
	bound(B, PORT);
	assert_int_equal(zv_listen(B, PORT, ZV_STREAM, 0), 0);
	/* there and back, with their boundaries */
	assert_int_equal(send_to(A, mine, CID_B, "one", 3), 3);
	assert_int_equal(send_to(A, mine, CID_B, "", 0), 0);
	from = expect(B, PORT, "one");
	assert_int_equal(from.peer_cid, CID_A);
	assert_int_equal(from.local_cid, CID_B);
	assert_int_equal(from.peer_port, mine);
	assert_int_equal(from.local_port, PORT);
	(void)expect(B, PORT, "");
	assert_int_equal(zv_dgram_send(zv_queue(B, 0), &from, "back", 4, 0), 4);
	from = expect(A, mine, "back");
	assert_int_equal(from.peer_cid, CID_B);
	expect_count("dgram_passed_on", 2);

	/* to the host, to who is in no group, who is not there, who is stock: lost, and counted */
	lost = 0;
	for (unsigned i = 0; i < 4; i++, lost++)
		assert_int_equal(
			send_to(A, mine,
				(const uint64_t[]){ZV_CID_HOST, CID_ALONE, 99, CID_STOCK}[i], "x",
				1),
			1);
	expect_count("dgram_lost", lost);
	bound(alone, PORT);
	assert_int_equal(send_to(alone, PORT, ZV_CID_HOST, "x", 1), -EOPNOTSUPP);
	assert_int_equal(send_to(stock, bound(stock, PORT), ZV_CID_HOST, "x", 1), -EOPNOTSUPP);

	/* a flood, which nobody reads, beside a connection of the same guests */
	a = zf_connect(A, 0, CID_B, PORT, ZV_STREAM, NULL);
	assert_non_null(a);
	b = zf_accept(B, PORT);
	assert_non_null(b);
	for (int i = 0; i < FLOOD; i++) {
		char byte = (char)i;

		if (send_to(A, mine, CID_B, got, 4000) == 4000)
			passed++;
		if (i % 100 == 0) {
			assert_true(zf_send(a, &byte, 1, 0));
			assert_int_equal(zf_recv(b, got, 1, NULL), 1);
			assert_int_equal(got[0], byte);
		}
		zf_poll();
	}
	assert_true(passed > 100);
	zf_close(a);
	zf_close(b);
	/* who goes in the middle of it holds up nobody */
	assert_true(zf_guest_close(1));
	for (int i = 0; i < FLOOD; i++) {
		(void)send_to(A, mine, CID_B, got, 4000);
		zf_poll();
	}
	B = zf_zvsock_guest(1, "b", 1);
	assert_non_null(B);
	assert_true(zf_until(takes_datagrams, B));
	bound(B, PORT);
	do
		zf_poll();
	while (send_to(A, mine, CID_B, "again", 5) == -EAGAIN);
	do {
		struct wanted w = {.dev = B, .port = PORT};

		assert_true(zf_until(arrived, &w)); /* those of the flood come first */
		passed = (int)w.len;
	} while (passed == 4000);
	assert_int_equal(passed, 5);
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
