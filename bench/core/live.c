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
#define SAMPLE_NS 1000000u /* before the first payload */

struct bench_live *bench_live;

static struct {
	pthread_t tid;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool started, stop;
	double seconds;
	void (*print_interval)(const struct live_interval *i);
	uint64_t received; /* before the run */
	struct live_run run;
} sampler = {.lock = PTHREAD_MUTEX_INITIALIZER};

int live_init(void)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&sampler.cond, &a);
	pthread_condattr_destroy(&a);
	bench_live = proc_shared(sizeof(*bench_live));
	return bench_live ? 0 : -ENOMEM;
}

/* What has arrived; what was sent, where the receiver is not of this program. */
static uint64_t moved(void)
{
	uint64_t n = __atomic_load_n(&bench_live->received, __ATOMIC_RELAXED) - sampler.received;

	return n ? n : __atomic_load_n(&bench_live->sent, __ATOMIC_RELAXED) - sampler.run.sent;
}

/* Until @when, or the end: false. Locked. */
static bool sleep_until(uint64_t when)
{
	struct timespec ts = {.tv_sec = (time_t)(when / 1000000000u),
			      .tv_nsec = (long)(when % 1000000000u)};

	while (!sampler.stop &&
	       pthread_cond_timedwait(&sampler.cond, &sampler.lock, &ts) != ETIMEDOUT)
		;
	return !sampler.stop;
}

static void add(double start, double end, uint64_t bytes)
{
	struct live_run *r = &sampler.run;

	if (r->n == r->cap)
		return;
	r->at[r->n] = (struct live_interval){start, end, bytes};
	if (sampler.print_interval)
		sampler.print_interval(&r->at[r->n]);
	r->n++;
}

static void *sample(void *arg)
{
	uint64_t last = 0, t0, now;
	double begun = 0;
	bool on = true;

	(void)arg;
	pthread_mutex_lock(&sampler.lock);
	sampler.started = true;
	pthread_cond_signal(&sampler.cond);
	while (on && moved() == 0)
		on = sleep_until(cpu_now_ns() + SAMPLE_NS);
	t0 = cpu_now_ns();
	while (on) {
		double end;
		uint64_t v;

		on = sleep_until(t0 + (uint64_t)((begun + sampler.seconds) * 1e9));
		now = cpu_now_ns();
		v = moved();
		end = on ? begun + sampler.seconds : (double)(now - t0) / 1e9;
		/* What is left at the end and is next to nothing belongs to the one before. */
		if (on || v > last || sampler.run.n == 0)
			add(begun, end, v - last);
		last = v;
		begun = end;
	}
	pthread_mutex_unlock(&sampler.lock);
	return NULL;
}

int live_begin(double seconds, double longest,
	       void (*print_interval)(const struct live_interval *i))
{
	unsigned cap = (unsigned)(longest / seconds) + MORE_ROOM;
	int rc;

	sampler.run =
		(struct live_run){.at = calloc(cap, sizeof(struct live_interval)), .cap = cap};
	if (!sampler.run.at)
		return -ENOMEM;
	sampler.run.sent = __atomic_load_n(&bench_live->sent, __ATOMIC_RELAXED);
	sampler.received = __atomic_load_n(&bench_live->received, __ATOMIC_RELAXED);
	sampler.seconds = seconds;
	sampler.print_interval = print_interval;
	sampler.started = sampler.stop = false;
	/*
	 * The caller forks next. A thread that begins takes locks of the allocator (a sanitizer's
	 * is not released in the child); one that waits has none.
	 */
	pthread_mutex_lock(&sampler.lock);
	rc = pthread_create(&sampler.tid, NULL, sample, NULL);
	while (rc == 0 && !sampler.started)
		pthread_cond_wait(&sampler.cond, &sampler.lock);
	pthread_mutex_unlock(&sampler.lock);
	return -rc;
}

struct live_run live_end(void)
{
	pthread_mutex_lock(&sampler.lock);
	sampler.stop = true;
	pthread_cond_signal(&sampler.cond);
	pthread_mutex_unlock(&sampler.lock);
	pthread_join(sampler.tid, NULL);
	sampler.run.sent = __atomic_load_n(&bench_live->sent, __ATOMIC_RELAXED) - sampler.run.sent;
	return sampler.run;
}
