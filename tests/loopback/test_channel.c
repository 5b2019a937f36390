/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections over channels between two threads, over real rings and real shared memory: payload is
 * verified, both ends sleep whenever they have nothing to do, and are woken by packets or by bells.
 * A wake-up that is lost hangs the test.
 */
#include "loop.h"
#include "socket/chan/chan.h"
#include "socket/chan/chan_bell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	4100u
#define TOTAL	(2u << 20) /* bytes each way */
#define ROUNDS	2000u
#define FOREVER UINT64_MAX

static struct zv_dev *guest, *host;
static struct zv_queue *gq, *hq;

static struct pair {
	struct shm_region region;
	struct shm_channel_desc desc;
	struct zv_conn *g, *h;
	struct bell_map own[2], ring[2]; /* of the guest, of the host */
} C;

static void open_both(void)
{
	struct zv_opts o = {.size = sizeof(o), .flags = ZV_OPT_NO_HUGE, .spin_ns = 1000};

	assert_int_equal(zv_open(&host, "loophost:", &o), 0);
	assert_int_equal(zv_open(&guest, "loopguest:", &o), 0);
	gq = zv_queue(guest, 0);
	hq = zv_queue(host, 0);
}

static struct zv_event ev[16];

static void connect_both(enum zv_type type)
{
	assert_int_equal(zv_listen(host, PORT + type, type, 0), 0);
	assert_int_equal(zv_connect(gq, ZV_CID_HOST, PORT + type, type, &C.g), 0);
	while (C.g->state != VC_CONNECTED || zv_accept(hq, PORT + type, &C.h)) {
		(void)zv_poll(gq, ev, 16);
		(void)zv_poll(hq, ev, 16);
	}
	(void)zv_poll(gq, ev, 16);
}

static void free_map(struct bell_map *m)
{
	close(m->fd);
}

static void attach(struct zv_conn *c, enum shm_role role, bool bells)
{
	struct chan_opts o = {.region = C.region.addr,
			      .size = C.region.size,
			      .desc = &C.desc,
			      .role = role,
			      .bell = bells ? 4095 : 0,
			      .ring_page = bells ? C.ring[!role].id : 0,
			      .ring_bell = bells ? 4095 : 0};

	assert_int_equal(chan_attach(c, &o), 0);
}

/* A small channel, so that both ends often wait for each other. The pages of bells lie behind it.
 */
static void begin(enum zv_type type, bool bells)
{
	uint8_t *pages;

	open_both();
	connect_both(type);
	shm_channel_desc_init(&C.desc, 0, 1);
	for (int i = 0; i < 2; i++) {
		C.desc.dir[i].entries = 16;
		C.desc.dir[i].cls[0].slots = C.desc.dir[i].cls[1].slots = 2;
	}
	C.desc.length = shm_channel_bytes(&C.desc);
	assert_int_equal(
		shm_region_create(&C.region, "zvsock-test", C.desc.length + 8192, SHM_NO_HUGE), 0);
	assert_int_equal(shm_channel_format(C.region.addr, C.region.size, &C.desc), 0);
	pages = (uint8_t *)C.region.addr + C.desc.length;
	for (int i = 0; i < 2 && bells; i++) {
		uint8_t *page = pages + (size_t)i * 4096;
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);

		assert_true(fd >= 0 && other >= 0);
		C.own[i] = (struct bell_map){page, 7u + (uint32_t)i, fd, 1, free_map};
		C.ring[i] = (struct bell_map){page, 7u + (uint32_t)i, other, 1, free_map};
		loop_ring[i] = &C.ring[i];
		assert_int_equal(chan_bells_open(i ? hq : gq, &C.own[i]), 0);
	}
	attach(C.g, SHM_ROLE_A, bells);
	attach(C.h, SHM_ROLE_B, bells);
}

static void finish(bool bells)
{
	assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
	for (int i = 0; i < 2 && bells; i++)
		bell_map_put(&C.ring[i]);
	shm_region_destroy(&C.region);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 11);
}

/* Sleeps, whatever comes quickly: by zv_wait, or on zv_fd, which does not poll before. */
static void nap(struct zv_queue *q, unsigned how)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};
	struct zv_event e[4];

	if (how & 1)
		(void)zv_wait(q, e, 4, FOREVER);
	else if (zv_poll(q, e, 4) == 0 && zv_arm(q) == 0)
		(void)poll(&p, 1, -1);
}

/* One side of a full-duplex stream: sends TOTAL bytes, receives as many, and counts what is wrong.
 */
struct side {
	struct zv_queue *q;
	struct zv_conn *c;
	size_t wrong;
	int err;
};

static size_t piece(size_t i)
{
	static const size_t len[] = {1, 64, 100, 5000, 70000, 128, 3000};

	return len[i % (sizeof(len) / sizeof(*len))];
}

/* By zv_send, or in reserved buffers. Bytes, 0: no room, -errno. */
static ssize_t put(struct side *s, size_t at, size_t len, bool copy)
{
	static __thread uint8_t data[70000];
	struct zv_buf b;
	ssize_t n;

	if (!copy) {
		n = zv_buf_alloc(s->c, &b, 1, len);
		if (n <= 0)
			return n == -EAGAIN ? 0 : n;
		len = b.capacity;
		for (size_t i = 0; i < len; i++)
			((uint8_t *)b.data)[i] = byte_at(at + i);
		n = zv_buf_send(s->c, &b, 1);
		return n < 0 ? n : (ssize_t)len;
	}
	for (size_t i = 0; i < len; i++)
		data[i] = byte_at(at + i);
	n = zv_send(s->c, data, len, 0);
	return n == -EAGAIN ? 0 : n;
}

static ssize_t take(struct side *s, size_t at, bool copy)
{
	static __thread uint8_t data[9000];
	struct zv_buf b[4];
	size_t had = 0;
	ssize_t n;

	if (copy) {
		n = zv_recv(s->c, data, sizeof(data), NULL);
		for (ssize_t i = 0; i < n; i++)
			s->wrong += data[i] != byte_at(at + (size_t)i);
		return n;
	}
	n = zv_buf_recv(s->c, b, 4);
	for (ssize_t k = 0; k < n; k++) {
		for (size_t i = 0; i < b[k].len; i++)
			s->wrong += ((uint8_t *)b[k].data)[i] != byte_at(at + had + i);
		had += b[k].len;
	}
	for (ssize_t k = n; k-- > 0;) /* not in order */
		zv_buf_release(s->q, &b[k], 1);
	return n > 0 ? (ssize_t)had : n;
}

static void *stream_side(void *arg)
{
	struct side *s = arg;
	size_t sent = 0, had = 0;
	bool end = false;

	for (unsigned k = 0; !end; k++) {
		ssize_t in, out = 0;
		size_t len = piece(k) < TOTAL - sent ? piece(k) : TOTAL - sent;

		if (len) {
			out = put(s, sent, len, k & 1);
			if (out < 0) {
				s->err = (int)out;
				return NULL;
			}
			sent += (size_t)out;
			if (sent == TOTAL)
				(void)zv_shutdown(s->c, 1);
		}
		in = take(s, had, k & 2);
		end = in == 0;
		if (in < 0 && in != -EAGAIN) {
			s->err = (int)in;
			return NULL;
		}
		had += in > 0 ? (size_t)in : 0;
		if (in == -EAGAIN && !out)
			nap(s->q, k);
	}
	while (sent < TOTAL && !s->err) {
		ssize_t out =
			put(s, sent, piece(sent) < TOTAL - sent ? piece(sent) : TOTAL - sent, true);

		s->err = out < 0 ? (int)out : 0;
		sent += out > 0 ? (size_t)out : 0;
		if (sent == TOTAL)
			(void)zv_shutdown(s->c, 1);
		if (!out)
			nap(s->q, 0);
	}
	s->wrong += had != TOTAL;
	return NULL;
}

static void two_ways(bool bells)
{
	struct side g, h;
	pthread_t t;

	begin(ZV_STREAM, bells);
	g = (struct side){.q = gq, .c = C.g};
	h = (struct side){.q = hq, .c = C.h};
	assert_int_equal(pthread_create(&t, NULL, stream_side, &h), 0);
	(void)stream_side(&g);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(g.err, 0);
	assert_int_equal(h.err, 0);
	assert_int_equal(g.wrong, 0);
	assert_int_equal(h.wrong, 0);
	finish(bells);
}

static void test_both_ways_woken_by_packets(void **state)
{
	(void)state;
	two_ways(false);
}

static void test_both_ways_woken_by_bells(void **state)
{
	(void)state;
	two_ways(true);
}

/* ---- one message there, one back, with a sleep for each ---- */

static int answer(struct zv_queue *q, struct zv_conn *c, bool first)
{
	uint8_t m[300];
	ssize_t n;

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t len = i % 3 ? 8 : 300;

		memset(m, (int)i, sizeof(m));
		if (first && zv_send_all(c, m, len, 0, FOREVER, NULL))
			return -1;
		while ((n = zv_recv(c, m, sizeof(m), NULL)) == -EAGAIN)
			nap(q, i);
		if (n != (ssize_t)len || m[len - 1] != (uint8_t)i)
			return -1;
		if (!first && zv_send_all(c, m, len, 0, FOREVER, NULL))
			return -1;
	}
	return 0;
}

static void *answer_thread(void *arg)
{
	*(int *)arg = answer(hq, C.h, false);
	return NULL;
}

static void ping_pong(bool bells)
{
	int far = -1, near;
	pthread_t t;

	begin(ZV_SEQPACKET, bells);
	assert_int_equal(pthread_create(&t, NULL, answer_thread, &far), 0);
	near = answer(gq, C.g, true);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(near, 0);
	assert_int_equal(far, 0);
	finish(bells);
}

static void test_ping_pong_asleep(void **state)
{
	(void)state;
	ping_pong(false);
	ping_pong(true);
}

/* ---- zv_wait asleep ---- */

#define NAPS 200

static uint32_t answered;

static void *send_when_asleep(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < NAPS; i++) {
		while (__atomic_load_n(&answered, __ATOMIC_ACQUIRE) != i ||
		       !__atomic_load_n(&hq->arm.state, __ATOMIC_SEQ_CST))
			sched_yield();
		if (zv_send(C.g, "x", 1, 0) != 1)
			break;
	}
	return NULL;
}

/* The message comes when the other side has armed its queue, and not before. */
static void test_zv_wait_asleep(void **state)
{
	char x;

	(void)state;
	for (int bells = 0; bells < 2; bells++) {
		pthread_t t;

		answered = 0;
		begin(ZV_STREAM, bells);
		assert_int_equal(pthread_create(&t, NULL, send_when_asleep, NULL), 0);
		for (uint32_t i = 1; i <= NAPS; i++) {
			while (zv_recv(C.h, &x, 1, NULL) != 1)
				(void)zv_wait(hq, ev, 16, FOREVER);
			__atomic_store_n(&answered, i, __ATOMIC_RELEASE);
		}
		assert_int_equal(pthread_join(t, NULL), 0);
		finish(bells);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways_woken_by_packets),
		cmocka_unit_test(test_both_ways_woken_by_bells),
		cmocka_unit_test(test_ping_pong_asleep),
		cmocka_unit_test(test_zv_wait_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
