/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer_row.h"

#include "core/target.h"

static double m_cpu_other(const struct bench_result *r)
{
	return (double)r->cpu_other_ns / 1e9;
}

static double cpu_all_ns(const struct bench_result *r)
{
	return (double)(r->cpu_ns[ROLE_GUEST] + r->cpu_ns[ROLE_HOST] + r->cpu_other_ns);
}

double m_cpu_kib(const struct bench_result *r)
{
	return r->bytes ? cpu_all_ns(r) * 1024 / (double)r->bytes : 0;
}

double m_cpu_op(const struct bench_result *r)
{
	return r->messages ? cpu_all_ns(r) / 1e3 / (double)r->messages : 0;
}

const char *peer_first(char *buf, size_t len, const struct bench_opts *o)
{
	snprintf(buf, len, "x%.12s", o->peers[0].name);
	return buf;
}

const char *peer_label(const struct bench_opts *o, const struct bench_cell *c)
{
	return c->target->io == IO_PEER ? o->peers[c->peer].name : c->target->label;
}

/* AF_UNIX, the only one that peers are compared with but for each other. */
static const struct bench_cell *beside(const struct bench_plan *p, const struct bench_cell *c)
{
	for (unsigned i = 0; i < ntargets; i++)
		if (targets[i]->ratio && plan_beside(p, c, targets[i]))
			return plan_beside(p, c, targets[i]);
	return NULL;
}

void peer_row_end(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_cell *c, metric_fn figure, metric_fn cost)
{
	char unix_ratio[16], first_ratio[16], other[16] = "-";
	double cpu = cell_med(c, o->repeat, m_cpu_other);

	ratio_text(unix_ratio, sizeof(unix_ratio), o, c, beside(p, c), figure);
	ratio_text(first_ratio, sizeof(first_ratio), o, c,
		   c->target->io == IO_PEER ? plan_first_peer(p, c) : NULL, figure);
	if (cpu > 0)
		snprintf(other, sizeof(other), "%.3f", cpu);
	fprintf(f, " %7s %13s", unix_ratio, first_ratio);
	print_cpu(f, c, o->repeat);
	fprintf(f, " %7s %9.2f", other, cell_med(c, o->repeat, cost));
	print_errors(f, c, o->repeat);
}
