/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nothing is left behind: devices opened, used and closed, and connections, many times over.
 * Descriptors and shared mappings are counted before and after; the heap may not grow once all
 * that is kept for reuse has been allocated.
 */
#include "testbed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DEVICES	 300u
#define CONNECTS 3000u
#define HOSTS	 60u
#else
#define DEVICES	 1000u
#define CONNECTS 100000u
#define HOSTS	 1000u
#endif
#define NOTHING (CONNECTS / 5) /* connections that come to nothing */
#define SLACK	(128u << 10)   /* bytes: lists that grow in powers of two, stdio, malloc's own */
#define BATCH	64u

static struct zv_dev *dev;
static uint8_t out[6000], in[6000];

static bool heap_is_back(void *before)
{
	return testbed_heap() <= ((const struct testbed_counts *)before)->heap + SLACK;
}

static void check(struct testbed_counts *before)
{
	const char *left = testbed_left_over(before);

	if (left)
		fail_msg("%s", left);
	(void)testbed_until(heap_is_back, before); /* other threads free it */
	printf("heap grew by %lld bytes\n", (long long)(testbed_heap() - before->heap));
	assert_in_range(testbed_heap(), 0, before->heap + SLACK);
}

static bool open_guest(void *path)
{
	struct zv_opts o = {.size = sizeof(o),
			    .ring_size = 16,
			    .rx_buf = 2048,
			    .tx_buf = 2048,
			    .connect_timeout_ns = TESTBED_WAIT_NS}; /* the host may get no CPU */
	char uri[96];

	(void)snprintf(uri, sizeof(uri), "vhost-user:%s", (const char *)path);
	return zv_open(&dev, uri, &o) == 0; /* refused while the last one is not quite gone */
}

static struct zv_conn *connect_to(unsigned port)
{
	struct zv_queue *q = zv_queue(dev, 0);
	struct zv_conn *c;
	struct zv_event ev[4];

	assert_int_equal(zv_connect(q, ZV_CID_HOST, port, ZV_STREAM, &c), 0);
	for (int tries = 0; tries < 600; tries++) {
		int n = zv_wait(q, ev, 4, 100000000u);

		for (int i = 0; i < n; i++)
			if (ev[i].conn == c && (ev[i].events & ZV_EV_CONNECT)) {
				assert_int_equal(ev[i].err, 0);
				return c;
			}
	}
	fail_msg("not connected");
	return NULL;
}

static void transfer(struct zv_conn *c, size_t len)
{
	struct zv_queue *q = zv_conn_queue(c);
	size_t sent = 0, got = 0;
	struct zv_event ev[4];

	for (int tries = 0; got < len && tries < 1000; tries++) {
		ssize_t n = sent < len ? zv_send(c, out + sent, len - sent, 0) : 0;

		sent += n > 0 ? (size_t)n : 0;
		n = zv_recv(c, in + got, len - got, NULL);
		got += n > 0 ? (size_t)n : 0;
		if (n == -EAGAIN)
			assert_true(zv_wait(q, ev, 4, 100000000u) >= 0);
	}
	assert_int_equal(got, len);
	assert_memory_equal(in, out, len);
}

static void one_device(void)
{
	struct zv_conn *c;

	assert_true(testbed_until(open_guest, testbed_victim));
	c = connect_to(PORT_ECHO);
	transfer(c, sizeof(out));
	zv_conn_close(c);
	assert_int_equal(zv_close(dev), 0);
	dev = NULL;
}

static void guest_devices_open_transfer_close(void **state)
{
	struct testbed_counts before;

	(void)state;
	for (unsigned i = 0; i < DEVICES / 10; i++)
		one_device();
	assert_true(testbed_wait_up(false));
	before = testbed_count();
	printf("%u rounds\n", DEVICES);
	for (unsigned i = 0; i < DEVICES; i++)
		one_device();
	assert_true(testbed_wait_up(false));
	check(&before);
}

static void connects(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct zv_conn *c = connect_to(PORT_ECHO);

		if (i % 8 == 0)
			transfer(c, 100);
		zv_conn_close(c);
	}
}

/*
 * Polls until nothing has moved for 2,000 polls, because each side may have thousands of RSTs to
 * send yet, and the last of them must have arrived.
 */
static void settle(void)
{
	struct zv_queue *q = zv_queue(dev, 0);
	uint64_t seen = UINT64_MAX;
	struct zv_queue_stats s;
	struct zv_event ev[4];

	for (int quiet = 0; quiet < 2000; quiet++) {
		zv_poll(q, ev, 4);
		assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
		if (s.rx_packets + s.tx_packets != seen)
			quiet = 0;
		seen = s.rx_packets + s.tx_packets;
		testbed_nap();
	}
}

static void connections_open_and_close(void **state)
{
	struct testbed_counts before;

	(void)state;
	assert_true(testbed_until(open_guest, testbed_victim));
	connects(CONNECTS / 10);
	settle();
	before = testbed_count();
	printf("%u connections\n", CONNECTS);
	connects(CONNECTS);
	settle();
	check(&before);
	assert_int_equal(zv_close(dev), 0);
}

/* Refused, never accepted, reset while open: BATCH at a time. */
static void batch(unsigned port)
{
	struct zv_queue *q = zv_queue(dev, 0);
	struct zv_conn *c[BATCH];
	struct zv_event ev[16];

	for (unsigned i = 0; i < BATCH; i++)
		assert_int_equal(zv_connect(q, ZV_CID_HOST, port, ZV_STREAM, &c[i]), 0);
	for (int i = 0; i < 20; i++)
		(void)zv_poll(q, ev, 16);
	for (unsigned i = 0; i < BATCH; i++)
		zv_conn_close(c[i]);
}

static void connections_that_come_to_nothing(void **state)
{
	static const unsigned port[] = {PORT_CLOSED, PORT_BACKLOG, PORT_MUTE, PORT_SOURCE};
	struct testbed_counts before = {0};

	(void)state;
	assert_true(testbed_until(open_guest, testbed_victim));
	/* Each side keeps up to 256 free connections: the first half finds out how many. */
	for (unsigned i = 0; i < 2 * NOTHING / BATCH; i++) {
		if (i == NOTHING / BATCH) {
			settle();
			before = testbed_count();
		}
		batch(port[i % 4]);
		testbed_nap();
	}
	settle();
	check(&before);
	assert_int_equal(zv_close(dev), 0);
}

static void one_host(unsigned i)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 1 + i % 4};
	struct zv_dev *host;
	char path[80], uri[128];

	(void)snprintf(path, sizeof(path), "%s2", testbed_victim);
	(void)snprintf(uri, sizeof(uri), "host:%s,cid=77", path);
	assert_int_equal(zv_open(&host, uri, &o), 0);
	assert_int_equal(zv_listen(host, 5, ZV_STREAM, 0), 0);
	if (i % 10 == 0) { /* closed under its guest */
		assert_true(testbed_until(open_guest, path));
		assert_int_equal(zv_close(host), 0);
		assert_int_equal(zv_close(dev), 0);
	} else {
		assert_int_equal(zv_close(host), 0);
	}
}

static void host_devices_open_and_close(void **state)
{
	struct testbed_counts before;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		one_host(i);
	before = testbed_count();
	printf("%u rounds\n", HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		one_host(i);
	check(&before);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_devices_open_transfer_close),
		cmocka_unit_test(connections_open_and_close),
		cmocka_unit_test(connections_that_come_to_nothing),
		cmocka_unit_test(host_devices_open_and_close),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 31);
	if (testbed_start(false))
		return 99;
	return cmocka_run_group_tests_name("leaks", tests, NULL, testbed_group_end);
}
