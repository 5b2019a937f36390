/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Idle: the cost of connections that do nothing. A number of connections are opened and left
 * alone. Each side reports the CPU time that it used meanwhile, and how much its resident memory
 * grew per connection.
 */
#include "io/zv/zv_side.h"
#include "measure/cpu.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT_HOLD	5203u
#define WARM_CONNS	1024u
#define CONNS_PER_QUEUE 50000u

/* bench_result.own: resident bytes for each connection. */
enum { OWN_RSS_GUEST, OWN_RSS_HOST, OWN_END };
_Static_assert(OWN_END <= BENCH_OWN_FIGURES, "room in a result");

/* ---- options ---- */

static uint32_t conns = 1000;

static const struct bench_option options[] = {
	{.name = "conns",
	 .arg = "N",
	 .group = OPTIONS_TEST,
	 .help = "Open connections of --test idle (1000)",
	 .kind = OPTION_NUMBER,
	 .value = &conns,
	 .min = 1,
	 .max = 1000000},
};

static int idle_check(const struct bench_opts *o, char *why, size_t len)
{
	if (conns <= CONNS_PER_QUEUE * o->queues)
		return 0;
	snprintf(why, len, "--conns %u: at most %u for each queue", conns, CONNS_PER_QUEUE);
	return -EINVAL;
}

static int idle_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.dir = DIR_BOTH;
	c.in_flight = conns;
	return plan_cells(p, o, c);
}

/* ---- client ---- */

/* Pages of the rings and receive buffers are touched before, so they do not count. */
static int idle_warm(struct zv_run *r)
{
	r->own = calloc(r->c->in_flight, sizeof(struct zv_conn *));
	if (!r->own)
		return side_fail_own(r->w->side, -ENOMEM, "idle connections");
	/* Resident before the first measurement. */
	memset(r->own, 0, r->c->in_flight * sizeof(struct zv_conn *));
	return client_connect_warm(r->w, WARM_CONNS * r->w->nq);
}

static int idle_open(struct zv_run *r)
{
	struct zv_conn **zc = r->own;
	struct worker *w = r->w;

	for (unsigned i = 0; i < r->c->in_flight; i++) {
		int rc = conn_open(w, w->q[i % w->nq], PORT_HOLD, ZV_STREAM, &zc[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int idle_wait(struct worker *w, uint64_t ns)
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

static int idle_run(struct zv_run *r)
{
	int rc;

	r->st.first_ns = cpu_now_ns();
	rc = idle_wait(r->w, r->w->side->o->duration_ns);
	r->st.last_ns = cpu_now_ns();
	return rc;
}

static void idle_close(struct zv_run *r)
{
	struct zv_conn **zc = r->own;

	for (unsigned i = 0; zc && i < r->c->in_flight; i++)
		if (zc[i])
			zv_conn_close(zc[i]);
	free(zc);
}

static double rss_per_conn(const struct side_stats *st, uint64_t n)
{
	return st->rss_after > st->rss_before ? (double)((st->rss_after - st->rss_before) / n) : 0;
}

static void idle_result(const struct zv_run *r, struct bench_result *res)
{
	bool guest = r->w->side->role == ROLE_GUEST;

	res->messages = r->c->in_flight;
	res->errors = 0;
	res->own[OWN_RSS_GUEST] = rss_per_conn(guest ? &r->st : &r->server, r->c->in_flight);
	res->own[OWN_RSS_HOST] = rss_per_conn(guest ? &r->server : &r->st, r->c->in_flight);
}

/* ---- server ---- */

static int hold_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	(void)w;
	(void)bc;
	return (events & (ZV_EV_HUP | ZV_EV_ERR | ZV_EV_IN)) != 0;
}

static const struct zv_role hold = {.name = "", .port = PORT_HOLD, .event = hold_event};
static const struct zv_role *const roles[] = {&hold, NULL};

/* ---- report ---- */

static double busy_share_of(const struct bench_result *r, enum bench_role role)
{
	return r->elapsed_ns ? 100.0 * (double)r->cpu_ns[role] / (double)r->elapsed_ns : 0;
}

static double m_busy_guest(const struct bench_result *r)
{
	return busy_share_of(r, ROLE_GUEST);
}

static double m_busy_host(const struct bench_result *r)
{
	return busy_share_of(r, ROLE_HOST);
}

static double m_rss_guest(const struct bench_result *r)
{
	return r->own[OWN_RSS_GUEST];
}

static double m_rss_host(const struct bench_result *r)
{
	return r->own[OWN_RSS_HOST];
}

static void idle_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	(void)o;
	fprintf(f, "\nIdle, %u open connections\n  %-25s %16s %21s\n", c->in_flight, "",
		"CPU % g / h", "bytes/conn g / h");
}

static void idle_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		     const struct bench_cell *c)
{
	char name[48];

	(void)p;
	fprintf(f, "  %-25s %7.3f %8.3f %12.0f %8.0f", cell_label(name, sizeof(name), c),
		cell_med(c, o->repeat, m_busy_guest), cell_med(c, o->repeat, m_busy_host),
		cell_med(c, o->repeat, m_rss_guest), cell_med(c, o->repeat, m_rss_host));
	print_errors(f, c, o->repeat);
}

static void idle_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	json_t *idle = json_object();

	json_set_int(idle, "conns", c->in_flight);
	json_object_set_new(idle, "rss_per_conn",
			    json_sides(r->own[OWN_RSS_GUEST], r->own[OWN_RSS_HOST]));
	json_object_set_new(j, "idle", idle);
}

const struct workload workload_idle = {
	.name = "idle",
	.help = "CPU time and memory of connections that do nothing (--conns)",
	.options = BENCH_OPTIONS(options),
	.check = idle_check,
	.plan = idle_plan,
	.zv = {.warm = idle_warm,
	       .open = idle_open,
	       .run = idle_run,
	       .close = idle_close,
	       .result = idle_result,
	       .many_conns = true,
	       .roles = roles},
	.table = {idle_head, idle_row},
	.json = idle_json,
	.no_per_queue = true,
};
