/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP sockets whose guest has closed, and to which host programs go on sending (relay/linger.h):
 * what an lcore discards of that in one round. The sockets and the io_uring are real, everything
 * around them is this file's.
 */
#include "relay/linger.h"

#include "lcore_toy.h"
#include "relay/flow.h"
#include "relay/sndbuf.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SOCKS  128u
#define MOST   (WORK_ROUND * WORK_BYTES + FLOW_QUOTA) /* in a round */
#define EACH   524288u /* bytes that wait in each, some of them in the sender's socket */
#define ROUNDS 20000u

static struct guest_queue queue;
static struct guest guest;
static struct io io;
static int sock[SOCKS], peer[SOCKS];
static unsigned closed, timers;
static size_t discarded, written;
static uint64_t returned; /* of what was promised */
static const struct sndbuf_promise promised = {600, 400};

/* ---- the lcore and the guest ---- */

struct io *lcore_io(struct lcore *lc)
{
	(void)lc;
	return &io;
}

void lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	(void)t;
	(void)ns;
	timers++;
}

void lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	(void)t;
	timers--;
}

void guest_fd_put(struct guest_queue *gq)
{
	assert_ptr_equal(gq, &queue);
	closed++;
}

void sndbuf_put(struct guest_queue *gq, const struct sndbuf_promise *p)
{
	assert_ptr_equal(gq, &queue);
	returned += p->shared + p->own;
}

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t n = __real_recv(fd, buf, len, flags);

	discarded += n > 0 ? (size_t)n : 0;
	return n;
}

/* ---- rounds ---- */

static void tcp_pair(int listener, const struct sockaddr_in *sa, unsigned i)
{
	static const char block[65536];
	ssize_t n = 0;

	peer[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(peer[i], (const struct sockaddr *)sa, sizeof(*sa)), 0);
	sock[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(sock[i] >= 0);
	for (size_t sum = 0; sum < EACH; sum += (size_t)n) {
		n = send(peer[i], block, sizeof(block), MSG_DONTWAIT);
		if (n <= 0)
			break;
		written += (size_t)n;
	}
}

static int setup(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);
	const char *why;

	(void)state;
	if (io_open(&io, 64, &why) < 0) {
		print_message("%s\n", why);
		return -1;
	}
	if (bind(l, (struct sockaddr *)&sa, len) < 0 || listen(l, 1) < 0 ||
	    getsockname(l, (struct sockaddr *)&sa, &len) < 0)
		return -1;
	queue = (struct guest_queue){.guest = &guest};
	TAILQ_INIT(&queue.owners);
	TAILQ_INIT(&queue.waiting);
	closed = timers = 0;
	returned = 0;
	discarded = written = 0;
	for (unsigned i = 0; i < SOCKS; i++)
		tcp_pair(l, &sa, i);
	(void)close(l);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	io_close(&io);
	return 0;
}

/* As one_round() of lcore.c. Bytes that were discarded. */
static size_t one_round(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};
	size_t before = discarded;

	lcore_toy_round++;
	if (queue.turns.queued) {
		queue.turns.queued = false;
		queue.turns.run(&queue.turns);
	}
	io_submit(&io);
	if (io_reap(&io) == 0 && discarded == before)
		(void)nanosleep(&ms, NULL); /* nothing has arrived */
	return discarded - before;
}

static void what_a_round_discards_is_bounded(void **state)
{
	unsigned rounds = 0;

	(void)state;
	assert_true(written > 2 * MOST);
	lcore_toy_round++;
	for (unsigned i = 0; i < SOCKS; i++)
		linger_start(&queue, sock[i], &promised);
	assert_in_range(discarded, 1, MOST);
	while (discarded < written && rounds++ < ROUNDS)
		assert_true(one_round() <= MOST);
	assert_int_equal(discarded, written); /* none was forgotten in the line */
	assert_int_equal(closed, 0);
	for (unsigned i = 0; i < SOCKS; i++)
		(void)close(peer[i]);
	for (rounds = 0; closed < SOCKS && rounds < ROUNDS; rounds++)
		(void)one_round();
	assert_int_equal(closed, SOCKS);
	assert_int_equal(returned, SOCKS * 1000);
	assert_int_equal(timers, 0);
	assert_int_equal(queue.n_owners, 0);
}

/* The guest is removed while sockets are in the line, and others wait for more. */
static void a_guest_that_is_removed_leaves_the_line(void **state)
{
	struct conn_owner *o;

	(void)state;
	lcore_toy_round++;
	for (unsigned i = 0; i < SOCKS; i++)
		linger_start(&queue, sock[i], &promised);
	assert_false(TAILQ_EMPTY(&queue.waiting));
	for (unsigned rounds = 0; (o = TAILQ_FIRST(&queue.owners)) && rounds < ROUNDS; rounds++) {
		for (struct conn_owner *next; o; o = next) {
			next = TAILQ_NEXT(o, link);
			o->abort(o);
		}
		io_submit(&io);
		(void)io_reap(&io);
	}
	assert_int_equal(closed, SOCKS);
	assert_int_equal(returned, SOCKS * 1000);
	assert_int_equal(queue.n_owners, 0);
	assert_true(TAILQ_EMPTY(&queue.waiting));
	assert_false(queue.turns.queued);
	for (unsigned i = 0; i < SOCKS; i++)
		(void)close(peer[i]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_a_round_discards_is_bounded),
		T(a_guest_that_is_removed_leaves_the_line),
	};

	return cmocka_run_group_tests_name("linger", tests, NULL, NULL);
}
