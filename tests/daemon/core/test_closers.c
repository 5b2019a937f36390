/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors of users that take an hour to close delay those of no other user: closers.h. */
#include "core/closers.h"
#include "slow_fd.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST 54321u /* users from here on; tests run as none of them */

static struct closers *c;
static unsigned closes; /* atomic */

static void closed(void)
{
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELAXED);
}

static int setup(void **state)
{
	(void)state;
	closes = 0;
	c = closers_new(closed);
	return c ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	while (closers_all(c)) /* it would count among the closes of the next test */
		sched_yield();
	closers_free(c);
	return 0;
}

/* @uid sends a descriptor; closing *end lets it be closed. */
static void send_slow(uid_t uid, int *end)
{
	int fd = slow_fd(end);

	closers_put(c, uid, &fd, 1);
}

/* A descriptor of @uid is closed while those of others wait. */
static void is_served(uid_t uid)
{
	int p[2];
	char b;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	closers_put(c, uid, &p[1], 1);
	assert_int_equal(read(p[0], &b, 1), 0); /* its other end is closed */
	(void)close(p[0]);
}

static void all_are_closed(unsigned n)
{
	while (__atomic_load_n(&closes, __ATOMIC_RELAXED) < n || closers_all(c))
		sched_yield();
	assert_int_equal(__atomic_load_n(&closes, __ATOMIC_RELAXED), n);
}

static void each_waits_for_its_own(void **state)
{
	int end;

	(void)state;
	send_slow(FIRST, &end);
	assert_int_equal(closers_count(c, FIRST), 1);
	assert_int_equal(closers_count(c, FIRST + 1), 0);
	assert_int_equal(closers_count(c, CLOSERS_NOBODY), 0);
	is_served(FIRST + 1);
	is_served(CLOSERS_NOBODY);
	is_served(0);
	assert_int_equal(closers_count(c, FIRST), 1);
	(void)close(end);
	all_are_closed(4);
	is_served(FIRST);
}

/* Neither root nor the user of this process is among those who share. */
static void there_may_be_any_number(void **state)
{
	int end[CLOSERS_USERS + 2];

	(void)state;
	for (unsigned i = 0; i < CLOSERS_USERS; i++) {
		assert_int_equal(closers_count(c, FIRST + i), 0);
		send_slow(FIRST + i, &end[i]);
		assert_int_equal(closers_count(c, FIRST + i), 1);
	}
	assert_int_equal(closers_count(c, FIRST + CLOSERS_USERS), 0);
	for (unsigned i = CLOSERS_USERS; i < CLOSERS_USERS + 2; i++)
		send_slow(FIRST + i, &end[i]);
	assert_int_equal(closers_count(c, FIRST + CLOSERS_USERS), 2);
	assert_int_equal(closers_all(c), CLOSERS_USERS + 2);
	is_served(0);
	is_served(geteuid());
	for (unsigned i = 0; i < CLOSERS_USERS + 2; i++)
		(void)close(end[i]);
	all_are_closed(CLOSERS_USERS + 4);
	/* There are entries again. */
	send_slow(FIRST + 1000, &end[0]);
	is_served(FIRST + 1001);
	(void)close(end[0]);
	all_are_closed(CLOSERS_USERS + 6);
}

static void what_is_left_is_closed(void **state)
{
	struct closers *other = closers_new(closed);
	int end, p[2], fd[2];
	char b;

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fd[0] = p[1]; /* the last one is closed first */
	fd[1] = slow_fd(&end);
	closers_put(other, FIRST, fd, 2);
	closers_free(other);
	(void)close(end);
	assert_int_equal(read(p[0], &b, 1), 0);
	(void)close(p[0]);
	closers_free(NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(each_waits_for_its_own),
		T(there_may_be_any_number),
		T(what_is_left_is_closed),
	};

	return cmocka_run_group_tests_name("closers", tests, NULL, NULL);
}
