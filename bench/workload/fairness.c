/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fairness: what the connections of one queue do to each other.
 *
 * alone, holds, reserves  many connections transfer; in addition there are none, or one that
 *                         receives and never releases, or one that reserves buffers and never
 *                         sends them
 * active                  five times as many transfer: the slowest against the mean
 * ping, ping-bulk         round trips of one small message, alone or beside one bulk stream
 *
 * Rates are taken in the middle half of the run, when all transfers have begun and none has ended,
 * at the client's end of the connections: what it has sent (g2h) or received (h2g). The pings are
 * driven from the same loop as the bulk stream. Both programs handle one message of that stream,
 * written or verified in full, between two polls of the queue, so most of what a ping waits for is
 * their work. --no-touch shows what is left without it.
 */

#include "io/zv/zv_echo.h"
#include "io/zv/zv_hog.h"
#include "io/zv/zv_transfer.h"
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FAIR_MSG    4096u
#define FAIR_CONNS  200u
#define FAIR_ACTIVE 1000u
#define RUN_TIMES   4u /* a run lasts so many durations */

/* bench_cell.variant: value, name in the JSON. */
#define SCENES(X)                                                                                  \
	X(SCENE_ALONE, 1, "alone")                                                                 \
	X(SCENE_HOLDS, 2, "holds")                                                                 \
	X(SCENE_RESERVES, 3, "reserves")                                                           \
	X(SCENE_ACTIVE, 4, "active")                                                               \
	X(SCENE_PING, 5, "ping")                                                                   \
	X(SCENE_PING_BULK, 6, "ping-bulk")

#define SCENE_VALUE(id, value, name) id = (value),
enum scene { SCENES(SCENE_VALUE) };
#define SCENE_NAME(id, value, name) [id] = (name),
static const char *const scene_names[] = {SCENES(SCENE_NAME)};

/* bench_result.own: of the connections, Gbit/s. */
enum { OWN_SLOWEST, OWN_MEAN, OWN_END };
_Static_assert(OWN_END <= BENCH_OWN_FIGURES, "room in a result");

struct fair {
	struct worker *w;
	const struct bench_cell *c;
	struct bconn *bcs; /* those that are measured, or the bulk stream */
	uint64_t *at;	   /* bytes of each at `from` */
	unsigned n, done;
	struct bconn side; /* what disturbs, or the pings */
	bool hogs;	   /* it is our end of that that takes and keeps */
	uint64_t from, to; /* ticks between which is measured */
	bool measuring, measured;
	double slowest, mean; /* of the connections, Gbit/s */
	/* pings */
	unsigned char ping[BENCH_SOCK_RX_LEN];
	uint64_t sent_at;
	uint32_t unsent;
	bool waiting;
	struct hist rtt;
};

static uint32_t bulk = 16384; /* bytes of a message of the bulk stream */

static const struct bench_option options[] = {
	{"bulk", 0, "BYTES", OPTIONS_TEST,
	 "Message size of the stream beside the pings in --test fairness (16K)",
	 .kind = OPTION_NUMBER, .value = &bulk, .min = 64, .max = 1u << 20},
};

static const struct zv_role *const roles[] = {&role_holds, &role_reserves, &role_feeds, NULL};

/* ---- opening ---- */

static bool pings(const struct bench_cell *c)
{
	return c->variant == SCENE_PING || c->variant == SCENE_PING_BULK;
}

/* Connection number @i, on which the server shall be @role. */
static int fair_open(struct fair *f, struct bconn *bc, unsigned i, const struct zv_role *role,
		     uint32_t size)
{
	struct worker *w = f->w;
	struct wire_msg m;
	int rc = client_open(w, bc, f->c, 0);

	if (rc < 0)
		return rc;
	wire_role(&m, role->name, w->side->o, f->c, i);
	m.msg_size = size;
	m.duration_ns = RUN_TIMES * w->side->o->duration_ns;
	if (pings(f->c))
		m.batch = 1;
	if (role == &role_echo)
		m.flags &= (uint8_t)~W_ZERO_COPY;
	bc_set_task(bc, &m, w->side->o->type == TYPE_SEQPACKET);
	return client_ask(w, bc, &m);
}

static int fair_go(struct fair *f, struct bconn *bc, unsigned i)
{
	struct wire_msg m;

	wire_init(&m, W_GO, f->w->side->o, f->c, i);
	return conn_send_all(f->w, bc->zc, &m, sizeof(m));
}

/* The hog of the scene: the client's end of it, or the other one, takes and keeps. */
static int fair_hog(struct fair *f, bool send)
{
	bool reserves = f->c->variant == SCENE_RESERVES;
	/* Who reserves is a sender, who holds is a receiver. */
	bool ours = reserves == send;
	const struct zv_role *role = !ours && reserves	 ? &role_reserves
				     : !ours || reserves ? &role_holds
							 : &role_feeds;
	int rc = fair_open(f, &f->side, f->n, role, f->c->msg_size);

	if (rc < 0)
		return rc;
	if (ours) {
		rc = hog_start(f->w, &f->side, reserves);
		f->hogs = true;
		return rc < 0 || reserves ? rc : fair_go(f, &f->side, f->n);
	}
	if (reserves)
		return 0;
	bc_start_source(f->w, &f->side); /* until its credit is used up, and no end */
	f->side.end_ticks = UINT64_MAX;
	return 0;
}

static int fair_begin(struct fair *f)
{
	bool send = (f->c->dir == DIR_G2H) == (f->w->side->role == ROLE_GUEST);
	uint64_t d;
	int rc = 0;

	for (unsigned i = 0; i < f->n && rc == 0; i++) {
		rc = fair_open(f, &f->bcs[i], i, send ? &role_sink : &role_source,
			       pings(f->c) ? bulk : f->c->msg_size);
		f->bcs[i].state = send ? BC_GO : BC_SINK;
	}
	if (rc == 0 && pings(f->c))
		rc = fair_open(f, &f->side, f->n, &role_echo, f->c->msg_size);
	else if (rc == 0 && (f->c->variant == SCENE_HOLDS || f->c->variant == SCENE_RESERVES))
		rc = fair_hog(f, send);
	for (unsigned i = 0; i < f->n && rc == 0; i++) {
		if (send)
			bc_start_source(f->w, &f->bcs[i]);
		else
			rc = fair_go(f, &f->bcs[i], i);
	}
	d = cpu_ns_to_ticks(RUN_TIMES * f->w->side->o->duration_ns);
	f->from = cpu_ticks() + d / 4;
	f->to = f->from + d / 2;
	return rc;
}

/* ---- pings ---- */

static int ping_send(struct fair *f)
{
	struct bconn *bc = &f->side;
	ssize_t n;

	if (!f->waiting && cpu_ticks() < f->to) {
		f->sent_at = cpu_ticks();
		pattern_fill(f->ping, bc->size, bc->salt, bc->seq, 0);
		f->unsent = bc->size;
		f->waiting = true;
		bc->off = 0;
	}
	while (f->unsent) {
		n = zv_send(bc->zc, f->ping + bc->size - f->unsent, f->unsent, 0);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return side_fail(f->w->side, (int)n, "zv_send");
		f->unsent -= (uint32_t)n;
	}
	return 0;
}

static int ping_event(struct fair *f)
{
	struct bconn *bc = &f->side;
	unsigned char got[BENCH_SOCK_RX_LEN];
	ssize_t n = zv_recv(bc->zc, got, sizeof(got), NULL);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return side_fail_own(f->w->side, n < 0 ? (int)n : -ECONNRESET, "receive");
	if ((uint64_t)n > bc->size - bc->off ||
	    !pattern_check(got, (size_t)n, bc->salt, bc->seq, bc->off)) {
		bc->errors++;
		return 0;
	}
	bc->off += (uint32_t)n;
	if (bc->off < bc->size)
		return 0;
	if (f->measuring)
		hist_add(&f->rtt, cpu_ticks() - f->sent_at);
	bc->seq++;
	f->waiting = false;
	return 0;
}

/* ---- the run ---- */

static void fair_measure(struct fair *f)
{
	uint64_t now = cpu_ticks(), sum = 0, least = UINT64_MAX;
	double s;

	if (!f->measuring && !f->measured && now >= f->from) {
		f->measuring = true;
		f->from = now;
		for (unsigned i = 0; i < f->n; i++)
			f->at[i] = f->bcs[i].bytes;
	}
	if (!f->measuring || now < f->to)
		return;
	f->measuring = false;
	f->measured = true;
	s = (double)cpu_ticks_to_ns(now - f->from);
	for (unsigned i = 0; i < f->n; i++) {
		uint64_t b = f->bcs[i].bytes - f->at[i];

		sum += b;
		least = b < least ? b : least;
	}
	/* On a machine that had no CPU for us from one end of the middle half to the other, the run
	 * has no figure. */
	if (f->n && s > 0) {
		f->slowest = (double)least * 8 / s;
		f->mean = (double)sum * 8 / s / f->n;
	}
}

static int fair_event(struct fair *f, struct bconn *bc, uint32_t events)
{
	int rc;

	if (!bc || bc->state == BC_DONE)
		return 0;
	if (bc == &f->side) {
		if (f->hogs)
			hog_grab(bc);
		else if (bc->state == BC_SOURCE)
			bc->blocked = bc->blocked && !(events & ZV_EV_OUT);
		else
			return ping_event(f);
		return 0;
	}
	rc = bc_data_event(f->w, bc, events);
	f->done += rc > 0;
	return rc < 0 ? rc : 0;
}

static int fair_loop(struct fair *f)
{
	uint64_t limit = RUN_TIMES * f->w->side->o->duration_ns + BENCH_GRACE_NS / 2;
	uint64_t deadline = cpu_ticks() + cpu_ns_to_ticks(limit);
	struct zv_event ev[BENCH_EVENTS];

	while (f->done < f->n || !f->measured || f->waiting) {
		int sent, n, rc = pings(f->c) ? ping_send(f) : 0;

		sent = rc < 0 ? rc : worker_run_senders(f->w);
		if (sent < 0)
			return sent;
		n = worker_wait(f->w, ev, BENCH_EVENTS, sent ? 0 : 1000000u);
		if (n < 0 && n != -EINTR)
			return side_fail(f->w->side, n, "zv_wait");
		if (proc_interrupted)
			return -EINTR;
		if (cpu_ticks() > deadline)
			return side_fail_own(f->w->side, -ETIMEDOUT, "the transfer does not end");
		for (int i = 0; i < n && rc == 0; i++)
			rc = fair_event(f, ev[i].user, ev[i].events);
		if (rc < 0)
			return rc;
		fair_measure(f);
	}
	return 0;
}

static void fair_add(struct side_stats *st, const struct bconn *bc)
{
	st->msgs[bc->qi] += bc->seq;
	st->bytes += bc->bytes;
	st->errors += bc->errors;
	if (bc->first_ns && (!st->first_ns || bc->first_ns < st->first_ns))
		st->first_ns = bc->first_ns;
	if (bc->last_ns > st->last_ns)
		st->last_ns = bc->last_ns;
}

static void fair_result(const struct fair *f, struct bench_result *res)
{
	res->own[OWN_SLOWEST] = f->slowest;
	res->own[OWN_MEAN] = f->mean;
	res->rtt = rtt_of_ticks(&f->rtt);
}

static void fair_end(struct fair *f, struct side_stats *st)
{
	f->w->nsenders = 0;
	for (unsigned i = 0; f->bcs && i < f->n; i++) {
		fair_add(st, &f->bcs[i]);
		zv_conn_close(f->bcs[i].zc);
	}
	if (f->side.zc) {
		if (!f->hogs && f->side.state != BC_SOURCE)
			fair_add(st, &f->side);
		hog_drop(&f->side);
		zv_conn_close(f->side.zc);
	}
	free(f->bcs);
	free(f->at);
	free(f);
}

static int fair_run(struct zv_run *r)
{
	const struct bench_cell *c = r->c;
	struct worker *w = r->w;
	struct fair *f = calloc(1, sizeof(*f));
	uint64_t first_ns = cpu_now_ns();
	int rc = -ENOMEM;

	if (!f)
		return side_fail_own(w->side, rc, "connections");
	f->w = w;
	f->c = c;
	f->slowest = f->mean = NAN;
	f->n = c->variant == SCENE_PING ? 0 : c->variant == SCENE_PING_BULK ? 1 : c->in_flight;
	f->bcs = calloc(f->n + 1, sizeof(*f->bcs));
	f->at = calloc(f->n + 1, sizeof(*f->at));
	if (!f->bcs || !f->at)
		side_fail_own(w->side, rc, "connections");
	else
		rc = worker_buffers(w, bulk > c->msg_size ? bulk : c->msg_size);
	w->nsenders = 0;
	w->tx_owner = NULL;
	if (rc == 0)
		rc = fair_begin(f);
	if (rc == 0)
		rc = fair_loop(f);
	if (rc == 0)
		fair_result(f, r->res);
	fair_end(f, &r->st);
	if (rc == 0) {
		r->st.first_ns = first_ns;
		r->st.last_ns = cpu_now_ns();
	}
	return rc;
}

/* ---- report ---- */

static double m_slowest(const struct bench_result *r)
{
	return r->own[OWN_SLOWEST] * 1e3;
}

static double m_mean(const struct bench_result *r)
{
	return r->own[OWN_MEAN] * 1e3;
}

static double m_share(const struct bench_result *r)
{
	if (isnan(r->own[OWN_MEAN]))
		return NAN;
	return r->own[OWN_MEAN] > 0 ? r->own[OWN_SLOWEST] / r->own[OWN_MEAN] : 0;
}

static double m_ping_p99(const struct bench_result *r)
{
	return r->rtt.max ? m_p99(r) : NAN;
}

/* The same connections, or pings, without the one that disturbs them. */
static const struct bench_cell *undisturbed(const struct bench_plan *p, const struct bench_cell *c)
{
	unsigned want = c->variant == SCENE_HOLDS || c->variant == SCENE_RESERVES ? SCENE_ALONE
			: c->variant == SCENE_PING_BULK				  ? SCENE_PING
										  : 0;

	for (unsigned i = 0; want && i < p->n; i++)
		if (p->cells[i].workload == c->workload && p->cells[i].target == c->target &&
		    p->cells[i].variant == want &&
		    (want == SCENE_PING || p->cells[i].dir == c->dir))
			return &p->cells[i];
	return NULL;
}

static const char *what(const struct bench_cell *c)
{
	bool g2h = c->dir == DIR_G2H;

	switch (c->variant) {
	case SCENE_ALONE:
		return "alone";
	case SCENE_HOLDS:
		return g2h ? "beside one that never releases, host"
			   : "beside one that never releases, guest";
	case SCENE_RESERVES:
		return g2h ? "beside one that never sends, guest"
			   : "beside one that never sends, host";
	case SCENE_ACTIVE:
		return "all active";
	case SCENE_PING:
		return "round trip alone";
	default:
		return "round trip beside a bulk stream";
	}
}

static void fair_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	(void)c;
	size_text(size, sizeof(size), o->sizes[0]);
	fprintf(f,
		"\nFairness on one queue, transfers of 4 KiB messages, %s, round trips of %s\n"
		"  %-40s %-4s %6s %9s %9s %9s %8s %7s %15s\n",
		o->zero_copy ? "zero-copy" : "copying", size, "", "dir", "conns", "slowest", "mean",
		"slow/mean", "p99 us", "xalone", "CPU s g / h");
}

static void fair_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		     const struct bench_cell *c)
{
	bool ping = pings(c);
	char ratio[16], share[32] = "-", slow[24] = "-", mean[24] = "-", p99[24] = "-";

	ratio_text(ratio, sizeof(ratio), o, c, undisturbed(p, c), ping ? m_ping_p99 : m_slowest);
	if (ping) {
		med_text(p99, sizeof(p99), c, o->repeat, m_ping_p99, 2);
	} else {
		med_text(slow, sizeof(slow), c, o->repeat, m_slowest, 1);
		med_text(mean, sizeof(mean), c, o->repeat, m_mean, 1);
		med_text(share, sizeof(share), c, o->repeat, m_share, 2);
	}
	fprintf(f, "  %-40s %-4s %6u %9s %9s %9s %8s %7s %7.3f %7.3f", what(c),
		dir_names.name[c->dir], c->in_flight, slow, mean, share, p99, ratio,
		cell_med(c, o->repeat, m_cpu_guest), cell_med(c, o->repeat, m_cpu_host));
	print_errors(f, c, o->repeat);
}

static void fair_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	json_t *fair = json_object();

	json_set_str(fair, "scene", scene_names[c->variant]);
	if (pings(c) && r->rtt.max)
		json_set_rtt(j, &r->rtt);
	if (c->variant == SCENE_PING_BULK)
		json_set_int(fair, "bulk", bulk);
	if (!pings(c))
		json_set_int(fair, "conns", c->in_flight);
	if (!pings(c) && !isnan(r->own[OWN_MEAN])) {
		json_set_num(fair, "slowest_gbit_per_s", r->own[OWN_SLOWEST]);
		json_set_num(fair, "mean_gbit_per_s", r->own[OWN_MEAN]);
	}
	json_object_set_new(j, "fairness", fair);
}

/* Beside each other what is compared: with and without the one that disturbs. */
static int fair_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	c.zero_copy = o->zero_copy;
	for (unsigned s = SCENE_ALONE; s <= SCENE_PING_BULK; s++) {
		c.variant = s;
		c.msg_size = pings(&c) ? o->sizes[0] : FAIR_MSG;
		c.in_flight = pings(&c) ? 1 : s == SCENE_ACTIVE ? FAIR_ACTIVE : FAIR_CONNS;
		for (unsigned d = DIR_G2H; d <= DIR_H2G && rc == 0; d++) {
			c.dir = s == SCENE_PING ? DIR_BOTH : d;
			if (s == SCENE_PING ? d == DIR_G2H : (o->dir & d) != 0)
				rc = plan_cells(p, o, c);
		}
	}
	return rc;
}

const struct workload workload_fairness = {
	.name = "fairness",
	.help = "what connections of one queue do to each other",
	.options = BENCH_OPTIONS(options),
	.plan = fair_plan,
	.zv = {.run = fair_run, .many_conns = true, .durations = RUN_TIMES, .roles = roles},
	.table = {fair_head, fair_row},
	.one_head = true,
	.json = fair_json,
};
