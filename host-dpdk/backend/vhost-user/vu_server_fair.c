/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits what one socket may cost the control thread, which serves all of them. See "Fairness" in
 * vu_server.h. */
#include "fd_closer.h"
#include "vu_server_priv.h"

#include <sys/epoll.h>
#include <time.h>

#define COST_NS		 200000u    /* a turn that takes no more is not worth a rest */
#define REST		 3u	    /* as many times as long as the turn: a quarter of the thread */
#define CLOSER_FEW	 8u	    /* descriptors that may wait to be closed */
#define CLOSER_CHECK_NS	 1000000u   /* until the next vu_waits(), ... */
#define CLOSER_CHECK_MAX 200000000u /* ... twice as long each time, and no longer than this */
#define NO_EVENTS	 EPOLLET    /* hang-ups are always reported; like this, once */

/* CPU time: what others have of the CPU meanwhile is not the socket's doing. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
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
	before = cpu_ns();
	s->ready(s, events);
	before = cpu_ns() - before;
	if (before < CLOSER_CHECK_NS / REST && vu_waits(sk))
		rest(sk, CLOSER_CHECK_NS);
	else if (before > COST_NS)
		rest(sk, REST * before);
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
