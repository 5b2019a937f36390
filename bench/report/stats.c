/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats.h"

#include "core/target.h"
#include "report.h"

#include <math.h>
#include <stdlib.h>

#define REPEAT_MAX 1000

double m_p50(const struct bench_result *r)
{
	return (double)r->rtt.p50 / 1e3;
}

double m_p99(const struct bench_result *r)
{
	return (double)r->rtt.p99 / 1e3;
}

double m_p999(const struct bench_result *r)
{
	return (double)r->rtt.p999 / 1e3;
}

double m_max(const struct bench_result *r)
{
	return (double)r->rtt.max / 1e3;
}

double m_cpu_guest(const struct bench_result *r)
{
	return (double)r->cpu_ns[ROLE_GUEST] / 1e9;
}

double m_cpu_host(const struct bench_result *r)
{
	return (double)r->cpu_ns[ROLE_HOST] / 1e9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread values_spread(double *v, unsigned n)
{
	struct spread s = {.n = n};

	if (n == 0)
		return s;
	qsort(v, n, sizeof(*v), by_value);
	s.med = n & 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
	s.min = v[0];
	s.max = v[n - 1];
	return s;
}

struct spread cell_spread(const struct bench_cell *c, unsigned repeat, metric_fn m)
{
	double v[REPEAT_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < repeat; i++)
		if (c->res[i].valid && !isnan(m(&c->res[i])))
			v[n++] = m(&c->res[i]);
	return values_spread(v, n);
}

double cell_med(const struct bench_cell *c, unsigned repeat, metric_fn m)
{
	return cell_spread(c, repeat, m).med;
}

const char *med_text(char *buf, size_t len, const struct bench_cell *c, unsigned repeat,
		     metric_fn m, int decimals)
{
	struct spread s = cell_spread(c, repeat, m);

	if (s.n == 0)
		snprintf(buf, len, "-");
	else
		snprintf(buf, len, "%.*f", decimals, s.med);
	return buf;
}

const char *ratio_text(char *buf, size_t len, const struct bench_opts *o,
		       const struct bench_cell *c, const struct bench_cell *base, metric_fn m)
{
	double v[REPEAT_MAX];
	unsigned n = 0;
	struct spread s;

	for (unsigned i = 0; base && base != c && i < o->repeat; i++)
		if (c->res[i].valid && base->res[i].valid && m(&base->res[i]) > 0 &&
		    !isnan(m(&c->res[i])))
			v[n++] = m(&c->res[i]) / m(&base->res[i]);
	s = values_spread(v, n);
	if (s.n == 0)
		snprintf(buf, len, "-");
	else
		snprintf(buf, len, s.med < 10 ? "%.2f" : s.med < 100 ? "%.1f" : "%.0f", s.med);
	return buf;
}

void print_ratio_heads(FILE *f, const struct bench_opts *o, const struct workload *wl)
{
	for (unsigned i = 0; i < ntargets; i++)
		if (target_has_column(targets[i], o) && workload_can(wl, targets[i]->io))
			fprintf(f, " %7s", targets[i]->ratio);
}

void print_ratios(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_cell *c, metric_fn m)
{
	char text[16];

	for (unsigned i = 0; i < ntargets; i++)
		if (target_has_column(targets[i], o) && workload_can(c->workload, targets[i]->io))
			fprintf(f, " %7s",
				ratio_text(text, sizeof(text), o, c, plan_beside(p, c, targets[i]),
					   m));
}

const char *cell_label(char *buf, size_t len, const struct bench_cell *c)
{
	snprintf(buf, len, "%s %s", c->target->label, cell_how(c));
	return buf;
}

const char *human(char *buf, size_t len, double v)
{
	if (v >= 1e6)
		snprintf(buf, len, "%.2f M", v / 1e6);
	else if (v >= 1e3)
		snprintf(buf, len, "%.1f k", v / 1e3);
	else
		snprintf(buf, len, "%.0f", v);
	return buf;
}

const char *figure_text(char *buf, size_t len, double v)
{
	if (v >= 1000)
		return human(buf, len, v);
	snprintf(buf, len, v < 10 ? "%.3f" : v < 100 ? "%.2f" : "%.1f", v);
	return buf;
}

const char *size_text(char *buf, size_t len, uint32_t size)
{
	if (size >= 1u << 20 && size % (1u << 20) == 0)
		snprintf(buf, len, "%u MiB", size >> 20);
	else if (size >= 1024 && size % 1024 == 0)
		snprintf(buf, len, "%u KiB", size / 1024);
	else
		snprintf(buf, len, "%u B", size);
	return buf;
}

static uint64_t cell_errors(const struct bench_cell *c, unsigned repeat)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < repeat; i++)
		n += c->res[i].errors;
	return n;
}

uint64_t report_errors(const struct bench_plan *p, const struct bench_opts *o)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < p->n; i++)
		n += cell_errors(&p->cells[i], o->repeat);
	return n;
}

void print_cpu(FILE *f, const struct bench_cell *c, unsigned repeat)
{
	fprintf(f, " %7.3f %7.3f", cell_med(c, repeat, m_cpu_guest),
		cell_med(c, repeat, m_cpu_host));
}

void print_errors(FILE *f, const struct bench_cell *c, unsigned repeat)
{
	uint64_t n = cell_errors(c, repeat);

	if (n)
		fprintf(f, "  %llu ERRORS", (unsigned long long)n);
	fputc('\n', f);
}
