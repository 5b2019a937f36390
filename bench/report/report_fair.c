/* SPDX-License-Identifier: BSD-3-Clause */
/* --test fairness: each row beside what it is to be compared with. */
#include "report.h"

#include "stats.h"

static double m_slowest(const struct bench_result *r)
{
	return r->fair.slowest * 1e3;
}

static double m_mean(const struct bench_result *r)
{
	return r->fair.mean * 1e3;
}

static double m_share(const struct bench_result *r)
{
	return r->fair.mean > 0 ? r->fair.slowest / r->fair.mean : 0;
}

/* The same connections, or pings, without the one that disturbs them. */
static const struct bench_cell *undisturbed(const struct bench_plan *p, const struct bench_cell *c)
{
	enum bench_scene want = c->scene == SCENE_HOLDS || c->scene == SCENE_RESERVES ? SCENE_ALONE
				: c->scene == SCENE_PING_BULK			      ? SCENE_PING
										      : 0;

	for (unsigned i = 0; want && i < p->n; i++)
		if (p->cells[i].test == TEST_FAIRNESS && p->cells[i].scene == want &&
		    (want == SCENE_PING || p->cells[i].dir == c->dir))
			return &p->cells[i];
	return NULL;
}

static const char *what(const struct bench_cell *c)
{
	bool g2h = c->dir == DIR_G2H;

	switch (c->scene) {
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

void head_fairness(FILE *f, const struct bench_opts *o)
{
	char size[32];

	size_text(size, sizeof(size), o->sizes[0]);
	fprintf(f,
		"\nFairness on one queue, transfers of 4 KiB messages, %s, round trips of %s\n"
		"  %-40s %-4s %6s %9s %9s %9s %8s %7s %15s\n",
		o->zero_copy ? "zero-copy" : "copying", size, "", "dir", "conns", "slowest", "mean",
		"slow/mean", "p99 us", "xalone", "CPU s g / h");
}

void row_fairness(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_cell *c)
{
	bool ping = c->scene >= SCENE_PING;
	char ratio[16], share[32] = "-", slow[24] = "-", mean[24] = "-", p99[24] = "-";

	ratio_text(ratio, sizeof(ratio), o, c, undisturbed(p, c), ping ? m_p99 : m_slowest);
	if (ping) {
		snprintf(p99, sizeof(p99), "%.2f", cell_med(c, o->repeat, m_p99));
	} else {
		snprintf(slow, sizeof(slow), "%.1f", cell_med(c, o->repeat, m_slowest));
		snprintf(mean, sizeof(mean), "%.1f", cell_med(c, o->repeat, m_mean));
		snprintf(share, sizeof(share), "%.2f", cell_med(c, o->repeat, m_share));
	}
	fprintf(f, "  %-40s %-4s %6u %9s %9s %9s %8s %7s %7.3f %7.3f", what(c), dir_name(c->dir),
		c->in_flight, slow, mean, share, p99, ratio, cell_med(c, o->repeat, m_cpu_guest),
		cell_med(c, o->repeat, m_cpu_host));
	print_errors(f, c, o->repeat);
}
