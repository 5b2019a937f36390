/* SPDX-License-Identifier: BSD-3-Clause */
/* What connect(2) costs an lcore when the kernel takes long. The kernel and its clocks are this
 * file's. */
#include "endpoint/host/net_connect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MS 1000000u
#define S  (1000u * MS)

static struct guest guest;
static uint64_t now, cpu, cost, lost, calls;

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	uint64_t ns = id == CLOCK_THREAD_CPUTIME_ID ? cpu : now;

	t->tv_sec = (time_t)(ns / S);
	t->tv_nsec = (long)(ns % S);
	return 0;
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	(void)fd;
	(void)addr;
	(void)len;
	calls++;
	cpu += cost;
	now += cost + lost;
	errno = EINPROGRESS;
	return -1;
}

static int setup(void **state)
{
	(void)state;
	memset(&guest, 0, sizeof(guest));
	guest.n_queues = 2;
	(void)strcpy(guest.name, "g");
	for (unsigned i = 0; i < 2; i++)
		guest.queues[i].guest = &guest;
	now = 1000 * (uint64_t)S;
	cpu = calls = lost = 0;
	return 0;
}

/* Asks without a pause on both queues for @ns; every refusal takes a microsecond. Returns the
 * number of refusals. */
static uint64_t ask_for(uint64_t ns)
{
	const uint64_t end = now + ns;
	uint64_t refused = 0;

	for (unsigned i = 0; now < end; i++) {
		int ret = net_connect(&guest.queues[i % 2], 0, NULL, 0);

		assert_true(ret == -EINPROGRESS || ret == -EADDRNOTAVAIL);
		refused += ret == -EADDRNOTAVAIL;
		now += 1000;
	}
	return refused;
}

static void usual_ones_are_free(void **state)
{
	(void)state;
	cost = CONNECT_USUAL_NS;
	assert_int_equal(ask_for(10 * (uint64_t)S), 0);
	cost = 20000; /* the lcore has lost its CPU each time */
	lost = 5 * MS;
	assert_int_equal(ask_for(10 * (uint64_t)S), 0);
}

static void slow_ones_are_limited(void **state)
{
	(void)state;
	cost = MS;
	assert_true(ask_for(10 * (uint64_t)S) > 1000);
	/* The stock, its share of the time, and one call of each queue that takes more than is
	 * left. What is usual is not charged. */
	assert_in_range(cpu / MS * (MS - CONNECT_USUAL_NS), 10 * (uint64_t)S / CONNECT_SHARE / 2,
			CONNECT_STOCK_NS + 10 * (uint64_t)S / CONNECT_SHARE + 2 * MS);
	/* The first ones of a guest that has been quiet are not refused, however long ago. */
	now += 3600 * (uint64_t)S;
	calls = 0;
	(void)ask_for(100 * MS);
	assert_in_range(calls, CONNECT_STOCK_NS / MS, 100 / 9 + 2 + CONNECT_STOCK_NS / MS * 2);
	/* When the kernel is fast again, so are they. */
	cost = 20000;
	now += S;
	assert_int_equal(ask_for(S), 0);
}

static void a_queue_does_not_pay_for_another(void **state)
{
	(void)state;
	cost = 100 * MS;
	/* One may have been slow because a hypervisor had the CPU. */
	assert_int_equal(net_connect(&guest.queues[0], 0, NULL, 0), -EINPROGRESS);
	now -= 100 * MS;
	assert_int_equal(net_connect(&guest.queues[0], 0, NULL, 0), -EINPROGRESS);
	assert_int_equal(net_connect(&guest.queues[0], 0, NULL, 0), -EADDRNOTAVAIL);
	assert_int_equal(net_connect(&guest.queues[1], 0, NULL, 0), -EINPROGRESS);
	assert_int_equal(calls, 3);
	/* As much as the limit allows, but for one call in ten seconds. */
	(void)setup(NULL);
	cost = 100 * MS;
	(void)ask_for(100 * (uint64_t)S);
	assert_in_range(calls, 30, 2 * 1000 / CONNECT_SHARE);
}

/* A stock that is asked for often, in pieces of the time that add nothing, grows all the same. */
static void a_stock_grows_in_small_steps(void **state)
{
	const struct cpu_limit l = cpu_limit_part(&socket_names_limit, 16);
	struct cpu_stock s = {0};

	(void)state;
	assert_true(cpu_stock_may(&s, &l));
	s.left = -(int64_t)(10000);
	for (unsigned i = 0; i < 20000; i++, now += 1000)
		if (cpu_stock_may(&s, &l))
			return;
	fail_msg("%lld ns are left", (long long)s.left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(usual_ones_are_free, setup),
		cmocka_unit_test_setup(slow_ones_are_limited, setup),
		cmocka_unit_test_setup(a_queue_does_not_pay_for_another, setup),
		cmocka_unit_test_setup(a_stock_grows_in_small_steps, setup),
	};

	return cmocka_run_group_tests_name("net_connect", tests, NULL, NULL);
}
