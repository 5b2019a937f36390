/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Polling on a CPU that others want, and system calls around a sleep. Time is the test's: a
 * sched_yield takes yield_ns, as one does that gave the CPU to somebody else.
 */
#include "pair.h"
#include "spin.h"

#define US	1000ull
#define MS	1000000ull
#define SLICE	(4 * MS)
#define FOREVER (1ull << 60)

static uint64_t yield_ns, skew;
static unsigned yields, reads;

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_sched_yield(void);
ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len);

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	int ret = __real_clock_gettime(clock, t);
	uint64_t ns = (uint64_t)t->tv_sec * 1000 * MS + (uint64_t)t->tv_nsec + skew;

	t->tv_sec = (time_t)(ns / (1000 * MS));
	t->tv_nsec = (long)(ns % (1000 * MS));
	return ret;
}

int __wrap_sched_yield(void)
{
	yields++;
	skew += yield_ns;
	return 0;
}

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	reads++;
	return __real_read(fd, buf, len);
}

static int group_setup(void **state)
{
	(void)state;
	yields = 0;
	yield_ns = 0;
	return 0;
}

/* ---- one poller ---- */

/* One yield that takes @ns. For how long the poller is to sleep afterwards. */
static uint64_t one_yield(struct idle *idle, uint64_t ns)
{
	uint64_t now = idle_clock();

	yield_ns = ns;
	now = idle_moment(idle, IDLE_POLLS_PER_YIELD, now);
	if (!idle_sleeps(idle, now))
		return 0;
	assert_true(idle_sleeps(idle, idle->until - 1));
	assert_false(idle_sleeps(idle, idle->until));
	return idle->until - now;
}

static void a_peer_on_this_cpu_gets_every_moment(void **state)
{
	struct idle idle = {0};

	(void)state;
	assert_int_equal(one_yield(&idle, 20 * US), 0);
	for (unsigned polls = 1; polls < 10; polls++)
		(void)idle_moment(&idle, polls, idle_clock());
	assert_int_equal(yields, 10);
}

static void who_loses_a_slice_sleeps_and_then_looks_again(void **state)
{
	struct idle idle = {0};

	(void)state;
	for (unsigned i = 0; i <= IDLE_SLEEP_DOUBLINGS + 2; i++) {
		unsigned doubled = i < IDLE_SLEEP_DOUBLINGS ? i : IDLE_SLEEP_DOUBLINGS;

		assert_int_equal(one_yield(&idle, SLICE), (uint64_t)IDLE_SLEEP_NS << doubled);
		skew += idle.until - idle_clock(); /* it has slept */
	}
}

static void one_lost_slice_is_soon_forgotten(void **state)
{
	struct idle idle = {0};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(one_yield(&idle, SLICE), IDLE_SLEEP_NS);
		skew += 3ull * IDLE_SLEEP_NS;
		assert_int_equal(one_yield(&idle, 20 * US), 0);
	}
}

/* ---- calls that wait ---- */

/* Waits, for nothing, until the deadline, with a long spell of polling. How often it has slept. */
static uint64_t wait_in_vain(uint32_t flags)
{
	struct zv_opts o = {
		.size = sizeof(o), .spin_ns = FOREVER, .flags = flags | ZV_OPT_NO_HELLO};
	struct zv_queue_stats st;
	struct zv_event ev;
	struct zv_dev *dev;
	struct zv_queue *q;

	assert_int_equal(zv_open(&dev, "fakeguest:", &o), 0);
	q = zv_queue(dev, 0);
	assert_int_equal(zv_wait(q, &ev, 1, 10 * SLICE), 0);
	assert_int_equal(zv_queue_stats(q, &st, sizeof(st)), 0);
	zv_close(dev);
	return st.wakeups;
}

static void a_wait_sleeps_beside_a_program_that_computes(void **state)
{
	(void)state;
	yield_ns = SLICE;
	assert_true(wait_in_vain(0) > 0);
	assert_in_range(yields, 1, 4); /* not one for each slice */
}

static void a_wait_that_never_sleeps_yields(void **state)
{
	(void)state;
	yield_ns = SLICE;
	assert_int_equal(wait_in_vain(ZV_OPT_BUSY_POLL), 0);
	assert_in_range(yields, 9, 11);
}

/* The timer's descriptor is read when there is something to read. */
static void who_slept_without_a_timer_reads_none(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .flags = ZV_OPT_NO_HELLO};
	struct zv_event ev;
	struct zv_dev *dev;
	struct zv_queue *q;

	(void)state;
	assert_int_equal(zv_open(&dev, "fakeguest:", &o), 0);
	q = zv_queue(dev, 0);
	assert_int_equal(zv_poll(q, &ev, 1), 0);
	reads = 0;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(zv_arm(q), 0);
		assert_int_equal(zv_poll(q, &ev, 1), 0);
	}
	assert_int_equal(reads, 0);
	assert_int_equal(zv_arm(q), 0);
	zv_wake(q);
	while (zv_poll(q, &ev, 1) == 0)
		;
	assert_true(reads > 0);
	zv_close(dev);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, group_setup)
	const struct CMUnitTest tests[] = {
		CASE(a_peer_on_this_cpu_gets_every_moment),
		CASE(who_loses_a_slice_sleeps_and_then_looks_again),
		CASE(one_lost_slice_is_soon_forgotten),
		CASE(a_wait_sleeps_beside_a_program_that_computes),
		CASE(a_wait_that_never_sleeps_yields),
		CASE(who_slept_without_a_timer_reads_none),
	};

	return cmocka_run_group_tests_name("idle", tests, NULL, NULL);
}
