/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names that the kernel has to look up in their directory, which may take as long as some local
 * user likes: nobody waits for that but the connections to them. The kernel, the mailbox of the
 * lcore and the relay are this file's.
 */
#include "endpoint/unix/endpoint_unix.h"
#include "relay/relay.h"
#include "sock_connect.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY  64u
#define MAILS (4 * MANY)
#define MS    UINT64_C(1000000)

static struct guest guest;
static struct cfg_guest cfg;
static struct unix_values values = {.path = "/nowhere/u"};
static struct unix_guest part;
static struct wheel wheel;
static struct relay *relays[MANY];
static unsigned n_relays, started, aborted, here;
static int answers[MANY], n_answers;
/* What is found here, and by the other thread; what the first takes, and whether it sleeps. */
static int cached, found;
static uint64_t now, takes, waits;
static bool sleeps;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Under the lock. */
static bool locked, no_mail; /* the directory; no memory for mail */
static unsigned looks, looking, left, lost;
static struct stat looked_for; /* the socket that it connects, and its descriptor */
static int looked_for_fd;
static struct {
	void (*fn)(struct lcore *lc, void *arg);
	void *arg;
} mails[MAILS];
static unsigned n_mails, n_read;

/* ---- what the rest of the daemon would do ---- */

int __wrap_sock_connect_cached(int fd, int dir, const char *name);
int __wrap_sock_connect_in(int fd, int dir, const char *name);
int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);
uint64_t __wrap_thread_waits(void);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __real_clock_gettime(clockid_t id, struct timespec *t);
void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);
void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags);
void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len);
void __wrap_relay_abort(struct relay *r);
int __wrap_zv_conn_answer(struct zv_conn *conn, int err);
bool __wrap_guest_fd_get(struct guest_queue *gq);

static pthread_t lcore; /* whose clock is `now` */

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	if (!pthread_equal(pthread_self(), lcore))
		return __real_clock_gettime(id, t);
	t->tv_sec = (time_t)(now / 1000000000u);
	t->tv_nsec = (long)(now % 1000000000u);
	return 0;
}

uint64_t __wrap_thread_waits(void)
{
	return waits;
}

int __wrap_sock_connect_cached(int fd, int dir, const char *name)
{
	(void)fd;
	(void)dir;
	assert_true(pthread_equal(pthread_self(), lcore));
	assert_string_equal(name, "u_5000");
	here++;
	now += takes;
	waits += sleeps;
	return cached;
}

/* Waits while the directory is locked. */
int __wrap_sock_connect_in(int fd, int dir, const char *name)
{
	int ret;

	(void)dir;
	pthread_mutex_lock(&lock);
	/* An lcore must not get here. */
	if (pthread_equal(pthread_self(), lcore) || strcmp(name, "u_5000") != 0)
		abort();
	looks++;
	looking++;
	looked_for_fd = fd;
	if (fstat(fd, &looked_for) < 0)
		abort();
	pthread_cond_broadcast(&changed);
	while (locked)
		pthread_cond_wait(&changed, &lock);
	looking--;
	left++;
	pthread_cond_broadcast(&changed);
	ret = found;
	pthread_mutex_unlock(&lock);
	return ret;
}

int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg)
{
	int ret = 0;

	(void)lc;
	pthread_mutex_lock(&lock);
	if (no_mail) {
		lost++;
		ret = -ENOMEM;
	} else {
		mails[n_mails % MAILS].fn = fn;
		mails[n_mails++ % MAILS].arg = arg;
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return ret;
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
	(void)close(r->fd);
	r->fd = -1;
	aborted++;
}

int __wrap_zv_conn_answer(struct zv_conn *conn, int err)
{
	(void)conn;
	answers[n_answers++] = err;
	return err;
}

bool __wrap_guest_fd_get(struct guest_queue *gq)
{
	(void)gq;
	return true;
}

/* ---- a guest ---- */

static int setup(void **state)
{
	(void)state;
	memset(&guest, 0, sizeof(guest));
	memset(&part, 0, sizeof(part));
	memset(&wheel, 0, sizeof(wheel));
	wheel_init(&wheel);
	now = 1000 * WHEEL_NS;
	takes = waits = 0;
	sleeps = locked = no_mail = false;
	looks = looking = left = lost = n_mails = n_read = n_relays = started = aborted = here = 0;
	n_answers = 0;
	cached = -EINPROGRESS;
	found = 0;
	part.name_at = sizeof("/nowhere/") - 1;
	part.dir = open("/tmp", O_PATH | O_CLOEXEC);
	part.looker = unix_looker_new(part.dir);
	assert_non_null(part.looker);
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
	unix_looker_free(part.looker);
	for (unsigned i = 0; i < n_relays; i++) {
		if (relays[i]->fd >= 0)
			(void)close(relays[i]->fd);
		free(relays[i]);
	}
	return 0;
}

/* @n connections of the guest. */
static void ask(unsigned n)
{
	const struct zv_conn_info info = {
		.size = sizeof(info), .type = ZV_STREAM, .local_port = 5000};

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(unix_target_serve(&guest.queues[0], NULL, &info), 1);
}

static void set(bool *what, bool value)
{
	pthread_mutex_lock(&lock);
	*what = value;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* A minute or more is only for a program that never gets there. */
static void wait_until(const unsigned *count, unsigned n)
{
	struct timespec end;

	(void)__real_clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 120;
	pthread_mutex_lock(&lock);
	while (*count < n)
		if (pthread_cond_timedwait(&changed, &lock, &end) == ETIMEDOUT)
			abort();
	pthread_mutex_unlock(&lock);
}

/* Reads mail until @n have come in all. */
static void read_mail(unsigned n)
{
	wait_until(&n_mails, n);
	for (; n_read < n; n_read++)
		mails[n_read % MAILS].fn(NULL, mails[n_read % MAILS].arg);
}

static void event_of(const struct relay *r, int err)
{
	const struct zv_event ev = {.events = ZV_EV_ERR, .err = err};

	r->f.owner.event((struct conn_owner *)(void *)(uintptr_t)&r->f.owner, &ev);
}

/* ---- the tests ---- */

/* The directory is locked: the lcore goes on, and the connections are made when it is free. */
static void a_locked_directory_holds_no_lcore(void **state)
{
	(void)state;
	locked = true;
	ask(MANY);
	wait_until(&looking, 1);
	assert_int_equal(n_answers, 0);
	cached = 0; /* others are in the cache */
	part.waitq[0].connects.left = 0;
	set(&locked, false);
	read_mail(MANY);
	assert_int_equal(started, MANY);
	assert_int_equal(n_answers, MANY);
	assert_int_equal(looks, MANY);
	assert_int_equal(here, MANY);
}

/* What is in the cache is connected to here. */
static void what_is_cached_is_not_looked_for(void **state)
{
	(void)state;
	cached = 0;
	ask(MANY / 2);
	cached = -ENOENT;
	ask(MANY / 2);
	assert_int_equal(started, MANY / 2);
	assert_int_equal(aborted, MANY / 2);
	assert_int_equal(looks, 0);
}

/* Nobody serves the port. */
static void what_is_not_found_is_refused(void **state)
{
	(void)state;
	found = -ENOENT;
	ask(2);
	read_mail(2);
	assert_int_equal(aborted, 2);
	assert_int_equal(answers[1], -ECONNREFUSED);
	assert_int_equal(guest.counters.connect_refused, 2);
}

/* Connections that end do so at once, and their descriptors' numbers may be those of others then.
 */
static void who_gives_up_is_not_waited_for(void **state)
{
	struct stat first;

	(void)state;
	locked = true;
	ask(3);
	wait_until(&looking, 1);
	assert_int_equal(fstat(relays[0]->fd, &first), 0);
	assert_int_equal(looked_for.st_ino, first.st_ino);
	assert_int_not_equal(looked_for_fd, relays[0]->fd);
	event_of(relays[0], -ECONNRESET);
	event_of(relays[1], -ETIMEDOUT);
	relays[2]->f.owner.abort(&relays[2]->f.owner);
	assert_int_equal(aborted, 3);
	assert_int_equal(n_answers, 1); /* to the one that has timed out */
	assert_int_equal(guest.counters.connect_timeout, 1);
	set(&locked, false);
	ask(1);
	read_mail(1);
	assert_int_equal(looks, 2);
	assert_int_equal(started, 1);
}

/* The guest goes while the directory is locked. */
static void a_guest_that_goes_waits_for_nothing(void **state)
{
	(void)state;
	locked = true;
	ask(2);
	wait_until(&looking, 1);
	for (unsigned i = 0; i < 2; i++)
		relays[i]->f.owner.abort(&relays[i]->f.owner);
	unix_looker_free(part.looker);
	part.looker = NULL;
	set(&locked, false);
	wait_until(&left, 1);
	assert_int_equal(n_mails, 0);
}

/* The answer is on its way when the connection ends. */
static void an_answer_that_comes_too_late_is_ignored(void **state)
{
	(void)state;
	ask(2);
	wait_until(&n_mails, 2);
	event_of(relays[0], -ECONNRESET);
	read_mail(2);
	assert_int_equal(started, 1);
	assert_int_equal(aborted, 1);
}

/* There is no memory for the answer: the connection times out. */
static void a_lost_answer_ends_nothing_else(void **state)
{
	(void)state;
	no_mail = true;
	ask(1);
	wait_until(&lost, 1);
	set(&no_mail, false);
	ask(1);
	read_mail(1);
	assert_int_equal(started, 1);
	event_of(relays[0], -ETIMEDOUT);
	assert_int_equal(aborted, 1);
}

/* A full backlog is tried again, by the same way, and a few at a time. */
static void a_full_backlog_is_waited_for(void **state)
{
	unsigned tries, mail = MANY;

	(void)state;
	found = -EAGAIN;
	ask(MANY);
	read_mail(mail);
	assert_int_equal(n_answers, 0);
	for (unsigned i = 0; i < 20; i++) {
		now += 2 * WHEEL_NS;
		tries = here;
		(void)wheel_run(&wheel, now);
		assert_in_range(here - tries, 0, 8);
		mail += here - tries;
		read_mail(mail);
	}
	assert_in_range(mail, MANY + 8, 3 * MANY);
	found = -EBUSY; /* not tried: they wait on */
	now += 8 * WHEEL_NS;
	tries = here;
	(void)wheel_run(&wheel, now);
	mail += here - tries;
	read_mail(mail);
	assert_int_equal(aborted, 0);
	found = 0;
	for (unsigned i = 0; i < 200 && started < MANY; i++) {
		now += 8 * WHEEL_NS;
		tries = here;
		(void)wheel_run(&wheel, now);
		mail += here - tries;
		read_mail(mail);
	}
	assert_int_equal(started, MANY);
	assert_int_equal(wheel.n_timers, 0);
}

/* A name was in the cache, and still the lcore has slept, for 20 ms: for 2 s it is not tried there.
 */
static void an_lcore_sleeps_in_little_of_its_time(void **state)
{
	(void)state;
	cached = 0;
	takes = 20 * MS; /* it was preempted */
	ask(1);
	ask(1);
	assert_int_equal(here, 2);
	sleeps = true;
	ask(1);
	assert_int_equal(here, 3);
	for (unsigned i = 0; i < 19; i++, now += 100 * MS)
		ask(1);
	assert_int_equal(here, 3);
	read_mail(19);
	now += 100 * MS;
	ask(1);
	assert_int_equal(here, 4);
	assert_int_equal(started, 3 + 19 + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_locked_directory_holds_no_lcore, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_cached_is_not_looked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_found_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(who_gives_up_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guest_that_goes_waits_for_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_answer_that_comes_too_late_is_ignored, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_lost_answer_ends_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_backlog_is_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(an_lcore_sleeps_in_little_of_its_time, setup,
						teardown),
	};

	lcore = pthread_self();
	return cmocka_run_group_tests_name("unix_look", tests, NULL, NULL);
}
