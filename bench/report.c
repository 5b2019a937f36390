/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table. Every figure is the median of the repetitions; a ratio is the median of the ratios
 * within each repetition, which a drift of the machine does not move.
 */
#include "report.h"

#include "cpu.h"
#include "targets.h"

#include <stdlib.h>
#include <string.h>

#define REPEAT_MAX 1000

typedef double (*metric_fn)(const struct bench_result *r);

struct spread {
	double med, min, max;
	unsigned n;
};

double result_rate(const struct bench_result *r)
{
	return r->elapsed_ns ? (double)r->messages * 1e9 / (double)r->elapsed_ns : 0;
}

double result_gbit(const struct bench_result *r)
{
	return r->elapsed_ns ? (double)r->bytes * 8 / (double)r->elapsed_ns : 0;
}

static double m_p50(const struct bench_result *r)
{
	return (double)r->rtt.p50 / 1e3;
}

static double m_p99(const struct bench_result *r)
{
	return (double)r->rtt.p99 / 1e3;
}

static double m_p999(const struct bench_result *r)
{
	return (double)r->rtt.p999 / 1e3;
}

static double m_max(const struct bench_result *r)
{
	return (double)r->rtt.max / 1e3;
}

static double m_cpu_guest(const struct bench_result *r)
{
	return (double)r->cpu_ns[ROLE_GUEST] / 1e9;
}

static double m_cpu_host(const struct bench_result *r)
{
	return (double)r->cpu_ns[ROLE_HOST] / 1e9;
}

static double m_busy_guest(const struct bench_result *r)
{
	return r->elapsed_ns ? 100.0 * (double)r->cpu_ns[ROLE_GUEST] / (double)r->elapsed_ns : 0;
}

static double m_busy_host(const struct bench_result *r)
{
	return r->elapsed_ns ? 100.0 * (double)r->cpu_ns[ROLE_HOST] / (double)r->elapsed_ns : 0;
}

static double m_rss_guest(const struct bench_result *r)
{
	return (double)r->rss_per_conn[ROLE_GUEST];
}

static double m_rss_host(const struct bench_result *r)
{
	return (double)r->rss_per_conn[ROLE_HOST];
}

/* The slowest queue as a share of the mean. */
static double slowest_queue(const struct bench_result *r, unsigned queues)
{
	uint64_t min = UINT64_MAX;

	for (unsigned i = 0; i < queues; i++)
		if (r->per_queue[i] < min)
			min = r->per_queue[i];
	return r->messages ? (double)min * queues / (double)r->messages : 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct spread spread_of(double *v, unsigned n)
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

static struct spread cell_spread(const struct bench_cell *c, unsigned repeat, metric_fn m)
{
	double v[REPEAT_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < repeat; i++)
		if (c->res[i].valid)
			v[n++] = m(&c->res[i]);
	return spread_of(v, n);
}

static double cell_med(const struct bench_cell *c, unsigned repeat, metric_fn m)
{
	return cell_spread(c, repeat, m).med;
}

/* "1.93", or "-" when there is nothing to compare with or it would be 1. */
static const char *ratio_text(char *buf, size_t len, const struct bench_plan *p,
			      const struct bench_opts *o, const struct bench_cell *c,
			      enum bench_target target, metric_fn m)
{
	const struct bench_cell *base = plan_peer(p, c, target);
	double v[REPEAT_MAX];
	unsigned n = 0;
	struct spread s;

	for (unsigned i = 0; base && base != c && i < o->repeat; i++)
		if (c->res[i].valid && base->res[i].valid && m(&base->res[i]) > 0)
			v[n++] = m(&c->res[i]) / m(&base->res[i]);
	s = spread_of(v, n);
	if (s.n == 0)
		snprintf(buf, len, "-");
	else
		snprintf(buf, len, s.med < 10 ? "%.2f" : s.med < 100 ? "%.1f" : "%.0f", s.med);
	return buf;
}

static const char *human(char *buf, size_t len, double v)
{
	if (v >= 1e6)
		snprintf(buf, len, "%.2f M", v / 1e6);
	else if (v >= 1e3)
		snprintf(buf, len, "%.1f k", v / 1e3);
	else
		snprintf(buf, len, "%.0f", v);
	return buf;
}

static const char *size_text(char *buf, size_t len, uint32_t size)
{
	if (size >= 1u << 20 && size % (1u << 20) == 0)
		snprintf(buf, len, "%u MiB", size >> 20);
	else if (size >= 1024 && size % 1024 == 0)
		snprintf(buf, len, "%u KiB", size / 1024);
	else
		snprintf(buf, len, "%u B", size);
	return buf;
}

static const char *label(char *buf, size_t len, const struct bench_cell *c)
{
	static const char *const names[] = {"zvsock", "AF_UNIX", "TCP loopback", "raw limit"};

	snprintf(buf, len, "%s %s", names[c->target], cell_how(c));
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

static void print_errors(FILE *f, const struct bench_cell *c, unsigned repeat)
{
	uint64_t n = cell_errors(c, repeat);

	if (n)
		fprintf(f, "  %llu ERRORS", (unsigned long long)n);
	fputc('\n', f);
}

static void head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	size_text(size, sizeof(size), c->msg_size);
	if (c->test == TEST_THROUGHPUT)
		fprintf(f,
			"\nThroughput, %s messages, %s\n"
			"  %-20s %-4s %9s %9s  %-17s %7s %7s %7s %15s\n",
			size,
			o->touch ? "written and verified in full"
				 : "by reference (payload not touched)",
			"", "dir", "msg/s", "Gbit/s", "[min .. max]", "xUNIX", "xTCP", "xraw",
			"CPU s g / h");
	else if (c->test == TEST_RTT)
		fprintf(f, "\nRound trip, %s, us\n  %-25s %8s %8s %8s %8s %7s %7s %7s %15s\n", size,
			"", "p50", "p99", "p99.9", "max", "xUNIX", "xTCP", "xraw", "CPU s g / h");
	else if (c->test == TEST_CONNRATE)
		fprintf(f, "\nConnect + close, %u in flight\n  %-25s %9s  %-21s %7s %7s %15s\n",
			c->in_flight, "", "conn/s", "[min .. max]", "xUNIX", "xTCP", "CPU s g / h");
	else
		fprintf(f, "\nIdle, %u open connections\n  %-25s %16s %21s\n", c->in_flight, "",
			"CPU % g / h", "bytes/conn g / h");
}

static void row_throughput(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
			   const struct bench_cell *c)
{
	struct spread g = cell_spread(c, o->repeat, result_gbit);
	char name[48], rate[24], range[40], r[3][16];

	for (int t = TGT_AF_UNIX; t <= TGT_RAW; t++)
		ratio_text(r[t - 1], sizeof(r[0]), p, o, c, (enum bench_target)t, result_gbit);
	snprintf(range, sizeof(range), "[%.2f .. %.2f]", g.min, g.max);
	fprintf(f, "  %-20s %-4s %9s %9.2f  %-17s %7s %7s %7s %7.3f %7.3f",
		label(name, sizeof(name), c), dir_name(c->dir),
		human(rate, sizeof(rate), cell_med(c, o->repeat, result_rate)), g.med, range, r[0],
		r[1], r[2], cell_med(c, o->repeat, m_cpu_guest),
		cell_med(c, o->repeat, m_cpu_host));
	if (o->queues > 1 && c->target != TGT_RAW) {
		double worst = 1;

		for (unsigned i = 0; i < o->repeat; i++)
			if (c->res[i].valid && slowest_queue(&c->res[i], o->queues) < worst)
				worst = slowest_queue(&c->res[i], o->queues);
		fprintf(f, "  slowest queue %.2f of mean", worst);
	}
	print_errors(f, c, o->repeat);
}

static void row_rtt(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		    const struct bench_cell *c)
{
	char name[48], r[3][16];

	for (int t = TGT_AF_UNIX; t <= TGT_RAW; t++)
		ratio_text(r[t - 1], sizeof(r[0]), p, o, c, (enum bench_target)t, m_p50);
	fprintf(f, "  %-25s %8.2f %8.2f %8.2f %8.1f %7s %7s %7s %7.3f %7.3f",
		label(name, sizeof(name), c), cell_med(c, o->repeat, m_p50),
		cell_med(c, o->repeat, m_p99), cell_med(c, o->repeat, m_p999),
		cell_med(c, o->repeat, m_max), r[0], r[1], r[2],
		cell_med(c, o->repeat, m_cpu_guest), cell_med(c, o->repeat, m_cpu_host));
	print_errors(f, c, o->repeat);
}

static void row_connrate(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
			 const struct bench_cell *c)
{
	struct spread g = cell_spread(c, o->repeat, result_rate);
	char name[48], rate[24], range[64], lo[24], hi[24], r[2][16];

	for (int t = TGT_AF_UNIX; t <= TGT_TCP; t++)
		ratio_text(r[t - 1], sizeof(r[0]), p, o, c, (enum bench_target)t, result_rate);
	snprintf(range, sizeof(range), "[%s .. %s]", human(lo, sizeof(lo), g.min),
		 human(hi, sizeof(hi), g.max));
	fprintf(f, "  %-25s %9s  %-21s %7s %7s %7.3f %7.3f", label(name, sizeof(name), c),
		human(rate, sizeof(rate), g.med), range, r[0], r[1],
		cell_med(c, o->repeat, m_cpu_guest), cell_med(c, o->repeat, m_cpu_host));
	print_errors(f, c, o->repeat);
}

static void row_idle(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char name[48];

	fprintf(f, "  %-25s %7.3f %8.3f %12.0f %8.0f", label(name, sizeof(name), c),
		cell_med(c, o->repeat, m_busy_guest), cell_med(c, o->repeat, m_busy_host),
		cell_med(c, o->repeat, m_rss_guest), cell_med(c, o->repeat, m_rss_host));
	print_errors(f, c, o->repeat);
}

static void print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	static const char *const cpus[] = {"", "both sides on one CPU", "one CPU each",
					   "not pinned"};
	char rx_buf[32], credit[32];

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", facts->zv_version, cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	size_text(rx_buf, sizeof(rx_buf), o->rx_buf ? o->rx_buf : 65536);
	size_text(credit, sizeof(credit), o->buf_alloc);
	fprintf(f,
		"%u queue%s, %u thread%s a side, %s, zvsock %s, %s, RX buffers %s, credit %s, "
		"batch %u\n",
		o->queues, o->queues == 1 ? "" : "s", o->threads, o->threads == 1 ? "" : "s",
		cpus[o->cpus], o->busy_poll ? "busy-polling" : "adaptive",
		o->seqpacket ? "SEQPACKET" : "STREAM", rx_buf, credit, o->batch);
	if (facts->page_size >= 2u << 20)
		fprintf(f, "buffers in hugepages of %llu MiB; ",
			(unsigned long long)(facts->page_size >> 20));
	else if (facts->page_size)
		fprintf(f, "buffers in normal pages of %llu KiB (no hugepages free); ",
			(unsigned long long)(facts->page_size >> 10));
	fprintf(f, "medians of %u runs of %.3g s each, interleaved\n", o->repeat,
		(double)o->duration_ns / 1e9);
}

void report_table(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_facts *facts)
{
	const struct bench_cell *prev = NULL;

	print_run(f, o, facts);
	for (unsigned i = 0; i < p->n; i++) {
		const struct bench_cell *c = &p->cells[i];

		if (!prev || prev->test != c->test || prev->msg_size != c->msg_size ||
		    prev->in_flight != c->in_flight)
			head(f, o, c);
		prev = c;
		if (c->test == TEST_THROUGHPUT)
			row_throughput(f, p, o, c);
		else if (c->test == TEST_RTT)
			row_rtt(f, p, o, c);
		else if (c->test == TEST_CONNRATE)
			row_connrate(f, p, o, c);
		else
			row_idle(f, o, c);
	}
	fprintf(f, "\nxUNIX, xTCP, xraw: the figure divided by that of the same repetition there "
		   "(round trips: less is better).\ng / h: guest side / host side, CPU seconds of "
		   "one run.\n");
}
