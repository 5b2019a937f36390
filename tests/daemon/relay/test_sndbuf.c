/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel holds in a socket that nobody reads, beside what is promised to it: whatever its
 * size and kind, and whatever is sent. And who gets which size.
 */
#include "core/log.h"
#include "relay/relay_int.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

#define SOCKS 200u

static struct guest guest;
static struct guest_queue queue;
static struct relay relays[SOCKS];
static int peer[SOCKS];
static unsigned resumed, timers, lines;
static char data[1 << 18];

/* ---- what the rest of the daemon would do ---- */

void relay_from_guest_resume(struct relay *r)
{
	resumed++;
	(void)sndbuf_fits(r, r->from_guest->bytes);
}

void lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	assert_int_equal(ns, SNDBUF_RETRY_NS);
	assert_false(t->running);
	t->running = true;
	timers++;
}

void lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	timers -= t->running;
	t->running = false;
}

void log_line(enum zv_log_level level, const char *name, const char *fmt, ...)
{
	(void)level;
	(void)name;
	(void)fmt;
	lines++;
}

/* ---- sockets ---- */

static void tcp_pair(int s[2])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);

	assert_int_equal(bind(l, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	s[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(s[0], (struct sockaddr *)&sa, len), 0);
	s[1] = accept(l, NULL, NULL);
	assert_true(s[1] >= 0);
	(void)close(l);
}

static void open_one(unsigned i, unsigned flags)
{
	int s[2];

	if (flags & RELAY_TCP)
		tcp_pair(s);
	else
		assert_int_equal(socketpair(AF_UNIX,
					    flags & RELAY_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM,
					    0, s),
				 0);
	relays[i] = (struct relay){.fd = s[0], .flags = (uint16_t)flags};
	relays[i].f.owner.gq = &queue;
	peer[i] = s[1];
	sndbuf_open(&relays[i]);
}

static void close_one(unsigned i)
{
	const struct sndbuf_promise p = sndbuf_close(&relays[i]);

	sndbuf_put(&queue, &p);
	(void)close(relays[i].fd);
	(void)close(peer[i]);
	relays[i].fd = -1;
}

/* Bytes of kernel memory behind the socket. */
static uint64_t held(int fd)
{
	uint32_t mem[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(mem);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len), 0);
	return mem[SK_MEMINFO_WMEM_ALLOC] + mem[SK_MEMINFO_WMEM_QUEUED];
}

static uint32_t size_of(int fd)
{
	socklen_t len = sizeof(int);
	int size = 0;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	return (uint32_t)size;
}

/* Sends messages of @len until the socket is full; what is too long for it, in one piece that
 * fits, once little room is left. */
static void fill(struct relay *r, size_t len)
{
	size_t most = size_of(r->fd) - 32;
	bool seq = r->flags & RELAY_SEQPACKET;

	if (seq && len > most) {
		while (held(r->fd) + 1000 < size_of(r->fd))
			assert_int_equal(send(r->fd, data, 1, MSG_DONTWAIT), 1);
		len = most;
	}
	while (send(r->fd, data, len, MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
}

static int setup(void **state)
{
	const struct cfg_guest c = {.buf_alloc = 262144, .queues = 1, .rx_memory = 16u << 20};

	(void)state;
	guest = (struct guest){.sndbufs = sndbuf_limits(&c, 1)};
	queue = (struct guest_queue){.guest = &guest};
	TAILQ_INIT(&queue.sndbufs);
	TAILQ_INIT(&queue.sndbufs_waiting);
	resumed = timers = lines = 0;
	return 0;
}

static uint64_t promised(void)
{
	return guest.counters.sock_promised;
}

static const unsigned kinds[] = {0, RELAY_SEQPACKET, RELAY_TCP | RELAY_LINGER0};

/* ---- the tests ---- */

/* Small messages cost the kernel some 800 bytes each, and one more fits than there is room for. */
static void what_is_held_is_promised(void **state)
{
	static const size_t lens[] = {1, 100, 4096, 70000, sizeof(data)};

	(void)state;
	for (unsigned k = 0; k < 3; k++)
		for (uint64_t memory = 64u << 10; memory <= 1u << 28; memory *= 4)
			for (unsigned i = 0; i < 5; i++) {
				guest.sndbufs.memory = memory;
				open_one(0, kinds[k]);
				/* Millions of bytes one by one would only take long. */
				fill(&relays[0], lens[i] < 4096 && relays[0].sndbuf.size > 1u << 20
							 ? 4096
							 : lens[i]);
				assert_in_range(held(relays[0].fd), 1, promised());
				close_one(0);
				assert_int_equal(promised(), 0);
			}
}

/* The first have what the kernel gives, the last the least; all together are bounded. */
static void sizes_shrink(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		uint64_t all = 0, least;

		for (unsigned i = 0; i < SOCKS; i++)
			open_one(i, kinds[k]);
		assert_int_equal(size_of(relays[0].fd), guest.sndbufs.local);
		assert_int_equal(size_of(relays[SOCKS - 1].fd), SNDBUF_LEAST);
		least = promised();
		for (unsigned i = 0; i < SOCKS; i++) {
			assert_true(size_of(relays[i].fd) >= SNDBUF_LEAST);
			fill(&relays[i], 4096);
			all += held(relays[i].fd);
		}
		assert_in_range(all, 1, least);
		assert_in_range(least, 1, guest.sndbufs.memory / 2 + SOCKS * 3 * SNDBUF_LEAST);
		for (unsigned i = 0; i < SOCKS; i++)
			close_one(i);
		assert_int_equal(promised(), 0);
		assert_true(TAILQ_EMPTY(&queue.sndbufs));
	}
}

static void a_full_socket_grows(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SOCKS; i++)
		open_one(i, 0);
	sndbuf_full(&relays[SOCKS - 1]);
	assert_in_range(size_of(relays[SOCKS - 1].fd), guest.sndbufs.local / 2,
			guest.sndbufs.local);
	for (unsigned i = 0; i < SOCKS; i++)
		close_one(i);
	assert_int_equal(promised(), 0);
}

/* All grow, one after the other: each finds one that does not use its part. */
static void idle_ones_give(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SOCKS; i++)
		open_one(i, 0);
	for (unsigned i = 0; i < SOCKS; i++) {
		sndbuf_full(&relays[i]);
		assert_true(size_of(relays[i].fd) > SNDBUF_LEAST);
		assert_in_range(promised(), 1, guest.sndbufs.memory + SOCKS * 3 * SNDBUF_LEAST);
	}
	for (unsigned i = 0; i < SOCKS; i++)
		close_one(i);
	assert_int_equal(promised(), 0);
}

/* Full ones keep theirs, whoever asks, and the sum stays. */
static void used_ones_do_not(void **state)
{
	uint64_t all = 0;

	(void)state;
	for (unsigned i = 0; i < SOCKS; i++)
		open_one(i, 0);
	for (unsigned rounds = 0; rounds < 3; rounds++)
		for (unsigned i = 0; i < SOCKS; i++) {
			fill(&relays[i], 4096);
			sndbuf_full(&relays[i]);
			assert_in_range(promised(), 1,
					guest.sndbufs.memory + SOCKS * 3 * SNDBUF_LEAST);
		}
	for (unsigned i = 0; i < SOCKS; i++)
		all += held(relays[i].fd);
	assert_in_range(all, 1, promised());
	assert_int_equal(lines, 1);
	for (unsigned i = 0; i < SOCKS; i++)
		close_one(i);
	assert_int_equal(promised(), 0);
}

static uint32_t longest(void)
{
	return guest.sndbufs.local - 32;
}

/* The longest message of each is sent, or waits until others have been read. */
static void messages_wait_for_room(void **state)
{
	static struct relay_batch batch;
	unsigned waits = 0, last = 0;

	(void)state;
	for (unsigned i = 0; i < SOCKS; i++)
		open_one(i, RELAY_SEQPACKET);
	batch.bytes = longest();
	for (unsigned i = 0; i < SOCKS; i++)
		if (sndbuf_fits(&relays[i], longest())) {
			assert_int_equal(send(relays[i].fd, data, longest(), MSG_DONTWAIT),
					 longest());
			last = i;
		} else {
			relays[i].from_guest = &batch;
			waits++;
		}
	assert_in_range(waits, 1, SOCKS - 1);
	assert_in_range(promised(), 1, guest.sndbufs.memory + SOCKS * 3 * SNDBUF_LEAST);
	assert_int_equal(timers, 1);
	queue.sndbuf_retry.running = false;
	queue.sndbuf_retry.expired(&queue.sndbuf_retry); /* in vain */
	assert_in_range(resumed, 1, 64);
	assert_true(queue.sndbuf_retry.running);
	for (unsigned i = 0; i < last; i++)
		if (!relays[i].from_guest)
			assert_int_equal(recv(peer[i], data, sizeof(data), 0), longest());
	for (unsigned i = 0; i < SOCKS && queue.sndbuf_retry.running; i++) {
		queue.sndbuf_retry.running = false;
		queue.sndbuf_retry.expired(&queue.sndbuf_retry);
		for (unsigned k = 0; k < SOCKS; k++) /* what has room now is sent, and read */
			if (relays[k].from_guest && !relays[k].sndbuf.waits)
				relays[k].from_guest = NULL;
	}
	assert_true(TAILQ_EMPTY(&queue.sndbufs_waiting));
	for (unsigned i = 0; i < SOCKS; i++)
		close_one(i);
	assert_int_equal(promised(), 0);
}

/* Of any length, to the byte, in the smallest buffer that it fits into. */
static void messages_fit(void **state)
{
	(void)state;
	for (uint32_t len = SNDBUF_LEAST - 40; len <= longest(); len += 1 + len % 3000) {
		guest.sndbufs.memory = 0;
		open_one(0, RELAY_SEQPACKET);
		guest.sndbufs.memory = 1u << 20;
		assert_true(sndbuf_fits(&relays[0], len));
		assert_int_equal(send(relays[0].fd, data, len, MSG_DONTWAIT), len);
		assert_in_range(held(relays[0].fd), 1, promised());
		close_one(0);
	}
}

/* Whoever waits and ends leaves nothing; a message that is too long for any is not delayed. */
static void waiting_ends(void **state)
{
	static struct relay_batch batch;

	(void)state;
	guest.sndbufs.memory = 0;
	open_one(0, RELAY_SEQPACKET);
	batch.bytes = longest();
	relays[0].from_guest = &batch;
	assert_true(sndbuf_fits(&relays[0], SNDBUF_LEAST - 32));
	assert_false(sndbuf_fits(&relays[0], SNDBUF_LEAST - 31));
	assert_false(sndbuf_fits(&relays[0], longest()));
	assert_int_equal(timers, 1);
	close_one(0);
	assert_false(queue.sndbuf_retry.running);
	assert_int_equal(promised(), 0);
	guest.sndbufs.memory = 16u << 20;
	open_one(0, RELAY_SEQPACKET);
	assert_true(sndbuf_fits(&relays[0], longest() + 1));
	close_one(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_is_held_is_promised, setup),
		cmocka_unit_test_setup(sizes_shrink, setup),
		cmocka_unit_test_setup(a_full_socket_grows, setup),
		cmocka_unit_test_setup(idle_ones_give, setup),
		cmocka_unit_test_setup(used_ones_do_not, setup),
		cmocka_unit_test_setup(messages_wait_for_room, setup),
		cmocka_unit_test_setup(messages_fit, setup),
		cmocka_unit_test_setup(waiting_ends, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
