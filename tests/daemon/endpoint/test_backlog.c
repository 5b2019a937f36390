/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections of a guest to a host program that does not accept: a guest may have thousands, and
 * what they cost its lcore is bounded. The socket, the clock and the relay are this file's.
 */
#include "endpoint/unix/endpoint_unix.h"
#include "relay/relay.h"
#include "sock_connect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY	1000u
#define AT_ONCE 64u /* tries of a queue at one time, */
#define IN_VAIN 8u  /* of which so many fail */

static struct guest guest;
static struct cfg_guest cfg;
static struct unix_values values = {.path = "/nowhere/u"};
static struct unix_guest part;
static struct wheel wheel;
static uint64_t now, cpu, cost; /* cost: of a connect(2) */
static unsigned room, tries, failed, tries_of[2 * MANY], started, aborted;
static struct relay *relays[2 * MANY];
static unsigned n_relays;

static unsigned index_of(int fd)
{
	for (unsigned i = 0; i < n_relays; i++)
		if (relays[i]->fd == fd)
			return i;
	fail_msg("no connection has descriptor %d", fd);
	return 0;
}

/* ---- what the rest of the daemon would do ---- */

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_sock_connect_cached(int fd, int dir, const char *name);
void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);
void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags);
void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len);
void __wrap_relay_abort(struct relay *r);
int __wrap_zv_conn_answer(struct zv_conn *conn, int err);
bool __wrap_guest_fd_get(struct guest_queue *gq);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	uint64_t ns = id == CLOCK_THREAD_CPUTIME_ID ? cpu : now;

	t->tv_sec = (time_t)(ns / 1000000000u);
	t->tv_nsec = (long)(ns % 1000000000u);
	return 0;
}

int __wrap_sock_connect_cached(int fd, int dir, const char *name)
{
	(void)dir;
	assert_string_equal(name, "u_5000");
	cpu += cost;
	now += cost;
	tries++;
	tries_of[index_of(fd)]++;
	if (!room) {
		failed++;
		return -EAGAIN;
	}
	room--;
	return 0;
}

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	wheel_start(&wheel, t, now, ns);
}

void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	wheel_stop(&wheel, t);
}

void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags)
{
	(void)kind;
	(void)flags;
	r->f.owner.gq = gq;
	r->f.conn = conn;
	r->fd = fd;
	relays[n_relays++] = r;
}

void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len)
{
	(void)r;
	(void)early;
	(void)early_len;
	started++;
}

void __wrap_relay_abort(struct relay *r)
{
	(void)r;
	aborted++;
}

int __wrap_zv_conn_answer(struct zv_conn *conn, int err)
{
	(void)conn;
	return err;
}

bool __wrap_guest_fd_get(struct guest_queue *gq)
{
	(void)gq;
	return true;
}

/* ---- the tests ---- */

static int setup(void **state)
{
	(void)state;
	memset(&guest, 0, sizeof(guest));
	memset(&part, 0, sizeof(part));
	part.name_at = sizeof("/nowhere/") - 1;
	memset(&wheel, 0, sizeof(wheel));
	memset(tries_of, 0, sizeof(tries_of));
	wheel_init(&wheel);
	now = 1000 * WHEEL_NS;
	cost = 0;
	room = tries = failed = started = aborted = n_relays = 0;
	for (unsigned i = 0; i < ZV_QUEUES_MAX; i++)
		TAILQ_INIT(&part.waitq[i].waiting);
	cfg.part[ENDPOINT_unix] = &values;
	guest.cfg = &cfg;
	guest.part[ENDPOINT_unix] = &part;
	guest.queues[0].guest = &guest;
	guest.n_queues = 1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < n_relays; i++) {
		(void)close(relays[i]->fd);
		free(relays[i]);
	}
	return 0;
}

/* @n connections of the guest, each of which is tried at once. */
static void ask(unsigned n)
{
	const struct zv_conn_info info = {
		.size = sizeof(info), .type = ZV_STREAM, .local_port = 5000};

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(unix_target_serve(&guest.queues[0], NULL, &info), 1);
}

/* The next look at the timers. */
static void tick(void)
{
	now += WHEEL_NS;
	tries = failed = 0;
	(void)wheel_run(&wheel, now);
}

/* The backlog stays full: few are tried, each in its turn. */
static void tries_in_vain_are_few(void **state)
{
	unsigned all = 0;

	(void)state;
	ask(MANY);
	for (unsigned i = 0; i < 250; i++) { /* 2 s */
		tick();
		assert_true(tries <= IN_VAIN);
		all += tries;
	}
	assert_in_range(all, 250 / 4 * IN_VAIN, 250 / 2 * IN_VAIN);
	for (unsigned i = 0; i < MANY; i++)
		assert_in_range(tries_of[i], 1 + all / MANY, 2 + all / MANY);
	assert_int_equal(started, 0);
}

/* The program accepts all at once: all get there soon, and no look at the timers takes long. */
static void room_is_used(void **state)
{
	(void)state;
	ask(MANY);
	room = MANY;
	for (unsigned i = 0; i < MANY / AT_ONCE + 4; i++) {
		tick();
		assert_true(tries <= AT_ONCE);
		assert_int_equal(failed, 0);
	}
	assert_int_equal(started, MANY);
	assert_int_equal(wheel.n_timers, 0);
}

/* One that waits alone is tried once at a time, and often. */
static void one_is_tried_often(void **state)
{
	(void)state;
	ask(1);
	for (unsigned i = 0; i < 100; i++) {
		tick();
		assert_true(tries <= 1);
	}
	assert_in_range(tries_of[0], 100 / 4, 100 / 2);
}

/* Those that give up are out of the queue, and the last one stops its timer. */
static void giving_up_leaves_the_line(void **state)
{
	const struct zv_event gone = {.events = ZV_EV_ERR, .err = -ECONNRESET};

	(void)state;
	ask(20);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(wheel.n_timers, 1);
		if (i % 2)
			relays[i]->f.owner.event(&relays[i]->f.owner, &gone);
		else
			relays[i]->f.owner.abort(&relays[i]->f.owner);
	}
	assert_int_equal(aborted, 20);
	assert_int_equal(wheel.n_timers, 0);
	assert_true(TAILQ_EMPTY(&part.waitq[0].waiting));
}

/* The kernel takes long to find the host program's socket: connections are refused without a call.
 */
static void slow_connects_are_limited(void **state)
{
	const uint64_t ms = 1000000, begin = now, before = cpu;

	(void)state;
	cost = 3 * ms;
	room = 2 * MANY;
	for (unsigned i = 0; i < MANY; i++, now += ms)
		ask(1);
	assert_int_equal(started, tries);
	assert_int_equal(aborted, MANY - tries);
	assert_in_range(cpu - before, 100 * ms,
			(100 * ms + (now - begin) / 100 + cost) * 103 / 100);
	/* It is fast again. */
	cost = 10000;
	now += 1000 * ms;
	tries = 0;
	ask(MANY);
	assert_int_equal(tries, MANY);
}

/* The time for slow calls is used up while a connection waits for room: it goes on waiting. */
static void who_waits_is_not_refused(void **state)
{
	struct cpu_stock *s = &part.waitq[0].connects;

	(void)state;
	ask(2);
	assert_int_equal(failed, 2);
	s->left = -(int64_t)WHEEL_NS * 1000;
	room = 2;
	for (unsigned i = 0; i < 100; i++) {
		tick();
		assert_int_equal(tries, 0);
	}
	assert_int_equal(aborted, 0);
	s->left = 1;
	for (unsigned i = 0; i < 4; i++)
		tick();
	assert_int_equal(started, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tries_in_vain_are_few, setup, teardown),
		cmocka_unit_test_setup_teardown(room_is_used, setup, teardown),
		cmocka_unit_test_setup_teardown(one_is_tried_often, setup, teardown),
		cmocka_unit_test_setup_teardown(giving_up_leaves_the_line, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_connects_are_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_is_not_refused, setup, teardown),
	};

	return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
