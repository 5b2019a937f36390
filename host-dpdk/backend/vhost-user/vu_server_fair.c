/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits what one socket may cost the control thread, which serves all of them. See "Fairness" in
 * vu_server.h. */
#include "fd_closer.h"
#include "mem_look.h"
#include "vu_server_priv.h"

#include <sys/epoll.h>
#include <time.h>

#define COST_NS		 200000u    /* a turn that takes no more is not worth a rest */
#define REST		 3u	    /* as many times as long as the turn: a quarter of the thread */
#define CLOSER_FEW	 8u	    /* descriptors that may wait to be closed */
#define CLOSER_CHECK_NS	 1000000u   /* until the next vu_waits(), ... */
#define CLOSER_CHECK_MAX 200000000u /* ... twice as long each time, and no longer than this */
#define NO_EVENTS	 EPOLLET    /* hang-ups are always reported; like this, once */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* CPU time: what others have of the CPU meanwhile is not the socket's doing. */
static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void watch_only(struct vu_source *s, uint32_t events)
{
	if (s->fd >= 0)
		vu_rewatch(s, events);
}

static void rest(struct vu_socket *sk, uint64_t ns)
{
	struct vu_conn *c;

	sk->rest = vu_in(ns);
	watch_only(&sk->listen, NO_EVENTS);
	watch_only(&sk->life, NO_EVENTS);
	TAILQ_FOREACH(c, &sk->conns, next) {
		watch_only(&c->sock, NO_EVENTS);
		watch_only(&c->link, NO_EVENTS);
	}
}

void vu_rest_charged(struct vu_socket *sk)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC), ns = mem_sleep_rest(&sk->mem->sleep, now);

	if (!ns || (vu_rests(sk) && sk->rest >= now + ns))
		return;
	zv_log_limited(sk->c.log, ZV_LOG_WARN,
		       "%s: the control thread has slept because of the frontend's memory, which "
		       "is swapped out, or changed under us (holes, fallocate): the next message "
		       "is read in %llu ms; keep the memory resident, and see what its process "
		       "does",
		       sk->c.path, (unsigned long long)ns / 1000000);
	rest(sk, ns);
}

static uint32_t events_of(const struct vu_conn *c)
{
	switch (c->state) {
	case VU_READING:
		return EPOLLIN;
	case VU_ANSWERING:
		return EPOLLOUT;
	default:
		return 0;
	}
}

static void go_on(struct vu_socket *sk)
{
	struct vu_conn *c;

	sk->rest = UINT64_MAX;
	sk->closer_ns = CLOSER_CHECK_NS;
	if (sk->retry == UINT64_MAX || sk->c.client)
		watch_only(&sk->listen, EPOLLIN);
	watch_only(&sk->life, EPOLLIN);
	TAILQ_FOREACH(c, &sk->conns, next) {
		watch_only(&c->sock, events_of(c));
		watch_only(&c->link, EPOLLIN);
		if (c->deadline != UINT64_MAX) /* it could not get on */
			c->deadline = vu_in(sk->c.stall_ns);
	}
}

bool vu_waits(const struct vu_socket *sk)
{
	return fd_closer_count(sk->closer) > CLOSER_FEW ||
	       (sk->c.ops->busy && sk->c.ops->busy(sk->c.ctx));
}

void vu_serve(struct vu_source *s, uint32_t events)
{
	struct vu_socket *sk = s->sk;
	uint64_t before;

	fd_closer_retry();
	if (vu_rests(sk))
		return;
	vu_rest_charged(sk); /* another of its user may have been charged */
	if (vu_rests(sk))
		return;
	before = cpu_ns();
	(void)mem_for(sk->mem);
	s->ready(s, events);
	(void)mem_for(NULL);
	before = cpu_ns() - before;
	if (before < CLOSER_CHECK_NS / REST && vu_waits(sk))
		rest(sk, CLOSER_CHECK_NS);
	else if (before > COST_NS)
		rest(sk, REST * before);
	vu_rest_charged(sk);
}

void vu_rest_over(struct vu_socket *sk)
{
	fd_closer_retry();
	if (!vu_waits(sk)) {
		go_on(sk);
		return;
	}
	sk->closer_ns = 2 * sk->closer_ns < CLOSER_CHECK_MAX ? 2 * sk->closer_ns : CLOSER_CHECK_MAX;
	sk->rest = vu_in(sk->closer_ns);
}
