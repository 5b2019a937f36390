/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of foreign backends: all of them beside AF_UNIX and beside the first one. */
#include "measure/cpu.h"
#include "report.h"
#include "stats.h"

#include <string.h>

static double m_cpu_daemon(const struct bench_result *r)
{
	return (double)r->cpu_daemon_ns / 1e9;
}

static double cpu_all_ns(const struct bench_result *r)
{
	return (double)(r->cpu_ns[ROLE_GUEST] + r->cpu_ns[ROLE_HOST] + r->cpu_daemon_ns);
}

static double m_cpu_kib(const struct bench_result *r)
{
	return r->bytes ? cpu_all_ns(r) * 1024 / (double)r->bytes : 0;
}

static double m_cpu_op(const struct bench_result *r)
{
	return r->messages ? cpu_all_ns(r) / 1e3 / (double)r->messages : 0;
}

static const char *peer_label(const struct bench_opts *o, const struct bench_cell *c)
{
	return c->target == TGT_PEER ? o->peers[c->peer].name : "AF_UNIX";
}

static void head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32], first[32];

	size_text(size, sizeof(size), c->msg_size);
	snprintf(first, sizeof(first), "x%.12s", o->peers[0].name);
	if (c->test == TEST_THROUGHPUT)
		fprintf(f,
			"\nThroughput, %s messages, %s\n"
			"  %-23s %-4s %9s %9s  %-17s %7s %13s %23s %9s\n",
			size,
			o->touch ? "written and verified in full"
				 : "by reference (payload not touched)",
			"", "dir", "msg/s", "Gbit/s", "[min .. max]", "xUNIX", first,
			"CPU s g / h / b", "ns/KiB");
	else if (c->test == TEST_RTT)
		fprintf(f, "\nRound trip, %s, us\n  %-23s %8s %8s %8s %10s %12s %13s %23s %9s\n",
			size, "", "p50", "p99", "p99.9", "max", "xUNIX", first, "CPU s g / h / b",
			"us/trip");
	else
		fprintf(f,
			"\nConnect + close, %u in flight\n"
			"  %-23s %-4s %9s  %-27s %7s %13s %23s %9s\n",
			c->in_flight, "", "by", "conn/s", "[min .. max]", "xUNIX", first,
			"CPU s g / h / b", "us/conn");
}

/* The columns that all rows end with. */
static void row_end(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		    const struct bench_cell *c, metric_fn figure, metric_fn cost)
{
	char unix_ratio[16], first_ratio[16], daemon[16] = "-";
	double cpu = cell_med(c, o->repeat, m_cpu_daemon);

	ratio_text(unix_ratio, sizeof(unix_ratio), o, c, plan_peer(p, c, TGT_AF_UNIX), figure);
	ratio_text(first_ratio, sizeof(first_ratio), o, c,
		   c->target == TGT_PEER ? plan_first_peer(p, c) : NULL, figure);
	if (cpu > 0)
		snprintf(daemon, sizeof(daemon), "%.3f", cpu);
	fprintf(f, " %7s %13s %7.3f %7.3f %7s %9.2f", unix_ratio, first_ratio,
		cell_med(c, o->repeat, m_cpu_guest), cell_med(c, o->repeat, m_cpu_host), daemon,
		cell_med(c, o->repeat, cost));
	print_errors(f, c, o->repeat);
}

static void row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		const struct bench_cell *c)
{
	static const char *const by[] = {"", "g", "h", "g"};
	char rate[24], lo[24], hi[24], range[64];
	struct spread s;

	fprintf(f, "  %-23s", peer_label(o, c));
	if (c->test == TEST_RTT) {
		fprintf(f, " %8.2f %8.2f %8.2f %10.1f     ", cell_med(c, o->repeat, m_p50),
			cell_med(c, o->repeat, m_p99), cell_med(c, o->repeat, m_p999),
			cell_med(c, o->repeat, m_max));
		row_end(f, p, o, c, m_p50, m_cpu_op);
		return;
	}
	s = cell_spread(c, o->repeat, c->test == TEST_THROUGHPUT ? result_gbit : result_rate);
	human(rate, sizeof(rate), cell_med(c, o->repeat, result_rate));
	if (c->test == TEST_THROUGHPUT) {
		snprintf(range, sizeof(range), "[%.2f .. %.2f]", s.min, s.max);
		fprintf(f, " %-4s %9s %9.2f  %-17s", dir_name(c->dir), rate, s.med, range);
		row_end(f, p, o, c, result_gbit, m_cpu_kib);
		return;
	}
	snprintf(range, sizeof(range), "[%s .. %s]", human(lo, sizeof(lo), s.min),
		 human(hi, sizeof(hi), s.max));
	fprintf(f, " %-4s %9s  %-27s", by[c->dir], rate, range);
	row_end(f, p, o, c, result_rate, m_cpu_op);
}

static void print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	static const char *const cpus[] = {"", "all three on one CPU", "", "not pinned"};
	static const char *const places[] = {
		[BACKEND_HOST] = "guest side on one CPU, host program and backend on another",
		[BACKEND_GUEST] = "guest side and backend on one CPU, host program on another",
		[BACKEND_ALONE] =
			"backend alone on one CPU, guest side and host program on another"};
	char rx_buf[32], credit[32];

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", facts->zv_version, cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	size_text(rx_buf, sizeof(rx_buf), o->rx_buf ? o->rx_buf : 65536);
	size_text(credit, sizeof(credit), o->buf_alloc);
	fprintf(f, "%s, guest side %s, %s calls, RX buffers %s, credit %s, batch %u\n",
		o->cpus == CPUS_2 ? places[o->backend] : cpus[o->cpus],
		o->busy_poll ? "busy-polling" : "adaptive", o->zero_copy ? "zero-copy" : "copying",
		rx_buf, credit, o->batch);
	for (unsigned i = 0; i < o->npeers; i++)
		fprintf(f, "%s: process %d, %s%s\n", o->peers[i].name, facts->peers[i].pid,
			facts->peers[i].zvsock ? "a zvsock backend" : "plain VIRTIO",
			o->cpus == CPUS_FREE || facts->peers[i].pinned
				? ""
				: ", NOT PINNED (not permitted, or not a process of this machine)");
	fprintf(f, "medians of %u runs of %.3g s each, interleaved\n", o->repeat,
		(double)o->duration_ns / 1e9);
}

void report_peers(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
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
		row(f, p, o, c);
	}
	fprintf(f,
		"\nxUNIX, x%s: the figure divided by that of the same repetition there (round "
		"trips: less is better).\ng / h / b: guest side / host program / backend, CPU "
		"seconds of one run; the last column is the CPU time of all three.\n",
		o->peers[0].name);
}
