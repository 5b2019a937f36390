/* SPDX-License-Identifier: BSD-3-Clause */
/* The client: runs one cell against the server. */
#include "measure/cpu.h"
#include "zv_side.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DRAIN_NS 10000000000ull /* the server's last closes */
#define HELLO_NS 60000000000ull /* a VM may have to boot first */

static const struct far_end *far_end(const struct worker *w)
{
	return far_end_of(w->side->o);
}

uint32_t client_port(const struct worker *w, const struct bench_cell *c)
{
	return far_end(w)->port(w->side->o, far_part_of(c, w->side->role));
}

int client_open(struct worker *w, struct bconn *bc, const struct bench_cell *c, unsigned i)
{
	bool seq = w->side->o->type == TYPE_SEQPACKET;
	int rc = conn_open(w, w->q[i], client_port(w, c), seq ? ZV_SEQPACKET : ZV_STREAM, &bc->zc);

	if (rc < 0)
		return rc;
	zv_set_user(bc->zc, bc);
	bc->qi = w->qi[i];
	return 0;
}

int client_ask(struct worker *w, struct bconn *bc, const struct wire_msg *m)
{
	struct wire_msg ack;
	int rc;

	if (!far_end(w)->controlled)
		return 0;
	rc = conn_send_all(w, bc->zc, m, sizeof(*m));
	if (rc == 0)
		rc = conn_recv_all(w, bc->zc, &ack, sizeof(ack));
	if (rc == 0 && !wire_is_ack(&ack))
		rc = side_fail_own(w->side, -EPROTO, "the peer is not a vsock-bench server");
	return rc;
}

int client_go(struct worker *w, struct bconn *bc, const struct bench_cell *c)
{
	struct wire_msg m;

	if (!far_end(w)->controlled)
		return 0;
	wire_init(&m, W_GO, w->side->o, c, bc->qi);
	return conn_send_all(w, bc->zc, &m, sizeof(m));
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

int client_meet(struct zv_side *s, struct bench_facts *facts)
{
	static const char *const names[] = {"", "plain", "zvsock"};
	struct zv_dev_info info = {.size = sizeof(info)};
	uint64_t deadline = cpu_now_ns() + HELLO_NS;
	struct zv_event ev[BENCH_EVENTS];
	int rc;

	for (;;) {
		for (unsigned i = 0; i < s->nqueues; i++) {
			rc = zv_wait(zv_queue(s->dev, i), ev, BENCH_EVENTS, 1000000u);
			if (rc < 0 && rc != -EINTR)
				return side_fail(s, rc, "zv_wait");
		}
		rc = zv_dev_info(s->dev, &info);
		if (rc < 0)
			return side_fail(s, rc, "zv_dev_info");
		if (info.peer != ZV_PEER_UNKNOWN && info.queues_up == s->nqueues)
			break;
		if (proc_interrupted)
			return -EINTR;
		if (cpu_now_ns() > deadline)
			return side_fail_own(s, -ETIMEDOUT, "no peer came up on the device");
	}
	facts->page_size = info.page_size;
	snprintf(facts->peer, sizeof(facts->peer), "%s", names[info.peer]);
	return 0;
}

/* One exchange on the control connection. */
static int ctrl_send(struct worker *w, struct zv_conn *zc, enum wire_kind kind,
		     const struct bench_cell *c, struct side_stats *answer)
{
	struct wire_msg m;
	int rc;

	if (!zc) /* a service counts nothing */
		return 0;
	wire_init(&m, kind, w->side->o, c, 0);
	rc = conn_send_all(w, zc, &m, sizeof(m));
	return rc < 0 ? rc : conn_recv_all(w, zc, answer, sizeof(*answer));
}

static void *client_thread(void *arg)
{
	struct zv_run *r = arg;

	cpu_pin(r->w->side->o->cpus, r->w->side->role, r->w->index);
	r->w->rc = r->c->workload->zv.run(r);
	return NULL;
}

static void stats_add(struct side_stats *sum, const struct side_stats *st)
{
	for (unsigned i = 0; i < BENCH_QUEUES_MAX; i++)
		sum->msgs[i] += st->msgs[i];
	sum->bytes += st->bytes;
	sum->errors += st->errors;
	if (!sum->first_ns || st->first_ns < sum->first_ns)
		sum->first_ns = st->first_ns;
	if (st->last_ns > sum->last_ns)
		sum->last_ns = st->last_ns;
}

/* All threads of this side, each on its queues. */
static int run_threads(struct zv_side *s, const struct bench_cell *c, struct side_stats *sum)
{
	struct zv_run runs[BENCH_QUEUES_MAX];
	unsigned started = 1;
	int rc = 0;

	memset(runs, 0, sizeof(runs));
	for (unsigned i = 0; i < s->nthreads && rc == 0; i++) {
		rc = worker_init(&s->workers[i], s, i, s->nthreads, c->msg_size);
		runs[i].w = &s->workers[i];
		runs[i].c = c;
	}
	if (rc < 0)
		return rc;
	for (; started < s->nthreads; started++)
		if (pthread_create(&s->workers[started].tid, NULL, client_thread, &runs[started])) {
			rc = side_fail_own(s, -EAGAIN, "cannot start a thread");
			break;
		}
	client_thread(&runs[0]);
	for (unsigned i = 0; i < started; i++) {
		if (i > 0)
			pthread_join(s->workers[i].tid, NULL);
		if (rc == 0)
			rc = s->workers[i].rc;
		stats_add(sum, &runs[i].st);
	}
	return rc;
}

/* Asks for the server's counts until the last connections have reached it. */
static int run_end(struct zv_run *r, struct zv_conn *ctrl)
{
	uint64_t deadline = cpu_now_ns() + DRAIN_NS;
	struct zv_event ev[BENCH_EVENTS];
	int rc;

	for (;;) {
		rc = ctrl_send(r->w, ctrl, W_END, r->c, &r->server);
		if (rc < 0 || !ctrl || run_settled(r->c, &r->st, &r->server))
			return rc;
		if (cpu_now_ns() > deadline)
			return 0; /* the difference is reported as errors */
		worker_wait(r->w, ev, BENCH_EVENTS, 1000000u);
	}
}

/* The parts of a cell, in the order that core/workload.h tells. */
static int run_parts(struct zv_run *r, struct zv_conn *ctrl)
{
	const struct workload_zv *wl = &r->c->workload->zv;
	uint64_t cpu0;
	int rc = wl->warm ? wl->warm(r) : 0;

	if (rc == 0)
		rc = ctrl_send(r->w, ctrl, W_BEGIN, r->c, &r->server);
	if (rc == 0 && wl->open) {
		r->st.rss_before = cpu_rss();
		rc = wl->open(r);
		if (rc == 0)
			rc = ctrl_send(r->w, ctrl, W_MARK, r->c, &r->server);
		r->st.rss_after = cpu_rss();
	}
	cpu0 = cpu_used_ns();
	if (rc == 0)
		rc = wl->threads ? run_threads(r->w->side, r->c, &r->st) : wl->run(r);
	r->st.cpu_ns = cpu_used_ns() - cpu0;
	if (rc == 0)
		rc = run_end(r, ctrl);
	if (wl->close)
		wl->close(r);
	return rc;
}

uint64_t client_limit_ns(const struct bench_opts *o, const struct bench_cell *c)
{
	const struct workload_zv *wl = &c->workload->zv;

	return (wl->durations ? wl->durations : 1) * o->duration_ns +
	       (wl->many_conns ? 2 : 1) * BENCH_GRACE_NS;
}

/*
 * The connection on which the server is told what to do. As the host the client waits for a guest,
 * and a guest's kernel refuses what comes before its server listens.
 */
static int control_open(struct worker *w, struct zv_conn **ctrl)
{
	const struct timespec moment = {.tv_nsec = 10000000};
	uint64_t deadline = cpu_now_ns() + HELLO_NS;
	struct zv_side *s = w->side;
	int rc;

	while ((rc = conn_open(w, w->q[0], BENCH_PORT_STREAM, ZV_STREAM, ctrl)) == -ECONNREFUSED &&
	       s->role == ROLE_HOST && !s->met && !proc_interrupted && cpu_now_ns() < deadline) {
		side_forgive(s);
		(void)nanosleep(&moment, NULL);
	}
	s->met |= rc == 0;
	return rc;
}

int client_run_cell(struct zv_side *s, const struct bench_cell *c, struct bench_result *res)
{
	struct zv_conn *ctrl = NULL;
	struct worker w;
	struct zv_run r = {.w = &w, .c = c, .res = res};
	int rc;

	memset(&w, 0, sizeof(w));
	memset(res, 0, sizeof(*res));
	/* One thread with all the queues: the conversation, and the tests that are not parallel. */
	rc = worker_init(&w, s, 0, 1, c->msg_size);
	if (rc == 0 && far_end_of(s->o)->controlled)
		rc = control_open(&w, &ctrl);
	if (rc == 0)
		rc = run_parts(&r, ctrl);
	if (rc == 0)
		run_result(res, c, s->role, &r.st, ctrl ? &r.server : NULL, s->nqueues);
	if (rc == 0 && c->workload->zv.result)
		c->workload->zv.result(&r, res);
	if (ctrl)
		zv_conn_close(ctrl);
	worker_free(&w);
	return rc;
}
