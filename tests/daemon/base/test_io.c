/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring as an lcore uses it: what becomes of descriptors that are closed by it. */
#include "base/io.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void open_ring(struct io *io)
{
	const char *why = NULL;

	if (io_open(io, 8, &why) < 0)
		fail_msg("%s", why);
}

/* Reads from @arg[0], and closes it by io_uring. */
static void *read_and_close(void *arg)
{
	int *pair = arg;
	struct io io;
	char c;

	open_ring(&io);
	assert_int_equal(recv(pair[0], &c, 1, 0), 1);
	io_close_fd(&io, pair[0]);
	io_submit(&io);
	io_close(&io);
	__atomic_store_n(&pair[0], -1, __ATOMIC_RELAXED);
	return NULL;
}

/*
 * The next descriptor with the number may belong to another thread, and there need not be any
 * synchronisation between the two: ThreadSanitizer must know that it is another one.
 */
static void another_thread_may_get_the_number(void **state)
{
	int pair[2], number, copy;
	pthread_t t;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	number = pair[0];
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	assert_int_equal(pthread_create(&t, NULL, read_and_close, pair), 0);
	while (__atomic_load_n(&pair[0], __ATOMIC_RELAXED) >= 0)
		usleep(1000);
	copy = fcntl(pair[1], F_DUPFD_CLOEXEC, number);
	assert_int_equal(copy, number);
	assert_int_equal(close(copy), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	close(pair[1]);
}

static int polled; /* revents, or -errno */

static void on_polled(struct io_op *op, int res, uint32_t flags)
{
	(void)op;
	(void)flags;
	polled = res;
}

/* What was queued before the close still refers to the descriptor. */
static void requests_before_the_close_are_made(void **state)
{
	struct io_op op = {.done = on_polled};
	struct io io;
	int pair[2];
	char c;

	(void)state;
	open_ring(&io);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	io_poll(&io, &op, pair[0], POLLIN);
	io_close_fd(&io, pair[0]);
	io_submit(&io);
	while (op.pending) {
		io_sleep(&io, UINT64_MAX);
		(void)io_reap(&io);
	}
	assert_int_equal(polled & POLLIN, POLLIN);
	assert_int_equal(recv(pair[1], &c, 1, 0), -1); /* reset: there was something unread */
	close(pair[1]);
	io_close(&io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_thread_may_get_the_number),
		cmocka_unit_test(requests_before_the_close_are_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
