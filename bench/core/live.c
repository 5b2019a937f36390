/* SPDX-License-Identifier: BSD-3-Clause */
#include "live.h"

#include "measure/cpu.h"
#include "measure/proc.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define MORE_ROOM 64u	   /* intervals of a run that takes longer than it was told */
#define LOOK_NS	  1000000u /* before the first payload */

struct bench_live *bench_live;

static struct {
	pthread_t tid;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool started, stop;
	double seconds;
	void (*tell)(const struct live_interval *i);
	uint64_t received; /* before the run */
	struct live_run run;
} looker = {.lock = PTHREAD_MUTEX_INITIALIZER};

int live_init(void)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&looker.cond, &a);
	pthread_condattr_destroy(&a);
	bench_live = proc_shared(sizeof(*bench_live));
	return bench_live ? 0 : -ENOMEM;
}

/* What has arrived; what was sent, where the receiver is not of this program. */
static uint64_t moved(void)
{
	uint64_t n = __atomic_load_n(&bench_live->received, __ATOMIC_RELAXED) - looker.received;

	return n ? n : __atomic_load_n(&bench_live->sent, __ATOMIC_RELAXED) - looker.run.sent;
}

/* Until @when, or the end: false. Locked. */
static bool sleep_until(uint64_t when)
{
	struct timespec ts = {.tv_sec = (time_t)(when / 1000000000u),
			      .tv_nsec = (long)(when % 1000000000u)};

	while (!looker.stop && pthread_cond_timedwait(&looker.cond, &looker.lock, &ts) != ETIMEDOUT)
		;
	return !looker.stop;
}

static void add(double start, double end, uint64_t bytes)
{
	struct live_run *r = &looker.run;

	if (r->n == r->cap)
		return;
	r->at[r->n] = (struct live_interval){start, end, bytes};
	if (looker.tell)
		looker.tell(&r->at[r->n]);
	r->n++;
}

static void *look(void *arg)
{
	uint64_t last = 0, t0, now;
	double begun = 0;
	bool on = true;

	(void)arg;
	pthread_mutex_lock(&looker.lock);
	looker.started = true;
	pthread_cond_signal(&looker.cond);
	while (on && moved() == 0)
		on = sleep_until(cpu_now_ns() + LOOK_NS);
	t0 = cpu_now_ns();
	while (on) {
		double end;
		uint64_t v;

		on = sleep_until(t0 + (uint64_t)((begun + looker.seconds) * 1e9));
		now = cpu_now_ns();
		v = moved();
		end = on ? begun + looker.seconds : (double)(now - t0) / 1e9;
		/* What is left at the end and is next to nothing belongs to the one before. */
		if (on || v > last || looker.run.n == 0)
			add(begun, end, v - last);
		last = v;
		begun = end;
	}
	pthread_mutex_unlock(&looker.lock);
	return NULL;
}

int live_begin(double seconds, double longest, void (*tell)(const struct live_interval *i))
{
	unsigned cap = (unsigned)(longest / seconds) + MORE_ROOM;
	int rc;

	looker.run = (struct live_run){.at = calloc(cap, sizeof(struct live_interval)), .cap = cap};
	if (!looker.run.at)
		return -ENOMEM;
	looker.run.sent = __atomic_load_n(&bench_live->sent, __ATOMIC_RELAXED);
	looker.received = __atomic_load_n(&bench_live->received, __ATOMIC_RELAXED);
	looker.seconds = seconds;
	looker.tell = tell;
	looker.started = looker.stop = false;
	/*
	 * The caller forks next. A thread that begins takes locks of the allocator (a sanitizer's
	 * is not released in the child); one that waits has none.
	 */
	pthread_mutex_lock(&looker.lock);
	rc = pthread_create(&looker.tid, NULL, look, NULL);
	while (rc == 0 && !looker.started)
		pthread_cond_wait(&looker.cond, &looker.lock);
	pthread_mutex_unlock(&looker.lock);
	return -rc;
}

struct live_run live_end(void)
{
	pthread_mutex_lock(&looker.lock);
	looker.stop = true;
	pthread_cond_signal(&looker.cond);
	pthread_mutex_unlock(&looker.lock);
	pthread_join(looker.tid, NULL);
	looker.run.sent = __atomic_load_n(&bench_live->sent, __ATOMIC_RELAXED) - looker.run.sent;
	return looker.run;
}
