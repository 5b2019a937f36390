/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects per second. `in_flight` connects are under way; a connection is closed as soon as it is
 * established, and the next connect begins, on the queues in turn. The server accepts each
 * connection, and closes it when the client's close has arrived. The test fails unless the server
 * saw each connection begin and end.
 *
 * Over sockets `in_flight` connections are opened, then closed, and so on. A connect is complete
 * when connect(2) returns; with a foreign backend, when that has answered CONNECT.
 */
#include "io/peer/peer.h"
#include "io/sock/kernel_socket.h"
#include "measure/cpu.h"
#include "report/json_set.h"
#include "report/peer_row.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <unistd.h>

#define IN_FLIGHT_MAX 64u
#define ACCEPT_NS     15000000000ull

static const unsigned in_flight[] = {1, 16};

_Static_assert(PEER_PORT_CONN == BENCH_PORT_CONN, "connects() goes there");

/* ---- zvsock: client ---- */

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

static int connects(struct worker *w, const struct bench_cell *c, struct side_stats *st)
{
	unsigned share = c->in_flight / w->side->nthreads, flying = 0, k = 0;
	uint64_t deadline = cpu_now_ns() + w->side->o->duration_ns + BENCH_GRACE_NS / 2;
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(w->side->o->duration_ns);
	uint32_t port = client_port(w, c);
	struct zv_event ev[BENCH_EVENTS];
	struct zv_conn *zc;

	share = share ? share : 1;
	st->first_ns = cpu_now_ns();
	for (;;) {
		bool ended = cpu_ticks() >= end;
		int n, rc = 0;

		while (!ended && flying < share) {
			rc = zv_connect(w->q[k], side_peer_cid(w->side), port, ZV_STREAM, &zc);
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

static int connrate_run(struct zv_run *r)
{
	return connects(r->w, r->c, &r->st);
}

/* ---- zvsock: server ---- */

static int closer_start(struct worker *w, struct bconn *bc)
{
	run_count_conn(&w->side->run, bc->qi, false);
	return 0;
}

static int closer_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	(void)w;
	(void)bc;
	return (events & (ZV_EV_HUP | ZV_EV_ERR | ZV_EV_IN)) != 0;
}

static void closer_end(struct worker *w, struct bconn *bc, int rc)
{
	(void)rc;
	run_count_conn(&w->side->run, bc->qi, true);
}

static const struct zv_role closer = {.name = "",
				      .port = BENCH_PORT_CONN,
				      .start = closer_start,
				      .event = closer_event,
				      .end = closer_end};
static const struct zv_role *const roles[] = {&closer, NULL};

/* ---- a foreign backend: guest side ---- */

static int guest_connects(struct worker *w, struct peer_shm *sh)
{
	struct side_stats *st = &sh->side[ROLE_GUEST];
	int rc = connects(w, &sh->cell, st);

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

static int connrate_peer_guest(struct worker *w, struct peer_shm *sh)
{
	return (sh->cell.dir == DIR_G2H ? guest_connects : guest_accepts)(w, sh);
}

/* ---- a foreign backend: host program ---- */

/* As many at a time as the cell says: all are asked for, all are answered, all are closed. */
static int host_connects(struct peer_shm *sh)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(sh->o.duration_ns);
	struct side_stats *st = &sh->side[ROLE_HOST];
	unsigned n = bench_min32(sh->cell.in_flight, IN_FLIGHT_MAX);
	int fds[IN_FLIGHT_MAX], rc = 0;

	do {
		unsigned open = 0;

		while (open < n && rc >= 0) {
			rc = peer_host_ask(sh, PEER_PORT_CONN);
			if (rc >= 0)
				fds[open++] = rc;
		}
		for (unsigned i = 0; i < open && rc >= 0; i++)
			rc = peer_host_answer(sh, fds[i]);
		for (unsigned i = 0; i < open; i++)
			close(fds[i]);
		st->msgs[0] += open;
	} while (rc >= 0 && cpu_ticks() < end);
	__atomic_store_n(&sh->total, st->msgs[0], __ATOMIC_RELEASE);
	return rc < 0 ? rc : 0;
}

static int connrate_peer_host(struct peer_shm *sh, int listen_fd)
{
	struct side_stats *st = &sh->side[ROLE_HOST];
	int rc = 0;

	st->first_ns = cpu_now_ns();
	if (listen_fd >= 0) {
		st->msgs[0] = stream_accept_all(listen_fd, &sh->total);
	} else {
		rc = host_connects(sh);
		st->last_ns = cpu_now_ns();
	}
	return rc;
}

/* ---- sockets ---- */

static void socket_connects(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(t->s->o->duration_ns);
	struct linger reset = {.l_onoff = 1};
	unsigned n = t->s->c->in_flight;
	int fds[IN_FLIGHT_MAX];

	(void)buf;
	(void)cap;
	n = n > IN_FLIGHT_MAX ? IN_FLIGHT_MAX : n;
	while (cpu_ticks() < end) {
		for (unsigned i = 0; i < n; i++) {
			fds[i] = stream_connect(t->s);
			t->io.errors += fds[i] < 0;
		}
		for (unsigned i = 0; i < n; i++) {
			if (fds[i] < 0)
				continue;
			if (t->s->family->reset)
				setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(fds[i]);
			t->io.msgs++;
		}
		if (t->io.errors)
			break;
	}
	if (!t->s->shm) /* a far end that counts for itself, or not at all */
		return;
	/* One more connection, not counted, wakes the server to see that this is all. */
	__atomic_store_n(&t->s->shm->conns_total, t->io.msgs + 1, __ATOMIC_RELEASE);
	fds[0] = stream_connect(t->s);
	if (fds[0] >= 0)
		close(fds[0]);
}

static void socket_accepts(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	(void)buf;
	(void)cap;
	t->io.msgs = stream_accept_all(t->s->listen_fd, &t->s->shm->conns_total);
}

/* ---- report ---- */

static void connrate_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	fprintf(f, "\nConnect + close, %u in flight\n  %-25s %9s  %-21s", c->in_flight, "",
		"conn/s", "[min .. max]");
	print_ratio_heads(f, o, c->workload);
	fprintf(f, " %15s\n", "CPU s g / h");
}

/* "[1.2 k .. 3.4 k]" */
static const char *range_text(char *buf, size_t len, const struct spread *s)
{
	char lo[24], hi[24];

	snprintf(buf, len, "[%s .. %s]", human(lo, sizeof(lo), s->min),
		 human(hi, sizeof(hi), s->max));
	return buf;
}

static void connrate_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
			 const struct bench_cell *c)
{
	struct spread s = cell_spread(c, o->repeat, result_rate);
	char name[48], rate[24], range[64];

	fprintf(f, "  %-25s %9s  %-21s", cell_label(name, sizeof(name), c),
		human(rate, sizeof(rate), s.med), range_text(range, sizeof(range), &s));
	print_ratios(f, p, o, c, result_rate);
	print_cpu(f, c, o->repeat);
	print_errors(f, c, o->repeat);
}

static void connrate_peer_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char first[32];

	fprintf(f, "\nConnect + close, %u in flight\n  %-23s %-4s %9s  %-27s " PEER_HEAD_END,
		c->in_flight, "", "by", "conn/s", "[min .. max]",
		PEER_HEAD_ARGS(peer_first(first, sizeof(first), o), "us/conn"));
}

static void connrate_peer_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
			      const struct bench_cell *c)
{
	struct spread s = cell_spread(c, o->repeat, result_rate);
	char rate[24], range[64];

	fprintf(f, "  %-23s %-4s %9s  %-27s", peer_label(o, c), c->dir == DIR_H2G ? "h" : "g",
		human(rate, sizeof(rate), s.med), range_text(range, sizeof(range), &s));
	peer_row_end(f, p, o, c, result_rate, m_cpu_op);
}

static void connrate_json_setup(json_t *j, const struct bench_opts *o, const struct bench_cell *c)
{
	(void)o;
	json_set_int(j, "in_flight", c->in_flight);
}

static void connrate_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	(void)c;
	json_set_num(j, "conns_per_s", result_rate(r));
}

static int connrate_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	c.dir = DIR_G2H;
	for (unsigned i = 0; i < sizeof(in_flight) / sizeof(in_flight[0]) && rc == 0; i++) {
		c.in_flight = in_flight[i];
		rc = plan_cells(p, o, c);
	}
	return rc;
}

const struct workload workload_connrate = {
	.name = "connrate",
	.help = "connections opened and closed, 1 and 16 at a time",
	.by_default = true,
	.plan = connrate_plan,
	.far = {[DIR_G2H] = FAR_CLOSER},
	.zv = {.run = connrate_run, .threads = true, .counts_closed = true, .roles = roles},
	.socket = {.guest = socket_connects, .host = socket_accepts, .own_conns = true},
	.peer = {.guest = connrate_peer_guest, .host = connrate_peer_host, .port = PEER_PORT_CONN},
	.table = {connrate_head, connrate_row},
	.peer_table = {connrate_peer_head, connrate_peer_row},
	.steady = result_rate,
	.json_setup = connrate_json_setup,
	.json = connrate_json,
};
