/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams over rings, a thread on each side: each that arrives is whole, as it was sent and in
 * order; each that does not is counted; and a stream beside them loses nothing.
 */
#include "loop.h"
#include "zvsock_dgram.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define QUEUES	2u
#define PORT	4000u
#define MOST	4000u	 /* bytes of a datagram */
#define NUMBER	60000u	 /* that each side sends */
#define BYTES	4000000u /* of the stream; a multiple of CHUNK */
#define CHUNK	10000u
#define RX_SIZE 65536u

struct head {
	uint32_t seq, len;
};

/* What one side's thread has done. */
struct side {
	struct zv_dev *dev;
	struct zv_conn *stream;	 /* the guest sends, the host receives */
	uint32_t sent, received; /* datagrams */
	uint32_t last[QUEUES];	 /* number + 1 of the last one that came */
	uint64_t bytes;		 /* of the stream */
	uint32_t done;		 /* it has sent all; any thread */
	bool host;
};

static struct side guest, host;

static uint32_t length(uint32_t seq)
{
	return sizeof(struct head) + seq * 2654435761u % (MOST - sizeof(struct head));
}

static uint8_t byte_at(uint32_t seq, uint32_t i)
{
	return (uint8_t)(seq * 7 + i * 13);
}

static bool send_one(struct side *s)
{
	struct zv_queue *q = zv_queue(s->dev, s->sent % QUEUES);
	const struct zv_dgram_addr to = {.local_port = PORT, .peer_port = PORT};
	struct head h = {s->sent, length(s->sent)};
	static _Thread_local uint8_t data[MOST];
	ssize_t ret;

	memcpy(data, &h, sizeof(h));
	for (uint32_t i = sizeof(h); i < h.len; i++)
		data[i] = byte_at(h.seq, i);
	ret = zv_dgram_send(q, &to, data, h.len, 0);
	if (ret == -EAGAIN)
		return false;
	assert_int_equal(ret, h.len);
	s->sent++;
	return true;
}

static bool recv_one(struct side *s, unsigned queue)
{
	static _Thread_local uint8_t data[MOST + 1];
	struct zv_dgram_addr from;
	struct head h;
	ssize_t n = zv_dgram_recv(zv_queue(s->dev, queue), PORT, data, sizeof(data), NULL, &from);

	if (n == -EAGAIN)
		return false;
	assert_true(n >= (ssize_t)sizeof(h));
	memcpy(&h, data, sizeof(h));
	assert_int_equal(n, h.len);
	assert_int_equal(h.len, length(h.seq));
	assert_int_equal(h.seq % QUEUES, queue);
	assert_true(h.seq + 1 > s->last[queue]);
	s->last[queue] = h.seq + 1;
	for (uint32_t i = sizeof(h); i < h.len; i++)
		if (data[i] != byte_at(h.seq, i))
			fail_msg("byte %u of datagram %u is wrong", i, h.seq);
	assert_int_equal(from.peer_port, PORT);
	assert_int_equal(from.peer_cid, s->host ? LOOP_CID : ZV_CID_HOST);
	s->received++;
	return true;
}

static void stream_some(struct side *s)
{
	static _Thread_local uint8_t data[CHUNK];
	ssize_t n;

	if (s->host) {
		while ((n = zv_recv(s->stream, data, sizeof(data), NULL)) > 0) {
			for (ssize_t i = 0; i < n; i++)
				if (data[i] != byte_at(1, (uint32_t)s->bytes + (uint32_t)i))
					fail_msg("the stream is wrong");
			s->bytes += (uint64_t)n;
		}
		assert_int_equal(n, -EAGAIN);
		return;
	}
	while (s->bytes < BYTES) {
		for (uint32_t i = 0; i < sizeof(data); i++)
			data[i] = byte_at(1, (uint32_t)s->bytes + i);
		n = zv_send(s->stream, data, BYTES - s->bytes < CHUNK ? BYTES - s->bytes : CHUNK,
			    0);
		if (n == -EAGAIN)
			return;
		assert_true(n > 0);
		s->bytes += (uint64_t)n;
	}
}

static uint64_t dropped(struct zv_dev *dev)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < QUEUES; i++) {
		struct zv_queue_stats st;

		zv_queue_stats(zv_queue(dev, i), &st, sizeof(st));
		assert_int_equal(st.dgram_unbound + st.rx_bad_type + st.rx_bad_hdr +
					 st.rx_bad_state + st.ring_broken,
				 0);
		n += st.dgram_dropped;
	}
	return n;
}

/* All that the other side has sent is here, or counted. */
static bool all_here(const struct side *s, struct side *other)
{
	return __atomic_load_n(&other->done, __ATOMIC_ACQUIRE) &&
	       s->received + dropped(s->dev) == NUMBER;
}

static void *run(void *arg)
{
	struct side *s = arg, *other = s->host ? &guest : &host;
	bool finished = false;

	while (!finished || !all_here(s, other)) {
		struct zv_queue *q[QUEUES] = {zv_queue(s->dev, 0), zv_queue(s->dev, 1)};
		struct zv_event ev[8];

		assert_true(zv_wait_queues(q, QUEUES, ev, 8, 2000000) >= 0);
		for (unsigned i = 0; i < QUEUES; i++)
			for (int n = 0; n < 50 && recv_one(s, i); n++)
				;
		for (int n = 0; n < 40 && s->sent < NUMBER && send_one(s); n++)
			;
		stream_some(s);
		if (s->sent == NUMBER)
			__atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
		finished = s->sent == NUMBER && s->bytes >= BYTES;
	}
	return NULL;
}

static void open_both(uint32_t buf)
{
	struct zv_opts o = {
		.size = sizeof(o), .queues = QUEUES, .ring_size = 64, .rx_buf = buf, .tx_buf = buf};
	struct zv_event ev[4];

	guest = (struct side){0};
	host = (struct side){.host = true};
	assert_int_equal(zv_open(&host.dev, "loophost:", &o), 0);
	assert_int_equal(zv_open(&guest.dev, "loopguest:", &o), 0);
	assert_int_equal(zv_listen(host.dev, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(zv_queue(guest.dev, 0), 0, PORT, ZV_STREAM, &guest.stream), 0);
	for (unsigned i = 0; i < 16; i++) {
		assert_true(zv_poll(zv_queue(guest.dev, i % QUEUES), ev, 4) >= 0);
		assert_true(zv_poll(zv_queue(host.dev, i % QUEUES), ev, 4) >= 0);
	}
	assert_int_equal(zv_accept(zv_queue(host.dev, 0), PORT, &host.stream), 0);
}

static void close_both(void)
{
	assert_int_equal(zv_close(guest.dev), 0);
	assert_int_equal(zv_close(host.dev), 0);
}

static void a_flood_both_ways(void **state)
{
	pthread_t t;

	(void)state;
	open_both(4096);
	assert_int_equal(zv_dgram_bind(guest.dev, &(uint32_t){PORT}, RX_SIZE), 0);
	assert_int_equal(zv_dgram_bind(host.dev, &(uint32_t){PORT}, RX_SIZE), 0);
	assert_int_equal(pthread_create(&t, NULL, run, &host), 0);
	(void)run(&guest);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(guest.bytes, BYTES);
	assert_int_equal(host.bytes, BYTES);
	assert_int_not_equal(guest.received, 0);
	assert_int_not_equal(host.received, 0);
	close_both();
}

/* A port comes and goes while datagrams to it arrive by two queues, of which a thread polls one. */
static uint32_t stop;

static void *poller(void *arg)
{
	struct zv_event ev[4];
	char data[16];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		assert_true(zv_poll(arg, ev, 4) >= 0);
		(void)zv_dgram_recv(arg, PORT, data, sizeof(data), NULL, NULL);
	}
	return NULL;
}

static void ports_come_and_go(void **state)
{
	const struct zv_dgram_addr to = {.local_port = PORT, .peer_port = PORT};
	struct zv_event ev[4];
	pthread_t t;

	(void)state;
	open_both(4096);
	assert_int_equal(zv_dgram_bind(guest.dev, &(uint32_t){PORT}, 0), 0);
	stop = 0;
	assert_int_equal(pthread_create(&t, NULL, poller, zv_queue(host.dev, 1)), 0);
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(zv_dgram_bind(host.dev, &(uint32_t){PORT}, 0), 0);
		for (unsigned q = 0; q < QUEUES; q++) {
			ssize_t n = zv_dgram_send(zv_queue(guest.dev, q), &to, "hello", 5, 0);

			assert_true(n == 5 || n == -EAGAIN);
			assert_true(zv_poll(zv_queue(guest.dev, q), ev, 4) >= 0);
		}
		assert_true(zv_poll(zv_queue(host.dev, 0), ev, 4) >= 0);
		assert_int_equal(zv_dgram_unbind(host.dev, PORT), 0);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(t, NULL), 0);
	close_both();
}

/* The longest that there is, and what buffers decide. */
static void lengths(void **state)
{
	const struct zv_dgram_addr to = {.local_port = PORT, .peer_port = PORT};
	uint8_t *data = calloc(1, ZV_DGRAM_MAX);
	struct zv_event ev[4];

	(void)state;
	assert_non_null(data);
	open_both(0);
	assert_int_equal(zv_dgram_bind(guest.dev, &(uint32_t){PORT}, 0), 0);
	assert_int_equal(zv_dgram_bind(host.dev, &(uint32_t){PORT}, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct zv_queue *from = zv_queue(i ? host.dev : guest.dev, 0);
		struct zv_queue *at = zv_queue(i ? guest.dev : host.dev, 0);

		for (size_t len = 0; len <= ZV_DGRAM_MAX; len = len * 3 + 1) {
			data[len / 2] = (uint8_t)len;
			assert_int_equal(zv_dgram_send(from, &to, data, len, 0), len);
			assert_int_equal(zv_poll(at, ev, 4), 1);
			assert_int_equal(ev[0].events, ZV_EV_DGRAM);
			memset(data, 0, ZV_DGRAM_MAX);
			assert_int_equal(zv_dgram_recv(at, PORT, data, len, NULL, NULL), len);
			assert_int_equal(data[len / 2], len ? (uint8_t)len : 0);
		}
		assert_int_equal(zv_dgram_send(from, &to, data, ZV_DGRAM_MAX, 0), ZV_DGRAM_MAX);
		(void)zv_poll(at, ev, 4);
		assert_int_equal(zv_dgram_recv(at, PORT, data, ZV_DGRAM_MAX, NULL, NULL),
				 ZV_DGRAM_MAX);
	}
	close_both();
	open_both(4096);
	assert_int_equal(zv_dgram_bind(guest.dev, &(uint32_t){PORT}, 0), 0);
	assert_int_equal(zv_dgram_bind(host.dev, &(uint32_t){PORT}, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct zv_queue *from = zv_queue(i ? host.dev : guest.dev, 0);

		assert_int_equal(zv_dgram_send(from, &to, data, 4096, 0), 4096);
		assert_int_equal(zv_dgram_send(from, &to, data, 4097, 0), -EMSGSIZE);
	}
	close_both();
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),
		cmocka_unit_test(a_flood_both_ways),
		cmocka_unit_test(ports_come_and_go),
	};

	return cmocka_run_group_tests_name("dgram", tests, NULL, NULL);
}
