/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table. Every figure is the median of the repetitions. A ratio is the median of the ratios
 * within each repetition, which a drift of the machine does not change. The rows come from the
 * workloads, the lines above and below the tables from the target that is measured.
 */
#include "core/target.h"
#include "measure/cpu.h"
#include "peer_row.h"
#include "report.h"

#include <zvsock.h>

static void head_of_targets(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	const char *sep = "";

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", zv_version(), cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	for (unsigned i = 0; i < ntargets; i++)
		if (!target_absent(targets[i], o) && !facts->gone[i][0]) {
			fprintf(f, "%s%s", sep, target_id(targets[i]));
			sep = ", ";
		}
	fprintf(f, "\n%u queue%s, --cpus %s, %s; medians of %u runs of %.3g s each, interleaved\n",
		o->queues, o->queues == 1 ? "" : "s", cpus_names.name[o->cpus], bench_polling(o),
		o->repeat, (double)o->duration_ns / 1e9);
}

/* In the place of a row, or below that of the runs before. */
static void failed_row(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char name[48] = "", when[32] = "";

	if (cell_ran(c, o->repeat))
		snprintf(when, sizeof(when), " in run %u of %u", c->failed_run + 1, o->repeat);
	else if (c->target->io == IO_PEER)
		snprintf(name, sizeof(name), "%s", peer_label(o, c));
	else
		cell_label(name, sizeof(name), c);
	fprintf(f, "  %-25s %-4s FAILED%s: %s\n", name,
		c->workload->oneway && name[0] ? dir_names.name[c->dir] : "", when, c->failed);
}

/* Targets without --target, where the others are not listed. */
static void given_up(FILE *f, const struct bench_facts *facts)
{
	for (unsigned i = 0; i < ntargets; i++)
		if (facts->gone[i][0])
			fprintf(f, "absent: %s: %s\n", target_id(targets[i]), facts->gone[i]);
}

/* Never silently dropped: what was asked for and is not there. */
static void foot_of_targets(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	fputs("\ng2h: guest to host; h2g: host to guest. g / h: guest side / host side, CPU "
	      "seconds of one run; what a program between "
	      "them "
	      "uses is in the JSON.\n",
	      f);
	for (unsigned i = 0; i < ntargets; i++) {
		const struct target *t = targets[i];
		const char *why = target_absent(t, o);

		if (!(o->targets >> i & 1) || (!why && !facts->gone[i][0]))
			continue;
		fprintf(f, "absent: %s: %s%s%s\n", target_id(t), why ? why : facts->gone[i],
			why && t->get ? "; to get it: " : "", why && t->get ? t->get : "");
	}
}

void report_table(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_facts *facts)
{
	const struct target *t = target_measured(o);
	const struct bench_cell *prev = NULL;

	if (o->targets)
		head_of_targets(f, o, facts);
	else
		t->print_run(f, o, facts);
	for (unsigned i = 0; i < p->n; i++) {
		const struct bench_cell *c = &p->cells[i];
		const struct workload *wl = c->workload;
		const struct workload_table *table =
			t && t->io == IO_PEER && !o->targets ? &wl->peer_table : &wl->table;

		if (!cell_ran(c, o->repeat) && !c->failed[0])
			continue;
		if (!prev || prev->workload != wl ||
		    (!wl->one_head &&
		     (prev->msg_size != c->msg_size || prev->in_flight != c->in_flight)))
			table->head(f, o, c);
		prev = c;
		if (cell_ran(c, o->repeat))
			table->row(f, p, o, c);
		if (c->failed[0])
			failed_row(f, o, c);
	}
	if (o->targets) {
		foot_of_targets(f, o, facts);
	} else {
		t->print_foot(f, o);
		given_up(f, facts);
	}
}
