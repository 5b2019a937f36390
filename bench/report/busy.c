/* SPDX-License-Identifier: BSD-3-Clause */
#include "busy.h"

#include <string.h>

double busy_share(const struct bench_cell *c, const struct bench_result *r,
		  const struct bench_opts *o, unsigned ncpus, enum bench_role role)
{
	unsigned threads = c->target == TGT_RAW || c->test == TEST_RTT ? 1 : o->threads;
	bool spins = c->target == TGT_RAW || (o->busy_poll && c->target == TGT_ZVSOCK) ||
		     (o->busy_poll && c->target == TGT_PEER && role == ROLE_GUEST);

	if (!r->valid || !r->elapsed_ns || !spins || c->test == TEST_IDLE ||
	    c->test == TEST_FAIRNESS || o->cpus == CPUS_1 || 2 * threads > ncpus)
		return -1;
	return (double)r->cpu_ns[role] / (double)r->elapsed_ns / threads;
}

/* The figure of the run that should not depend on the run. */
static double figure(const struct bench_cell *c, const struct bench_result *r)
{
	if (c->test == TEST_RTT)
		return (double)r->rtt.p50;
	return r->elapsed_ns ? (double)r->messages / (double)r->elapsed_ns : 0;
}

static void look_at_run(struct busy *b, const struct bench_cell *c, const struct bench_result *r,
			const struct bench_opts *o, unsigned ncpus)
{
	double least = -1;

	for (int role = ROLE_GUEST; role <= ROLE_HOST; role++) {
		double share = busy_share(c, r, o, ncpus, (enum bench_role)role);

		if (share >= 0 && (least < 0 || share < least))
			least = share;
	}
	if (least < 0)
		return;
	b->short_runs += least < BUSY_SHARE;
	if (!b->runs++ || least < b->least_share) {
		b->least_share = least;
		b->least_cell = c;
	}
}

static void look_at_cell(struct busy *b, const struct bench_cell *c, unsigned repeat)
{
	double min = 0, max = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < repeat; i++) {
		double v = c->res[i].valid ? figure(c, &c->res[i]) : 0;

		if (v <= 0)
			continue;
		min = n && min < v ? min : v;
		max = n && max > v ? max : v;
		n++;
	}
	if (n < 2 || c->test == TEST_IDLE || c->test == TEST_FAIRNESS)
		return;
	b->apart += max > BUSY_SPREAD * min;
	if (!b->cells++ || max / min > b->widest) {
		b->widest = max / min;
		b->widest_cell = c;
	}
}

void busy_look(struct busy *b, const struct bench_plan *p, const struct bench_opts *o,
	       unsigned ncpus)
{
	memset(b, 0, sizeof(*b));
	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned r = 0; r < o->repeat; r++)
			look_at_run(b, &p->cells[i], &p->cells[i].res[r], o, ncpus);
		look_at_cell(b, &p->cells[i], o->repeat);
	}
}

static const char *cell_text(char *buf, size_t len, const struct bench_cell *c)
{
	static const char *const targets[] = {"zvsock", "AF_UNIX", "TCP", "raw", "a peer"};
	static const char *const tests[] = {"",		"throughput", "rtt",
					    "connrate", "idle",	      "fairness"};
	static const char *const dirs[] = {"", " g2h", " h2g", ""};

	snprintf(buf, len, "%s %s%s, %u B", targets[c->target], tests[c->test], dirs[c->dir],
		 c->msg_size);
	return buf;
}

void busy_warn(FILE *f, const struct busy *b)
{
	char cell[96];

	if (b->short_runs)
		fprintf(f,
			"vsock-bench: warning: busy machine: in %u of %u runs a side that spins "
			"got less than %.0f %% of its CPU (least: %.0f %%, %s)\n",
			b->short_runs, b->runs, 100 * BUSY_SHARE, 100 * b->least_share,
			cell_text(cell, sizeof(cell), b->least_cell));
	if (b->apart)
		fprintf(f,
			"vsock-bench: warning: unsteady machine: in %u of %u rows the best run is "
			"more than %.0f times the worst (most: %.1f times, %s); look at [min .. "
			"max], or take more and longer runs\n",
			b->apart, b->cells, BUSY_SPREAD, b->widest,
			cell_text(cell, sizeof(cell), b->widest_cell));
}
