/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table. Every figure is the median of the repetitions; a ratio is the median of the ratios
 * within each repetition, which a drift of the machine does not move.
 */
#include "report.h"

#include "measure/cpu.h"
#include "stats.h"
#include "target/targets.h"

#include <string.h>

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

static const char *label(char *buf, size_t len, const struct bench_cell *c)
{
	static const char *const names[] = {"zvsock", "AF_UNIX", "TCP loopback", "raw limit"};

	snprintf(buf, len, "%s %s", names[c->target], cell_how(c));
	return buf;
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
	else if (c->test == TEST_FAIRNESS)
		head_fairness(f, o);
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
		ratio_text(r[t - 1], sizeof(r[0]), o, c, plan_peer(p, c, (enum bench_target)t),
			   result_gbit);
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
		ratio_text(r[t - 1], sizeof(r[0]), o, c, plan_peer(p, c, (enum bench_target)t),
			   m_p50);
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
		ratio_text(r[t - 1], sizeof(r[0]), o, c, plan_peer(p, c, (enum bench_target)t),
			   result_rate);
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

		if (!prev || prev->test != c->test ||
		    (c->test != TEST_FAIRNESS &&
		     (prev->msg_size != c->msg_size || prev->in_flight != c->in_flight)))
			head(f, o, c);
		prev = c;
		if (c->test == TEST_THROUGHPUT)
			row_throughput(f, p, o, c);
		else if (c->test == TEST_RTT)
			row_rtt(f, p, o, c);
		else if (c->test == TEST_CONNRATE)
			row_connrate(f, p, o, c);
		else if (c->test == TEST_IDLE)
			row_idle(f, o, c);
		else
			row_fairness(f, p, o, c);
	}
	fprintf(f, "\nxUNIX, xTCP, xraw: the figure divided by that of the same repetition there "
		   "(round trips: less is better).\ng / h: guest side / host side, CPU seconds of "
		   "one run.\n");
}
