/* SPDX-License-Identifier: BSD-3-Clause */
#include "busy.h"

#include "core/target.h"

#include <string.h>

/* Both sides of the bare loops, and whatever of libzvsock has been told to. */
static bool spins(const struct bench_cell *c, const struct bench_opts *o, enum bench_role role)
{
	switch (c->target->io) {
	case IO_RAW:
	case IO_RING:
		return !o->sleep;
	case IO_ZV:
		return o->busy_poll;
	case IO_PEER:
		return o->busy_poll && role == ROLE_GUEST;
	case IO_ZV_SOCK:
		return o->busy_poll && role == ROLE_GUEST;
	case IO_SOCKET:
	case IO_CLIENT:
		break;
	}
	return false;
}

double busy_share(const struct bench_cell *c, const struct bench_result *r,
		  const struct bench_opts *o, unsigned ncpus, enum bench_role role)
{
	bool one = io_is_bare(c->target->io) || c->workload->one_thread;
	unsigned threads = one ? 1 : o->threads;

	if (!r->valid || !r->elapsed_ns || !spins(c, target_opts(c->target, o), role) ||
	    !c->workload->steady || o->cpus == CPUS_1 || 2 * threads > ncpus)
		return -1;
	return (double)r->cpu_ns[role] / (double)r->elapsed_ns / threads;
}

static void check_run(struct busy *b, const struct bench_cell *c, const struct bench_result *r,
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

static void check_cell(struct busy *b, const struct bench_cell *c, unsigned repeat)
{
	double min = 0, max = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < repeat; i++) {
		double v = c->workload->steady && c->res[i].valid ? c->workload->steady(&c->res[i])
								  : 0;

		if (v <= 0)
			continue;
		min = n && min < v ? min : v;
		max = n && max > v ? max : v;
		n++;
	}
	if (n < 2)
		return;
	b->apart += max > BUSY_SPREAD * min;
	if (!b->cells++ || max / min > b->widest) {
		b->widest = max / min;
		b->widest_cell = c;
	}
}

void busy_check(struct busy *b, const struct bench_plan *p, const struct bench_opts *o,
		unsigned ncpus)
{
	memset(b, 0, sizeof(*b));
	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned r = 0; r < o->repeat; r++)
			check_run(b, &p->cells[i], &p->cells[i].res[r], o, ncpus);
		check_cell(b, &p->cells[i], o->repeat);
	}
}

static const char *cell_text(char *buf, size_t len, const struct bench_cell *c)
{
	bool oneway = c->dir != DIR_BOTH;

	snprintf(buf, len, "%s %s%s%s, %u B", c->target->brief, c->workload->name,
		 oneway ? " " : "", oneway ? dir_names.name[c->dir] : "", c->msg_size);
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
