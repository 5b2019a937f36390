/* SPDX-License-Identifier: BSD-3-Clause */
/* Which descriptors that somebody else has opened become close-on-exec. */
#include "dpdk/fd_cloexec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* What a library does that does not care: a socket pair, and something that is none. */
struct careless {
	int sock[2], file;
};

static struct careless open_carelessly(void)
{
	struct careless c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, c.sock), 0);
	c.file = open("/dev/null", O_RDONLY);
	assert_true(c.file >= 0);
	return c;
}

static void close_all(const struct careless *c)
{
	(void)close(c->sock[0]);
	(void)close(c->sock[1]);
	(void)close(c->file);
}

static bool marked(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	assert_true(flags >= 0);
	return flags & FD_CLOEXEC;
}

static void what_is_new_and_wanted_is_marked(void **state)
{
	struct careless old = open_carelessly(), new;
	struct fd_list l;

	(void)state;
	fd_list_take(&l);
	new = open_carelessly();
	fd_list_mark_new(&l, is_socket);
	assert_true(marked(new.sock[0]) && marked(new.sock[1]));
	assert_false(marked(new.file));
	assert_false(marked(old.sock[0]) || marked(old.sock[1]) || marked(old.file));
	fd_list_take(&l);
	close_all(&new);
	new = open_carelessly();
	fd_list_mark_new(&l, NULL); /* the same numbers: they count as old */
	assert_false(marked(new.sock[0]) || marked(new.file));
	close_all(&new);
	close_all(&old);
}

static void the_one_that_was_opened_is_marked(void **state)
{
	int from = fd_lowest_free();
	struct careless c = open_carelessly();

	(void)state;
	assert_int_equal(from, c.sock[0]);
	fd_mark_one(from, is_socket);
	assert_true(marked(c.sock[0]));
	assert_false(marked(c.sock[1]) || marked(c.file));
	close_all(&c);
}

/* Another thread has taken or given back descriptors meanwhile. */
static void it_is_found_wherever_it_is(void **state)
{
	static const int from[] = {-1, 0, 300, 1000000};
	struct careless c = open_carelessly();
	int far = fcntl(c.sock[0], F_DUPFD, 200);

	(void)state;
	assert_true(far >= 200);
	(void)close(c.sock[0]);
	(void)close(c.sock[1]);
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		assert_int_equal(fcntl(far, F_SETFD, 0), 0);
		fd_mark_one(from[i], is_socket);
		assert_true(marked(far));
		assert_false(marked(c.file));
	}
	(void)close(far);
	(void)close(c.file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_new_and_wanted_is_marked),
		cmocka_unit_test(the_one_that_was_opened_is_marked),
		cmocka_unit_test(it_is_found_wherever_it_is),
	};

	/* Sockets that the test was started with would be marked as well. */
	for (int fd = 3; fd < 1024; fd++)
		(void)close(fd);
	for (int fd = 0; fd < 3; fd++)
		if (is_socket(fd))
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return cmocka_run_group_tests_name("fd_cloexec", tests, NULL, NULL);
}
