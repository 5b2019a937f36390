/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages and pipes of bells: who gets which, what one holder can do to another, what is given back.
 */
#include "channel/bells.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define A 101u /* serial numbers of applications */
#define B 102u

static uint32_t id;
static uint64_t offset;

static void each_queue_has_a_page(void **state)
{
	uint64_t size, at;
	uint32_t other;
	int file, fd[3];

	(void)state;
	file = bells_file(&size);
	assert_true(file >= 0);
	fd[0] = bells_page(A, 0, &id, &offset);
	fd[1] = bells_page(A, 1, &other, &at);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	assert_int_not_equal(id, other);
	assert_true(offset % 1024 == 0 && at % 1024 == 0 && offset != at && at < size);
	fd[2] = bells_page(A, 0, &other, &at); /* asked for once more, it is the same */
	assert_int_equal(other, id);
	assert_int_equal(at, offset);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	close(file);
	bells_gone(A);
	assert_int_equal(bells_ringer(id, &at), -ENOENT);
	fd[0] = bells_page(B, 0, &other, &at);
	assert_int_not_equal(other, id); /* another use of the place */
	assert_int_equal(bells_ringer(id, &at), -ENOENT);
	close(fd[0]);
	bells_gone(B);
}

static int events_of(int set)
{
	struct epoll_event ev;

	return epoll_wait(set, &ev, 1, 0);
}

/* The owner never reads, and hears each byte all the same. */
static void a_byte_is_an_event(void **state)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
	int own = bells_page(A, 0, &id, &offset), ring = bells_ringer(id, &offset);
	int set = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, own, &edge), 0);
	assert_int_equal(events_of(set), 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(write(ring, "", 1), 1);
		assert_int_equal(events_of(set), 1);
		assert_int_equal(events_of(set), 0);
	}
	close(set);
	close(own);
	close(ring);
	bells_gone(A);
}

/* One ringer fills the pipe, and clears O_NONBLOCK of all that it has. */
static void a_full_pipe_delays_nobody(void **state)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
	int own = bells_page(A, 0, &id, &offset);
	int bad = bells_ringer(id, &offset), good = bells_ringer(id, &offset);
	int set = epoll_create1(EPOLL_CLOEXEC);
	static uint8_t all[1 << 20];

	(void)state;
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, own, &edge), 0);
	while (write(bad, all, sizeof(all)) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(fcntl(bad, F_SETFL, fcntl(bad, F_GETFL) & ~O_NONBLOCK), 0);
	assert_true(fcntl(good, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(own, F_GETFL) & O_NONBLOCK);
	(void)events_of(set);
	assert_int_equal(write(good, "", 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_true(read(good, all, 4096) > 0);
	assert_int_equal(write(good, "", 1), 1);
	assert_int_equal(events_of(set), 1);
	/* Nor does the end of all others: no SIGPIPE, which would end this test, and no hang-up. */
	close(own);
	close(bad);
	bells_gone(A);
	assert_int_equal(write(good, "", 1), 1);
	close(good);
	close(set);
}

static void bells_come_in_pairs(void **state)
{
	int fd[2] = {bells_page(A, 0, &id, &offset), -1};
	static struct bell a[5000], b[5000];
	unsigned n = 0;
	uint32_t other;

	(void)state;
	assert_false(bells_take(A, 0, &a[0], B, 0, &b[0])); /* B has no page */
	assert_int_equal(a[0].nr, 0);
	fd[1] = bells_page(B, 3, &other, &offset);
	assert_false(bells_take(A, 0, &a[0], B, 0, &b[0])); /* not that queue */
	while (n < 5000 && bells_take(A, 0, &a[n], B, 3, &b[n])) {
		assert_int_equal(a[n].page, id);
		assert_int_equal(b[n].page, other);
		assert_true(a[n].nr && a[n].nr < 4096 && b[n].nr);
		assert_true(!n || a[n].nr != a[n - 1].nr);
		n++;
	}
	assert_int_equal(n, 4095);
	assert_int_equal(b[n].nr, 0);
	bell_give(&b[7]);
	assert_false(bells_take(A, 0, &a[n], B, 3, &b[n])); /* and B's is back */
	bell_give(&a[9]);
	assert_true(bells_take(A, 0, &a[n], B, 3, &b[n]));
	assert_int_equal(a[n].nr, a[9].nr);
	assert_int_equal(b[n].nr, b[7].nr);
	/* One device with itself. */
	bells_gone(B);
	bell_give(&b[1]); /* of a page that is gone */
	bell_give(&a[1]);
	bell_give(&a[2]);
	assert_true(bells_take(A, 0, &a[1], A, 0, &a[2]));
	assert_int_not_equal(a[1].nr, a[2].nr);
	close(fd[0]);
	close(fd[1]);
	bells_gone(A);
}

static void without_descriptors_there_are_none(void **state)
{
	struct rlimit old, none;
	uint64_t size;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){(rlim_t)fd + 1, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(bells_page(A, 0, &id, &offset), -EMFILE);
	assert_int_equal(bells_file(&size), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(fd);
	fd = bells_page(A, 0, &id, &offset);
	assert_true(fd >= 0);
	close(fd);
	bells_gone(A);
}

static void pages_run_out(void **state)
{
	struct rlimit old, many;
	uint32_t other;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	many = (struct rlimit){old.rlim_max, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	if (many.rlim_cur < 1200) {
		print_message("only %llu descriptors can be had, and 1,200 are needed\n",
			      (unsigned long long)many.rlim_cur);
		skip();
	}
	for (unsigned i = 0; i < 1024; i++) {
		int fd = bells_page(A + i / 128, i % 128, &other, &offset);

		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(bells_page(A + 8, 0, &other, &offset), -ENOSPC);
	bells_gone(A + 3);
	for (unsigned i = 0; i < 128; i++) {
		int fd = bells_page(A + 8, i, &other, &offset);

		assert_true(fd >= 0);
		close(fd);
	}
	for (unsigned i = 0; i < 9; i++)
		bells_gone(A + i);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_queue_has_a_page),
		cmocka_unit_test(a_byte_is_an_event),
		cmocka_unit_test(a_full_pipe_delays_nobody),
		cmocka_unit_test(bells_come_in_pairs),
		cmocka_unit_test(without_descriptors_there_are_none),
		cmocka_unit_test(pages_run_out),
	};

	return cmocka_run_group_tests_name("bells", tests, NULL, NULL);
}
