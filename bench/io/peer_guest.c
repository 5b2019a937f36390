/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest side of a foreign backend: one device, told which cell to run next. */
#include "measure/cpu.h"
#include "peer.h"
#include "zv_side.h"

#include <errno.h>
#include <string.h>

#define ACCEPT_NS 15000000000ull

_Static_assert(PEER_PORT_CONN == BENCH_PORT_CONN, "client_connrate() connects there");

/* Takes the next connection on @port. 0 or -errno. */
static int guest_accept(struct worker *w, uint32_t port, struct zv_conn **zc)
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

static int guest_throughput(struct worker *w, struct peer_shm *sh)
{
	bool send = sh->cell.dir == DIR_G2H;
	struct bconn bc;
	struct wire_msg m;
	int rc;

	memset(&bc, 0, sizeof(bc));
	w->nsenders = 0;
	w->tx_owner = NULL;
	if (send)
		rc = conn_open(w, w->q[0], PEER_PORT_DATA, ZV_STREAM, &bc.zc);
	else
		rc = guest_accept(w, PEER_PORT_DATA, &bc.zc);
	if (rc == 0) {
		zv_set_user(bc.zc, &bc);
		wire_init(&m, send ? W_SINK : W_SOURCE, w->side->o, &sh->cell, 0);
		bc_set_task(&bc, &m, false);
		bc.announce = send ? &sh->total : NULL;
		bc.state = BC_SINK;
		if (send)
			bc_start_source(w, &bc);
	}
	return client_transfer(w, &bc, &sh->side[ROLE_GUEST], rc);
}

static int guest_rtt(struct worker *w, struct peer_shm *sh)
{
	struct bconn bc;
	struct wire_msg m;
	int rc;

	memset(&bc, 0, sizeof(bc));
	rc = conn_open(w, w->q[0], PEER_PORT_DATA, ZV_STREAM, &bc.zc);
	wire_init(&m, W_ECHO, w->side->o, &sh->cell, 0);
	bc_set_task(&bc, &m, false);
	return client_pings(w, &bc, &sh->side[ROLE_GUEST], &sh->rtt, rc);
}

static int guest_connects(struct worker *w, struct peer_shm *sh)
{
	struct side_stats *st = &sh->side[ROLE_GUEST];
	int rc = client_connrate(w, &sh->cell, st);

	if (rc < 0)
		return rc;
	/* One more, not counted, wakes the host program to see that this is all. */
	__atomic_store_n(&sh->total, st->msgs[0] + 1, __ATOMIC_RELEASE);
	return client_connect_warm(w, 1);
}

/* Takes the host program's connections and closes each when its other end has closed. */
static int guest_accepts(struct worker *w, struct peer_shm *sh)
{
	uint64_t deadline = cpu_now_ns() + sh->o.duration_ns + ACCEPT_NS, total, closed = 0;
	struct side_stats *st = &sh->side[ROLE_GUEST];
	struct zv_event ev[BENCH_EVENTS];
	struct zv_conn *zc;

	do {
		int n = zv_wait(w->q[0], ev, BENCH_EVENTS, 20000000u);

		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (cpu_now_ns() > deadline)
			return side_fail_own(w->side, -ETIMEDOUT,
					     "connections of the host program were lost");
		for (int i = 0; i < n; i++) {
			if (!ev[i].conn)
				while (zv_accept(w->q[0], ev[i].port, &zc) == 0)
					st->msgs[0]++;
			else if (ev[i].events & (ZV_EV_IN | ZV_EV_HUP | ZV_EV_ERR)) {
				zv_conn_close(ev[i].conn);
				closed++;
			}
		}
		total = __atomic_load_n(&sh->total, __ATOMIC_ACQUIRE);
	} while (total == 0 || closed < total);
	return 0;
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
	if (rc == 0 && c->test == TEST_THROUGHPUT)
		rc = guest_throughput(&w, sh);
	else if (rc == 0 && c->test == TEST_RTT)
		rc = guest_rtt(&w, sh);
	else if (rc == 0)
		rc = (c->dir == DIR_G2H ? guest_connects : guest_accepts)(&w, sh);
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
		rc = proc_child_say(fd, 'r');
	while (rc == 0 && proc_child_wait(fd, &cmd) == 0) {
		rc = guest_cell(&s, sh);
		proc_child_say(fd, rc == 0 ? 'd' : 'e');
	}
	side_close(&s);
	return rc < 0;
}
