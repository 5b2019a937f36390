/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest side of a foreign backend: it opens one device and runs the cells that it is told to.
 */
#include "measure/cpu.h"
#include "peer.h"

#include <errno.h>
#include <string.h>

#define ACCEPT_NS 15000000000ull

int peer_accept(struct worker *w, uint32_t port, struct zv_conn **zc)
{
	uint64_t deadline = cpu_now_ns() + ACCEPT_NS;
	struct zv_event ev[BENCH_EVENTS];
	int rc;

	while ((rc = zv_accept(w->q[0], port, zc)) == -EAGAIN) {
		int n = zv_wait(w->q[0], ev, BENCH_EVENTS, 20000000u);

		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (cpu_now_ns() > deadline)
			return side_fail_own(w->side, -ETIMEDOUT,
					     "the host program's connection did not arrive");
	}
	return rc < 0 ? side_fail(w->side, rc, "zv_accept") : 0;
}

static int guest_cell(struct zv_side *s, struct peer_shm *sh)
{
	struct side_stats *st = &sh->side[ROLE_GUEST];
	const struct bench_cell *c = &sh->cell;
	struct worker w;
	uint64_t cpu0;
	int rc;

	memset(&w, 0, sizeof(w));
	rc = worker_init(&w, s, 0, 1, c->msg_size);
	cpu0 = cpu_used_ns();
	if (rc == 0)
		rc = c->workload->peer.guest(&w, sh);
	st->cpu_ns = cpu_used_ns() - cpu0;
	worker_free(&w);
	return rc;
}

int peer_guest_main(int fd, void *arg)
{
	struct peer_shm *sh = arg;
	struct zv_side s = {0};
	char cmd;
	int rc = side_open(&s, &sh->o, sh->peer.uri, &sh->err[ROLE_GUEST]);

	if (rc == 0) {
		cpu_pin(sh->o.cpus, ROLE_GUEST, 0);
		rc = client_meet(&s, &sh->facts);
	}
	if (rc == 0 && ((rc = zv_listen(s.dev, PEER_PORT_DATA, ZV_STREAM, 0)) < 0 ||
			(rc = zv_listen(s.dev, PEER_PORT_CONN, ZV_STREAM, 1024)) < 0))
		side_fail(&s, rc, "zv_listen");
	if (rc == 0)
		rc = proc_child_send(fd, 'r');
	while (rc == 0 && proc_child_wait(fd, &cmd) == 0) {
		rc = guest_cell(&s, sh);
		proc_child_send(fd, rc == 0 ? 'd' : 'e');
	}
	side_close(&s);
	return rc < 0;
}
