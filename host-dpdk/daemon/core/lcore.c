/* SPDX-License-Identifier: BSD-3-Clause */
#include "lcore_int.h"

#include "base/clock.h"
#include "base/thread_time.h"
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RING_ENTRIES	 1024u
#define ROUNDS_PER_CLOCK 64u /* busy rounds between two looks at the timers */

struct io *lcore_io(struct lcore *lc)
{
	return &lc->io;
}

uint64_t lcore_round(const struct lcore *lc)
{
	return lc->counters.rounds;
}

void lcore_dgram_lost(struct lcore *lc)
{
	LCORE_COUNT(lc, dgrams_lost);
}

void **lcore_local(struct lcore *lc)
{
	return &lc->local;
}

/* ---- work put off ---- */

void lcore_defer(struct lcore *lc, struct lcore_work *w)
{
	if (w->queued)
		return;
	w->queued = true;
	TAILQ_INSERT_TAIL(&lc->work, w, link);
}

void lcore_defer_cancel(struct lcore *lc, struct lcore_work *w)
{
	if (w->queued)
		TAILQ_REMOVE(&lc->work, w, link);
	w->queued = false;
}

void lcore_run(struct lcore_work *w)
{
	const struct lcore_queue *lq = w->lq;
	struct mem_account *was;

	if (!lq || !lq->lc || __builtin_expect(!lq->lc->looks_until, 1)) {
		w->run(w);
		return;
	}
	was = lcore_for(lq);
	w->run(w);
	lcore_for_over(lq, was);
}

/* Runs work deferred so far; work deferred meanwhile is for the next call. */
static bool run_work(struct lcore *lc)
{
	struct lcore_work *end = &lc->work_end, *w;

	if (TAILQ_EMPTY(&lc->work))
		return false;
	TAILQ_INSERT_TAIL(&lc->work, end, link);
	while ((w = TAILQ_FIRST(&lc->work)) != end) {
		lcore_defer_cancel(lc, w);
		lcore_run(w); /* may cancel any other */
	}
	TAILQ_REMOVE(&lc->work, end, link);
	return true;
}

/* ---- timers ---- */

void lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	wheel_start(&lc->wheel, t, idle_clock(), ns);
}

void lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	wheel_stop(&lc->wheel, t);
}

static bool run_timers(struct lcore *lc)
{
	return wheel_run(&lc->wheel, idle_clock());
}

/* How long the lcore may sleep. */
static uint64_t timers_next(const struct lcore *lc)
{
	return lc->wheel.n_timers ? wheel_next(&lc->wheel, idle_clock()) : UINT64_MAX;
}

/* ---- mailbox ---- */

static void mail_put(struct lcore *lc, struct mail *m)
{
	pthread_mutex_lock(&lc->mail_lock);
	STAILQ_INSERT_TAIL(&lc->mail, m, link);
	pthread_mutex_unlock(&lc->mail_lock);
	__atomic_store_n(&lc->has_mail, 1, __ATOMIC_SEQ_CST); /* barrier pair [M] */
	if (__atomic_load_n(&lc->asleep, __ATOMIC_SEQ_CST))
		(void)eventfd_write(lc->mail_fd, 1);
}

/* With mail_lock. True: *@done before @end. */
static bool done_by(struct lcore *lc, const bool *done, uint64_t end)
{
	const struct timespec until = {(time_t)(end / 1000000000u), (long)(end % 1000000000u)};

	while (!*done && !pthread_cond_timedwait(&lc->mail_done, &lc->mail_lock, &until))
		;
	return *done;
}

/* With mail_lock: waits for @done. If that takes long, says so, and says when it was done. */
static void wait_for(struct lcore *lc, const bool *done, const char *name)
{
	uint64_t start = now_ns();
	struct thread_time from, to;
	char what[200];

	if (done_by(lc, done, start + LCORE_LATE_NS / 10))
		return;
	from = thread_time_now(lc->tid);
	if (done_by(lc, done, start + LCORE_LATE_NS))
		return;
	to = thread_time_now(lc->tid);
	thread_time_text(&from, &to, what, sizeof(what));
	log_line(ZV_LOG_WARN, NULL, "lcore %u has not answered for %llu ms (%s): %s", lc->number,
		 (unsigned long long)(to.at_ns - start) / 1000000, name, what);
	while (!*done)
		pthread_cond_wait(&lc->mail_done, &lc->mail_lock);
	log_line(ZV_LOG_WARN, NULL, "lcore %u has answered after %llu ms (%s)", lc->number,
		 (unsigned long long)(now_ns() - start) / 1000000, name);
}

void lcore_call_named(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg,
		      const char *name)
{
	bool done = false;
	struct mail m = {.fn = fn, .arg = arg, .done = &done};

	mail_put(lc, &m);
	pthread_mutex_lock(&lc->mail_lock);
	wait_for(lc, &done, name);
	pthread_mutex_unlock(&lc->mail_lock);
}

int lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg)
{
	struct mail *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->fn = fn;
	m->arg = arg;
	mail_put(lc, m);
	return 0;
}

/* Processes what has arrived so far, so that a thread that keeps posting does not block the
 * queues. */
static bool run_mail(struct lcore *lc)
{
	struct mail_list mail = STAILQ_HEAD_INITIALIZER(mail);
	struct mail *m;
	bool any = false;

	if (!__atomic_load_n(&lc->has_mail, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&lc->has_mail, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&lc->mail_lock);
	STAILQ_CONCAT(&mail, &lc->mail);
	pthread_mutex_unlock(&lc->mail_lock);
	while ((m = STAILQ_FIRST(&mail))) {
		STAILQ_REMOVE_HEAD(&mail, link);
		any = true;
		m->fn(lc, m->arg);
		if (m->done) { /* the mail is on its sender's stack */
			pthread_mutex_lock(&lc->mail_lock);
			*m->done = true;
			pthread_cond_broadcast(&lc->mail_done);
			pthread_mutex_unlock(&lc->mail_lock);
		} else {
			free(m);
		}
	}
	return any;
}

static void mail_woken(struct io_op *op, int res, uint32_t flags)
{
	struct lcore *lc = (struct lcore *)((char *)op - offsetof(struct lcore, mail_op));
	eventfd_t value;

	(void)res;
	(void)flags;
	(void)eventfd_read(lc->mail_fd, &value);
}

/* ---- requests ---- */

void lcore_cancel(struct lcore *lc, struct io_op *op)
{
	io_cancel(&lc->io, op);
	while (op->pending) {
		io_sleep(&lc->io, UINT64_MAX);
		lcore_mem_woken(lc);
		(void)io_reap(&lc->io);
	}
}

static void round_over(struct lcore *lc)
{
	LCORE_COUNT(lc, rounds);
}

void lcore_drain(struct lcore *lc, const unsigned *left)
{
	while (*left) {
		(void)run_work(lc);
		if (!*left)
			break;
		if (TAILQ_EMPTY(&lc->work)) {
			io_sleep(&lc->io, WHEEL_NS);
			lcore_mem_woken(lc);
		} else {
			io_submit(&lc->io);
		}
		(void)io_reap(&lc->io);
		(void)run_timers(lc);
		round_over(lc);
	}
}

/* ---- the thread ---- */

static bool one_round(struct lcore *lc)
{
	bool any = lcore_poll_queues(lc);

	any |= run_work(lc);
	io_submit(&lc->io);
	any |= io_reap(&lc->io) != 0;
	any |= run_mail(lc);
	round_over(lc);
	return any;
}

/* Sleeps, unless there is work to do. */
static void doze(struct lcore *lc)
{
	struct lcore_queue *lq;
	bool may = true;

	if (!TAILQ_EMPTY(&lc->work))
		return;
	if (!lc->mail_op.pending)
		io_poll(&lc->io, &lc->mail_op, lc->mail_fd, POLLIN);
	__atomic_store_n(&lc->asleep, 1, __ATOMIC_SEQ_CST); /* barrier pair [M] */
	if (__atomic_load_n(&lc->has_mail, __ATOMIC_SEQ_CST))
		may = false;
	TAILQ_FOREACH(lq, &lc->queues, link) {
		if (lq->resting)
			continue;
		if (!may || zv_arm(lq->q) != 0) {
			may = false;
			break;
		}
		if (!lq->poll.pending)
			io_poll(&lc->io, &lq->poll, zv_fd(lq->q), POLLIN);
	}
	if (may) {
		io_sleep(&lc->io, timers_next(lc));
		LCORE_COUNT(lc, sleeps);
		lcore_mem_woken(lc);
	}
	__atomic_store_n(&lc->asleep, 0, __ATOMIC_RELAXED);
}

static void serve(struct lcore *lc)
{
	uint64_t start = 0, now = 0;
	bool sleeps;

	lc->checked = idle_clock();
	for (unsigned idle = 0, busy = 0; !lc->stopping;) {
		if (one_round(lc)) {
			idle = 0;
			if (++busy % ROUNDS_PER_CLOCK == 0) {
				(void)run_timers(lc);
				lcore_mem_check(lc, idle_clock());
			}
			continue;
		}
		if (!idle++)
			start = now = idle_clock();
		sleeps = !lc->busy_poll && idle_sleeps(&lc->idle, now);
		if (!sleeps)
			now = idle_moment(&lc->idle, idle, now);
		lcore_mem_check(lc, now);
		if (idle % IDLE_POLLS_PER_YIELD == 0 && lc->wheel.n_timers && run_timers(lc))
			continue;
		if (lc->busy_poll || (now - start < lc->spin_ns && !sleeps))
			continue;
		doze(lc);
		if (lc->wheel.n_timers)
			(void)run_timers(lc);
		idle = 0;
	}
}

static void pin(const struct lcore *lc)
{
	cpu_set_t set;
	int ret;

	if (lc->cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)lc->cpu, &set);
	ret = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (ret)
		log_line(ZV_LOG_WARN, NULL, "lcore on CPU %d: cannot pin the thread: %s", lc->cpu,
			 strerror(ret));
}

static void *lcore_main(void *arg)
{
	struct lcore *lc = arg;
	const char *why = "";
	int ret = io_open(&lc->io, RING_ENTRIES, &why);

	(void)pthread_setname_np(pthread_self(), "lcore");
	pin(lc);
	if (ret < 0)
		log_line(ZV_LOG_ERR, NULL, "cannot start an lcore: %s", why);
	pthread_mutex_lock(&lc->mail_lock);
	lc->start_err = ret;
	lc->tid = gettid();
	pthread_cond_broadcast(&lc->mail_done);
	pthread_mutex_unlock(&lc->mail_lock);
	if (ret == 0) {
		mem_thread_begin();
		serve(lc);
		mem_thread_end();
		io_close(&lc->io);
	}
	return NULL;
}

static void lcore_free(struct lcore *lc)
{
	if (lc->mail_fd >= 0)
		close(lc->mail_fd);
	pthread_cond_destroy(&lc->mail_done);
	pthread_mutex_destroy(&lc->mail_lock);
	free(lc);
}

int lcore_start(struct lcore **out, unsigned number, int cpu, bool busy_poll, uint32_t spin_us)
{
	struct lcore *lc = calloc(1, sizeof(*lc));
	pthread_condattr_t monotonic;
	int ret;

	if (!lc)
		return -ENOMEM;
	lc->number = number;
	lc->cpu = cpu;
	lc->busy_poll = busy_poll;
	lc->spin_ns = (uint64_t)spin_us * 1000u;
	lc->mail_op.done = mail_woken;
	lc->start_err = 1;
	lcore_queues_init(lc);
	TAILQ_INIT(&lc->work);
	STAILQ_INIT(&lc->mail);
	wheel_init(&lc->wheel);
	pthread_mutex_init(&lc->mail_lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* now_ns() */
	pthread_cond_init(&lc->mail_done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	lc->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = lc->mail_fd < 0 ? -errno : -pthread_create(&lc->thread, NULL, lcore_main, lc);
	if (ret < 0) {
		log_line(ZV_LOG_ERR, NULL, "cannot start an lcore: %s", strerror(-ret));
		lcore_free(lc);
		return ret;
	}
	pthread_mutex_lock(&lc->mail_lock);
	while (lc->start_err > 0)
		pthread_cond_wait(&lc->mail_done, &lc->mail_lock);
	pthread_mutex_unlock(&lc->mail_lock);
	ret = lc->start_err;
	if (ret < 0) {
		pthread_join(lc->thread, NULL);
		lcore_free(lc);
		return ret;
	}
	*out = lc;
	return 0;
}

static void stop_now(struct lcore *lc, void *arg)
{
	(void)arg;
	lc->stopping = true;
}

void lcore_stop(struct lcore *lc)
{
	lcore_call(lc, stop_now, NULL);
	pthread_join(lc->thread, NULL);
	lcore_free(lc);
}

void lcore_stats(struct lcore *lc, struct lcore_stats *st)
{
	struct timespec t = {0};
	clockid_t clock;

	if (pthread_getcpuclockid(lc->thread, &clock) == 0)
		(void)clock_gettime(clock, &t);
	st->cpu_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	for (unsigned i = 0; i < N_LCORE_COUNTERS; i++)
		((uint64_t *)&st->counters)[i] =
			__atomic_load_n((uint64_t *)&lc->counters + i, __ATOMIC_RELAXED);
}
