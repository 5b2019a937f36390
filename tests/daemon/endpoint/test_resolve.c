/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may have names looked up while no name server answers. getaddrinfo(3) is played here. */
#include "endpoint/tcp_out/resolve.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#define GREEDY 5u /* each asks for as much as there is */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static bool answers;

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res);

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res)
{
	(void)node;
	(void)service;
	(void)hints;
	(void)res;
	pthread_mutex_lock(&lock);
	while (!answers)
		pthread_cond_wait(&answered, &lock);
	pthread_mutex_unlock(&lock);
	return EAI_NONAME;
}

static void set_answers(bool on)
{
	pthread_mutex_lock(&lock);
	answers = on;
	pthread_cond_broadcast(&answered);
	pthread_mutex_unlock(&lock);
}

static void some_are_left_for_others(void **state)
{
	struct resolve *r[RESOLVE_MAX];
	unsigned n = 0, of_first = 0;

	(void)state;
	for (unsigned owner = 1; owner <= GREEDY; owner++) {
		while (n < RESOLVE_MAX && resolve_begin(&r[n], "name", owner) == 0)
			n++;
		of_first = of_first ? of_first : n;
		assert_in_range(n, owner, RESOLVE_MAX - 1);
	}
	assert_int_equal(of_first, RESOLVE_SHARE);
	assert_int_equal(resolve_begin(&r[n], "name", GREEDY + 1), 0);
	n++;
	/* What nobody wants any more counts until it has been answered. */
	resolve_end(r[0]);
	assert_int_equal(resolve_begin(&r[0], "name", 1), -EBUSY);
	set_answers(true);
	for (unsigned i = 1; i < n; i++) {
		while (!resolve_is_over(r[i]))
			(void)usleep(1000);
		assert_null(resolve_result(r[i]));
		resolve_end(r[i]);
	}
	/* As soon as the last thread has ended, all are free again. */
	while (resolve_begin(&r[0], "name", 1))
		(void)usleep(1000);
	while (!resolve_is_over(r[0]))
		(void)usleep(1000);
	resolve_end(r[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(some_are_left_for_others)};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
