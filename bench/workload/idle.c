/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Idle: what it costs to do nothing. A number of connections are opened and left alone; each side
 * reports the CPU time it used meanwhile and how much its resident memory grew for each of them.
 */
#include "io/zv_side.h"
#include "measure/cpu.h"

#include <errno.h>

int client_idle_open(struct worker *w, struct zv_conn **zc, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int rc = conn_open(w, w->q[i % w->nq], BENCH_PORT_HOLD, ZV_STREAM, &zc[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int client_idle_wait(struct worker *w, uint64_t ns)
{
	uint64_t end = cpu_now_ns() + ns, now;
	struct zv_event ev[BENCH_EVENTS];

	while ((now = cpu_now_ns()) < end) {
		int n = worker_wait(w, ev, BENCH_EVENTS, end - now);

		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (proc_interrupted)
			return -EINTR;
		for (int i = 0; i < n; i++)
			if (ev[i].events & (ZV_EV_HUP | ZV_EV_ERR))
				return side_fail_own(w->side, -ECONNRESET,
						     "an idle connection was lost");
	}
	return 0;
}
