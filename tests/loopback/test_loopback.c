/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole stack in one process: socket layer, guest driver, rings, device, socket layer, with a
 * thread on each side. Everything that arrives is checked byte by byte.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PORT	4000u
#define SECOND	1000000000ull
#define CONNS	6u
#define MAX_MSG 70000u

/* One transfer: CONNS connections on each queue, both directions at once. */
struct shape {
	unsigned queues;
	enum zv_type type;
	bool zero_copy;
	uint32_t ring, buf, max_msg;
	uint64_t bytes; /* of each connection and direction */
	uint32_t opt_flags;
};

#define RINGS(n, b)	  .ring = (n), .buf = (b)
#define TRAFFIC(max, all) .max_msg = (max), .bytes = (all)

static struct zv_dev *guest, *host;
static const struct shape *shape;
static int guest_done;

static uint8_t byte_at(uint64_t pos, unsigned salt)
{
	return (uint8_t)((pos * 2654435761u >> 13) ^ pos ^ salt);
}

/* Message sizes of SEQPACKET and of single writes, the same on both sides. */
static uint32_t msg_size(uint64_t n)
{
	return 1 + (uint32_t)((n * 2654435761u >> 7) % shape->max_msg);
}

struct flow {
	struct zv_conn *c;
	uint64_t tx, rx, tx_msgs, rx_msgs;
	unsigned salt_tx, salt_rx;
	bool shut, eof;
};

static void check(struct flow *f, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(f->rx + i, f->salt_rx))
			fail_msg("byte %llu is wrong", (unsigned long long)(f->rx + i));
	f->rx += n;
}

static void fill(struct flow *f, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(f->tx + i, f->salt_tx);
}

static bool send_some(struct flow *f, uint8_t *scratch)
{
	uint32_t want = msg_size(f->tx_msgs);
	ssize_t n;

	if (f->tx >= shape->bytes) {
		if (!f->shut)
			assert_int_equal(zv_shutdown(f->c, 1), 0);
		f->shut = true;
		return false;
	}
	if (shape->zero_copy && shape->type == ZV_STREAM) {
		struct zv_buf b[8];
		int got = zv_buf_alloc(f->c, b, 8, want);

		if (got == -EAGAIN)
			return false;
		assert_true(got > 0);
		for (int i = 0; i < got; i++) {
			b[i].len = b[i].capacity;
			fill(f, b[i].data, b[i].len);
			f->tx += b[i].len;
		}
		assert_int_equal(zv_buf_send(f->c, b, (unsigned)got), got);
		f->tx_msgs++;
		return true;
	}
	fill(f, scratch, want);
	n = zv_send(f->c, scratch, want,
		    f->tx_msgs % 3 == 0 && shape->type == ZV_STREAM ? ZV_MORE : 0);
	if (n == -EAGAIN)
		return false;
	assert_true(n > 0);
	f->tx += (uint64_t)n;
	f->tx_msgs++;
	return true;
}

static bool recv_some(struct flow *f, uint8_t *scratch)
{
	ssize_t n;

	if (shape->zero_copy && shape->type == ZV_STREAM) {
		struct zv_buf b[8];
		int got = zv_buf_recv(f->c, b, 8);

		if (got == -EAGAIN)
			return false;
		f->eof |= got == 0;
		assert_true(got >= 0);
		for (int i = 0; i < got; i++)
			check(f, b[i].data, b[i].len);
		for (int i = got - 1; i >= 0; i--) /* not in order */
			zv_buf_release(zv_conn_queue(f->c), &b[i], 1);
		return got > 0;
	}
	n = zv_recv(f->c, scratch, MAX_MSG, NULL);
	if (n == -EAGAIN)
		return false;
	assert_true(n >= 0);
	f->eof |= n == 0;
	if (n > 0 && shape->type == ZV_SEQPACKET)
		assert_int_equal(n, msg_size(f->rx_msgs));
	check(f, scratch, (size_t)n);
	f->rx_msgs += n > 0;
	return n > 0;
}

/* One side's thread: polls all its queues until every flow has sent and received everything. */
static void side(struct zv_dev *dev, struct flow *f, unsigned n)
{
	uint8_t *scratch = malloc(MAX_MSG);
	struct zv_event ev[16];
	unsigned done = 0;
	int idle = 0;

	assert_non_null(scratch);
	while (done < n) {
		done = 0;
		for (unsigned q = 0; q < shape->queues; q++) {
			int got = zv_wait(zv_queue(dev, q), ev, 16, 200000);

			assert_true(got >= 0);
			for (int i = 0; i < got; i++)
				assert_false(ev[i].events & ZV_EV_ERR);
		}
		for (unsigned i = 0; i < n; i++) {
			bool moved = recv_some(&f[i], scratch);

			moved |= send_some(&f[i], scratch);
			idle = moved ? 0 : idle + 1;
			done += f[i].shut && f[i].eof;
		}
		if (idle > 4000000)
			fail_msg("no progress: %u of %u flows done", done, n);
	}
	free(scratch);
	for (unsigned i = 0; i < n; i++) {
		assert_true(f[i].rx >= shape->bytes);
		assert_int_equal(zv_conn_close(f[i].c), 0);
	}
}

static void *host_thread(void *arg)
{
	static struct flow f[CONNS * ZV_QUEUES_MAX];
	unsigned n = 0, all = CONNS * shape->queues;
	struct zv_event ev[4];

	(void)arg;
	memset(f, 0, sizeof(f));
	while (n < all)
		for (unsigned q = 0; q < shape->queues; q++) {
			assert_true(zv_wait(zv_queue(host, q), ev, 4, 100000) >= 0);
			while (zv_accept(zv_queue(host, q), PORT, &f[n].c) == 0) {
				f[n].salt_tx = 1;
				f[n++].salt_rx = 2;
			}
		}
	side(host, f, all);
	/* What was said last may not have found room, in a pause. */
	while (!__atomic_load_n(&guest_done, __ATOMIC_ACQUIRE))
		for (unsigned q = 0; q < shape->queues; q++)
			assert_true(zv_wait(zv_queue(host, q), ev, 4, 1000000) >= 0);
	return NULL;
}

static void open_both(const struct shape *s)
{
	struct zv_opts o = {.size = sizeof(o),
			    .queues = s->queues,
			    .ring_size = s->ring,
			    .rx_buf = s->buf,
			    .tx_buf = s->buf,
			    .connect_timeout_ns = 20000000000u, /* a thread may get no CPU */
			    .flags = s->opt_flags};

	shape = s;
	assert_int_equal(zv_open(&host, "loophost:", &o), 0);
	assert_int_equal(zv_open(&guest, "loopguest:", &o), 0);
	assert_int_equal(zv_listen(host, PORT, s->type, 0), 0);
}

static void close_both(void)
{
	assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
}

static void check_clean(struct zv_dev *dev)
{
	for (unsigned i = 0; i < zv_nqueues(dev); i++) {
		struct zv_queue_stats st;

		zv_queue_stats(zv_queue(dev, i), &st, sizeof(st));
		assert_int_equal(st.rx_bad_hdr + st.rx_bad_cid + st.rx_bad_type + st.rx_overrun +
					 st.rx_bad_credit + st.rx_bad_chain + st.ring_broken,
				 0);
	}
}

struct disturber {
	bool pause; /* or: replace the memory table */
	int stop;
	unsigned done, failed;
};

static void doze(void *arg)
{
	(void)arg;
	nanosleep(&(struct timespec){0, 300000}, NULL);
}

static void *disturb(void *arg)
{
	struct disturber *d = arg;

	while (!__atomic_load_n(&d->stop, __ATOMIC_ACQUIRE)) {
		if (d->pause)
			d->failed += !loop_pause(doze, NULL);
		else
			loop_switch_mem();
		d->done++;
		doze(NULL);
	}
	return NULL;
}

static void transfer(const struct shape *s, struct disturber *by)
{
	static struct flow f[CONNS * ZV_QUEUES_MAX];
	unsigned all = CONNS * s->queues;
	struct zv_event ev[4];
	pthread_t t, d;

	memset(f, 0, sizeof(f));
	guest_done = 0;
	open_both(s);
	if (by)
		assert_int_equal(pthread_create(&d, NULL, disturb, by), 0);
	assert_int_equal(pthread_create(&t, NULL, host_thread, NULL), 0);
	for (unsigned i = 0; i < all; i++) {
		f[i].salt_tx = 2;
		f[i].salt_rx = 1;
		assert_int_equal(zv_connect(zv_queue(guest, i % s->queues), ZV_CID_HOST, PORT,
					    s->type, &f[i].c),
				 0);
	}
	for (unsigned i = 0, up = 0; up < all; i++) {
		int n = zv_wait(zv_queue(guest, i % s->queues), ev, 4, SECOND / 10);

		assert_true(n >= 0);
		for (int k = 0; k < n; k++)
			up += !!(ev[k].events & ZV_EV_CONNECT);
	}
	side(guest, f, all);
	__atomic_store_n(&guest_done, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	if (by) {
		__atomic_store_n(&by->stop, 1, __ATOMIC_RELEASE);
		pthread_join(d, NULL);
		assert_int_equal(by->failed, 0);
	}
	check_clean(guest);
	check_clean(host);
	close_both();
}

/* On a busy machine the thread may get no CPU before the transfer is over: then another one. */
static void disturbed(const struct shape *s, struct disturber *by)
{
	do {
		by->stop = 0;
		transfer(s, by);
	} while (!by->done);
}

#define KIB 1024u
static const struct shape shapes[] = {
	{.queues = 1, .type = ZV_STREAM, RINGS(256, 65536), TRAFFIC(MAX_MSG, 3000 * KIB)},
	{.queues = 1,
	 .type = ZV_STREAM,
	 .zero_copy = true,
	 RINGS(256, 65536),
	 TRAFFIC(MAX_MSG, 3000 * KIB)},
	{.queues = 4,
	 .type = ZV_STREAM,
	 .zero_copy = true,
	 RINGS(64, 4096),
	 TRAFFIC(9000, 300 * KIB)},
	{.queues = 2, .type = ZV_STREAM, RINGS(16, 512), TRAFFIC(3000, 100 * KIB)},
	{.queues = 2, .type = ZV_SEQPACKET, RINGS(128, 4096), TRAFFIC(30000, 300 * KIB)},
	{.queues = 1, .type = ZV_STREAM, RINGS(32, 64), TRAFFIC(200, 50 * KIB)},
	{.queues = 2,
	 .type = ZV_STREAM,
	 .zero_copy = true,
	 RINGS(128, 4096),
	 TRAFFIC(100, 100 * KIB),
	 .opt_flags = ZV_OPT_NO_HELLO},
};

static const struct shape small_rings = {.queues = 1,
					 .type = ZV_STREAM,
					 .zero_copy = true,
					 RINGS(64, 4096),
					 TRAFFIC(4096, UINT64_MAX)};

static void test_transfer(void **state)
{
	transfer(*state, NULL);
}

/* Restarts of the rings under traffic: connections fail, nothing is lost or stuck, all is new. */
static void test_restart_under_traffic(void **state)
{
	struct zv_event ev[4];

	(void)state;
	open_both(&small_rings);
	for (int round = 0; round < 200; round++) {
		struct zv_conn *g, *h;
		struct zv_buf tx[4], rx[4];
		int got = 0, n;

		assert_int_equal(zv_connect(zv_queue(guest, 0), ZV_CID_HOST, PORT, ZV_STREAM, &g),
				 0);
		zv_poll(zv_queue(guest, 0), ev, 4);
		zv_poll(zv_queue(host, 0), ev, 4);
		assert_int_equal(zv_accept(zv_queue(host, 0), PORT, &h), 0);
		zv_poll(zv_queue(guest, 0), ev, 4);
		n = zv_buf_alloc(g, tx, 4, 1000);
		assert_int_equal(n, 4);
		for (int i = 0; i < n; i++)
			memset(tx[i].data, 'A' + i, 1000);
		assert_int_equal(zv_buf_send(g, tx, 2), 2);
		zv_poll(zv_queue(host, 0), ev, 4);
		got = zv_buf_recv(h, rx, 4);
		assert_int_equal(got, 2);
		loop_restart();
		/* what the guest wrote is out of its reach, and still there */
		assert_int_equal(*(volatile char *)rx[0].data, 'A');
		assert_int_equal(((volatile char *)rx[1].data)[999], 'B');
		assert_int_equal(zv_buf_send(g, tx + 2, 2), -ECONNRESET);
		assert_int_equal(zv_recv(h, ev, 1, NULL), -ECONNRESET);
		zv_buf_release(zv_queue(host, 0), rx, 2);
		assert_int_equal(zv_conn_close(g), 0);
		assert_int_equal(zv_conn_close(h), 0);
	}
	check_clean(guest);
	check_clean(host);
	close_both();
}

/* The memory table is replaced again and again while two queues carry data. */
static void test_live_memory_change(void **state)
{
	static const struct shape s = {.queues = 2,
				       .type = ZV_STREAM,
				       .zero_copy = true,
				       RINGS(64, 4096),
				       TRAFFIC(9000, 1000 * KIB)};
	(void)state;
	disturbed(&s, &(struct disturber){.pause = false});
}

/* The guest is paused again and again while its queues carry data: nobody notices. */
static void test_pauses_under_traffic(void **state)
{
	disturbed(*state, &(struct disturber){.pause = true});
}

/* Everything of one connection, at a pause of the guest. */
struct held_over {
	struct zv_conn *g, *h;
	struct zv_buf rx[2], tx[3];
};

/* The host's application works on while the guest stands still. */
static void while_paused(void *arg)
{
	struct held_over *s = arg;
	struct zv_event ev[4];
	char b[8];

	assert_memory_equal(s->rx[0].data, "first", 5);
	assert_int_equal(zv_recv(s->h, b, 8, NULL), 6);
	assert_memory_equal(b, "second", 6);
	assert_int_equal(zv_recv(s->h, b, 8, NULL), -EAGAIN);
	zv_buf_release(zv_queue(host, 0), s->rx, 1);
	memcpy((char *)s->tx[0].data + 3, "def", 3); /* "abc" was written before */
	memcpy(s->tx[1].data, "ghi", 3);
	s->tx[0].len = 6;
	s->tx[1].len = 3;
	assert_int_equal(zv_buf_send(s->h, &s->tx[1], 1), 1); /* in another order */
	assert_int_equal(zv_buf_send(s->h, &s->tx[0], 1), 1);
	assert_int_equal(zv_send(s->h, "jkl", 3, 0), -EAGAIN);
	assert_int_equal(zv_poll(zv_queue(host, 0), ev, 4), 0);
	assert_int_equal(zv_arm(zv_queue(host, 0)), 0); /* it can sleep */
}

/* Loans of both directions, and what is sent from them meanwhile, survive a pause. */
static void test_loans_over_a_pause(void **state)
{
	struct held_over o;
	struct zv_event ev[4];
	char b[16];

	(void)state;
	open_both(&small_rings);
	for (int round = 0; round < 100; round++) {
		assert_int_equal(zv_connect(zv_queue(guest, 0), ZV_CID_HOST, PORT, ZV_STREAM, &o.g),
				 0);
		for (int i = 0; i < 3; i++) {
			zv_poll(zv_queue(guest, 0), ev, 4);
			zv_poll(zv_queue(host, 0), ev, 4);
		}
		assert_int_equal(zv_accept(zv_queue(host, 0), PORT, &o.h), 0);
		zv_poll(zv_queue(guest, 0), ev, 4);
		assert_int_equal(zv_send(o.g, "first", 5, 0), 5);
		zv_poll(zv_queue(guest, 0), ev, 4);
		assert_int_equal(zv_send(o.g, "second", 6, 0), 6);
		zv_poll(zv_queue(guest, 0), ev, 4);
		zv_poll(zv_queue(host, 0), ev, 4);
		assert_int_equal(zv_buf_recv(o.h, o.rx, 1), 1);
		assert_int_equal(zv_buf_alloc(o.h, o.tx, 3, 100), 3);
		memcpy(o.tx[0].data, "abc", 3);
		assert_true(loop_pause(while_paused, &o));
		assert_int_equal(zv_buf_send(o.h, &o.tx[2], 0), 0);
		zv_buf_cancel(o.h, &o.tx[2], 1);
		zv_poll(zv_queue(host, 0), ev, 4);
		assert_int_equal(zv_send(o.h, "jkl", 3, 0), 3);
		zv_poll(zv_queue(host, 0), ev, 4);
		zv_poll(zv_queue(guest, 0), ev, 4);
		assert_int_equal(zv_recv(o.g, b, 16, NULL), 12);
		assert_memory_equal(b, "ghiabcdefjkl", 12);
		assert_int_equal(zv_conn_close(o.h), 0);
		assert_int_equal(zv_conn_close(o.g), 0);
		for (int i = 0; i < 3; i++) {
			zv_poll(zv_queue(host, 0), ev, 4);
			zv_poll(zv_queue(guest, 0), ev, 4);
		}
	}
	check_clean(guest);
	check_clean(host);
	close_both();
}

/* Both sides sleep on their descriptors and wake each other. */
static void test_sleepers_wake_each_other(void **state)
{
	static const struct shape s = {
		.queues = 1, .type = ZV_STREAM, RINGS(64, 4096), TRAFFIC(4096, 0)};
	struct zv_queue *g, *h;
	struct zv_conn *gc, *hc;
	struct zv_event ev[4];
	char c;

	(void)state;
	open_both(&s);
	g = zv_queue(guest, 0);
	h = zv_queue(host, 0);
	assert_int_equal(zv_connect(g, ZV_CID_HOST, PORT, ZV_STREAM, &gc), 0);
	while (zv_accept(h, PORT, &hc) != 0) {
		zv_poll(g, ev, 4);
		zv_poll(h, ev, 4);
	}
	for (int i = 0; i < 1000; i++) {
		struct zv_conn *from = i & 1 ? gc : hc, *to = i & 1 ? hc : gc;
		struct zv_queue *q = zv_conn_queue(to);

		while (zv_poll(g, ev, 4) + zv_poll(h, ev, 4))
			;
		while (zv_arm(q) == -EAGAIN)
			zv_poll(q, ev, 4);
		assert_int_equal(zv_send(from, &(char){(char)i}, 1, 0), 1);
		/* the notification has been sent by now: a sleeper would be woken */
		assert_int_equal(zv_wait(q, ev, 4, 30 * SECOND), 1);
		assert_int_equal(zv_recv(to, &c, 1, NULL), 1);
		assert_int_equal(c, (char)i);
	}
	zv_conn_close(gc);
	zv_conn_close(hc);
	close_both();
}

int main(void)
{
#define SHAPE(name, i)                                                                             \
	{                                                                                          \
		name, test_transfer, NULL, NULL, (void *)&shapes[i]                                \
	}
#define PAUSES(name, i)                                                                            \
	{                                                                                          \
		name, test_pauses_under_traffic, NULL, NULL, (void *)&shapes[i]                    \
	}
	const struct CMUnitTest tests[] = {
		SHAPE("stream, copying, 64 KiB buffers", 0),
		SHAPE("stream, zero-copy, 64 KiB buffers", 1),
		SHAPE("stream, zero-copy, 4 queues, 4 KiB buffers", 2),
		SHAPE("stream, copying, rings of 16", 3),
		SHAPE("seqpacket, 2 queues", 4),
		SHAPE("stream, 64-byte buffers", 5),
		SHAPE("stream without HELLO, small packets", 6),
		cmocka_unit_test(test_restart_under_traffic),
		cmocka_unit_test(test_live_memory_change),
		cmocka_unit_test(test_sleepers_wake_each_other),
		PAUSES("pauses: stream, copying, 64 KiB buffers", 0),
		PAUSES("pauses: stream, zero-copy, 64 KiB buffers", 1),
		PAUSES("pauses: stream, zero-copy, 4 queues, 4 KiB buffers", 2),
		PAUSES("pauses: stream, copying, rings of 16", 3),
		PAUSES("pauses: seqpacket, 2 queues", 4),
		cmocka_unit_test(test_loans_over_a_pause),
	};

	return cmocka_run_group_tests_name("loopback", tests, NULL, NULL);
}
