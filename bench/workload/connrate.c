/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects per second: `in_flight` connects are under way; one that is over is closed at once and
 * the next begins, on the queues in turn. The server accepts each, and closes it when the client's
 * close has arrived; a test is right when it saw every single one begin and end.
 */
#include "io/zv_side.h"
#include "measure/cpu.h"

#include <errno.h>

static uint64_t peer_cid(const struct worker *w)
{
	return w->side->role == ROLE_GUEST ? ZV_CID_HOST : 0;
}

/* True when a failed zv_connect only means: later, when closes under way have finished. */
static bool connect_later(int rc)
{
	return rc == -EAGAIN || rc == -EADDRNOTAVAIL || rc == -ENOSPC;
}

/* Events of connects under way; the number that are over. */
static unsigned connrate_events(const struct worker *w, const struct zv_event *ev, int n,
				struct side_stats *st)
{
	unsigned over = 0;

	for (int i = 0; i < n; i++) {
		if (!ev[i].conn || !(ev[i].events & (ZV_EV_CONNECT | ZV_EV_ERR)))
			continue;
		if (ev[i].err == 0)
			st->msgs[w->qi[ev[i].queue]]++;
		else
			st->errors++;
		zv_conn_close(ev[i].conn);
		over++;
	}
	return over;
}

int client_connrate(struct worker *w, const struct bench_cell *c, struct side_stats *st)
{
	unsigned share = c->in_flight / w->side->nthreads, flying = 0, k = 0;
	uint64_t deadline = cpu_now_ns() + w->side->o->duration_ns + BENCH_GRACE_NS / 2;
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(w->side->o->duration_ns);
	struct zv_event ev[BENCH_EVENTS];
	struct zv_conn *zc;

	share = share ? share : 1;
	st->first_ns = cpu_now_ns();
	for (;;) {
		bool ended = cpu_ticks() >= end;
		int n, rc = 0;

		while (!ended && flying < share) {
			rc = zv_connect(w->q[k], peer_cid(w), BENCH_PORT_CONN, ZV_STREAM, &zc);
			if (rc < 0)
				break;
			flying++;
			k = k + 1 == w->nq ? 0 : k + 1;
		}
		if (rc < 0 && !connect_later(rc))
			return side_fail(w->side, rc, "zv_connect");
		if (ended && flying == 0)
			break;
		n = worker_wait(w, ev, BENCH_EVENTS, 20000000u);
		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (n <= 0 && proc_interrupted)
			return -EINTR;
		if (n <= 0 && cpu_now_ns() > deadline)
			return side_fail_own(w->side, -ETIMEDOUT, "connects stalled");
		flying -= connrate_events(w, ev, n, st);
	}
	st->last_ns = cpu_now_ns();
	return 0;
}

int client_connect_warm(struct worker *w, unsigned n)
{
	struct zv_conn *zc;

	for (unsigned i = 0; i < n; i++) {
		int rc = conn_open(w, w->q[i % w->nq], BENCH_PORT_CONN, ZV_STREAM, &zc);

		if (rc < 0)
			return rc;
		zv_conn_close(zc);
	}
	return 0;
}
