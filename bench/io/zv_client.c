/* SPDX-License-Identifier: BSD-3-Clause */
/* The client: runs one cell against the server. */
#include "measure/cpu.h"
#include "target/targets.h"
#include "zv_side.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_NS   10000000000ull /* connrate: the server's last closes */
#define WARM_CONNS 1024u
#define HELLO_NS   10000000000ull

struct client_job {
	struct worker *w;
	const struct bench_cell *c;
	struct side_stats st;
};

uint64_t wire_salt(unsigned queue)
{
	return 0x7a76ull + ((uint64_t)queue << 32);
}

void wire_init(struct wire_msg *m, enum wire_kind kind, const struct bench_opts *o,
	       const struct bench_cell *c, unsigned queue)
{
	memset(m, 0, sizeof(*m));
	m->magic = BENCH_WIRE_MAGIC;
	m->version = BENCH_WIRE_VERSION;
	m->kind = (uint8_t)kind;
	m->flags = (uint8_t)((c->zero_copy ? W_ZERO_COPY : 0) | (o->touch ? W_TOUCH : 0) |
			     (c->coalesce ? W_COALESCE : 0));
	m->msg_size = c->msg_size;
	m->batch = o->batch;
	m->duration_ns = o->duration_ns;
	m->salt = wire_salt(queue);
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
	snprintf(facts->zv_version, sizeof(facts->zv_version), "%s", zv_version());
	return 0;
}

/* One exchange on the control connection. */
static int ctrl_say(struct worker *w, struct zv_conn *zc, enum wire_kind kind,
		    const struct bench_cell *c, struct side_stats *answer)
{
	struct wire_msg m;
	int rc;

	wire_init(&m, kind, w->side->o, c, 0);
	rc = conn_send_all(w, zc, &m, sizeof(m));
	return rc < 0 ? rc : conn_recv_all(w, zc, answer, sizeof(*answer));
}

static void *client_thread(void *arg)
{
	struct client_job *j = arg;
	struct worker *w = j->w;

	cpu_pin(w->side->o->cpus, w->side->role, w->index);
	if (j->c->test == TEST_CONNRATE)
		w->rc = client_connrate(w, j->c, &j->st);
	else
		w->rc = client_throughput(w, j->c, &j->st);
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

/* Throughput and connect rate: all threads of this side, each on its queues. */
static int run_threads(struct zv_side *s, const struct bench_cell *c, struct side_stats *sum)
{
	struct client_job jobs[BENCH_QUEUES_MAX];
	unsigned started = 1;
	int rc = 0;

	memset(jobs, 0, sizeof(jobs));
	for (unsigned i = 0; i < s->nthreads && rc == 0; i++) {
		rc = worker_init(&s->workers[i], s, i, s->nthreads, c->msg_size);
		jobs[i].w = &s->workers[i];
		jobs[i].c = c;
	}
	if (rc < 0)
		return rc;
	for (; started < s->nthreads; started++)
		if (pthread_create(&s->workers[started].tid, NULL, client_thread, &jobs[started])) {
			rc = side_fail_own(s, -EAGAIN, "cannot start a thread");
			break;
		}
	client_thread(&jobs[0]);
	for (unsigned i = 0; i < started; i++) {
		if (i > 0)
			pthread_join(s->workers[i].tid, NULL);
		if (rc == 0)
			rc = s->workers[i].rc;
		stats_add(sum, &jobs[i].st);
	}
	return rc;
}

static int run_idle(struct worker *w, struct zv_conn *ctrl, const struct bench_cell *c,
		    struct side_stats *st, struct side_stats *server)
{
	struct zv_conn **zc = calloc(c->in_flight, sizeof(*zc));
	uint64_t cpu0;
	int rc;

	if (!zc)
		return side_fail_own(w->side, -ENOMEM, "idle connections");
	memset(zc, 0, c->in_flight * sizeof(*zc)); /* resident before the first measurement */
	/* Pages of the rings and receive buffers are touched before, so they do not count. */
	rc = client_connect_warm(w, WARM_CONNS * w->nq);
	if (rc == 0)
		rc = ctrl_say(w, ctrl, W_BEGIN, c, server);
	st->rss_before = cpu_rss();
	if (rc == 0)
		rc = client_idle_open(w, zc, c->in_flight);
	if (rc == 0)
		rc = ctrl_say(w, ctrl, W_MARK, c, server);
	st->rss_after = cpu_rss();
	cpu0 = cpu_used_ns();
	st->first_ns = cpu_now_ns();
	if (rc == 0)
		rc = client_idle_wait(w, w->side->o->duration_ns);
	st->last_ns = cpu_now_ns();
	st->cpu_ns = cpu_used_ns() - cpu0;
	if (rc == 0)
		rc = ctrl_say(w, ctrl, W_END, c, server);
	for (unsigned i = 0; i < c->in_flight; i++)
		if (zc[i])
			zv_conn_close(zc[i]);
	free(zc);
	return rc;
}

/* Asks for the server's counts until the last connections have reached it. */
static int run_end(struct worker *w, struct zv_conn *ctrl, const struct bench_cell *c,
		   const struct side_stats *st, struct side_stats *server)
{
	uint64_t deadline = cpu_now_ns() + DRAIN_NS, opened = 0, accepted;
	struct zv_event ev[BENCH_EVENTS];
	int rc;

	for (unsigned i = 0; i < w->side->nqueues; i++)
		opened += st->msgs[i];
	for (;;) {
		rc = ctrl_say(w, ctrl, W_END, c, server);
		if (rc < 0)
			return rc;
		accepted = 0;
		for (unsigned i = 0; i < w->side->nqueues; i++)
			accepted += server->msgs[i];
		if (accepted >= opened &&
		    (c->test != TEST_CONNRATE || server->conns_closed >= opened))
			return 0;
		if (cpu_now_ns() > deadline)
			return 0; /* the difference is reported as errors */
		worker_wait(w, ev, BENCH_EVENTS, 1000000u);
	}
}

static void fill_result(struct zv_side *s, const struct bench_cell *c, struct bench_result *res,
			const struct side_stats *st, const struct side_stats *server)
{
	bool send = (c->dir == DIR_G2H) == (s->role == ROLE_GUEST);
	enum bench_role peer = s->role == ROLE_GUEST ? ROLE_HOST : ROLE_GUEST;

	if (c->test == TEST_THROUGHPUT && send)
		result_from_sides(res, st, server, s->nqueues);
	else
		result_from_sides(res, server, st, s->nqueues);
	if (c->test == TEST_CONNRATE && server->conns_closed != res->messages)
		res->errors++;
	if (c->test == TEST_IDLE) {
		uint64_t n = c->in_flight;

		res->messages = n;
		res->errors = 0;
		if (st->rss_after > st->rss_before)
			res->rss_per_conn[s->role] = (st->rss_after - st->rss_before) / n;
		if (server->rss_after > server->rss_before)
			res->rss_per_conn[peer] = (server->rss_after - server->rss_before) / n;
	}
	res->cpu_ns[s->role] = st->cpu_ns;
	res->cpu_ns[peer] = server->cpu_ns;
}

int client_run_cell(struct zv_side *s, const struct bench_cell *c, struct bench_result *res)
{
	struct side_stats st, server;
	struct zv_conn *ctrl = NULL;
	struct worker w;
	uint64_t cpu0;
	int rc;

	memset(&w, 0, sizeof(w));
	memset(&st, 0, sizeof(st));
	memset(&server, 0, sizeof(server));
	memset(res, 0, sizeof(*res));
	/* One thread with all the queues: the conversation, and the tests that are not parallel. */
	rc = worker_init(&w, s, 0, 1, c->msg_size);
	if (rc == 0)
		rc = conn_open(&w, w.q[0], BENCH_PORT_STREAM, ZV_STREAM, &ctrl);
	if (rc == 0)
		rc = ctrl_say(&w, ctrl, W_BEGIN, c, &server);
	cpu0 = cpu_used_ns();
	if (rc == 0 && c->test == TEST_IDLE) {
		rc = run_idle(&w, ctrl, c, &st, &server);
	} else if (rc == 0) {
		if (c->test == TEST_RTT)
			rc = client_rtt(&w, c, &st, &res->rtt);
		else if (c->test == TEST_FAIRNESS)
			rc = client_fairness(&w, c, &st, res);
		else
			rc = run_threads(s, c, &st);
		st.cpu_ns = cpu_used_ns() - cpu0;
		if (rc == 0)
			rc = run_end(&w, ctrl, c, &st, &server);
	}
	if (rc == 0)
		fill_result(s, c, res, &st, &server);
	if (ctrl)
		zv_conn_close(ctrl);
	worker_free(&w);
	return rc;
}
