/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table. Every figure is the median of the repetitions; a ratio is the median of the ratios
 * within each repetition, which a drift of the machine does not move. Rows are the workloads' own,
 * the lines above and below those of the target that is measured.
 */
#include "core/target.h"
#include "report.h"

void report_table(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_facts *facts)
{
	const struct target *t = target_measured(o);
	const struct bench_cell *prev = NULL;

	t->print_run(f, o, facts);
	for (unsigned i = 0; i < p->n; i++) {
		const struct bench_cell *c = &p->cells[i];
		const struct workload *wl = c->workload;
		const struct workload_table *table =
			t->io == IO_PEER ? &wl->peer_table : &wl->table;

		if (!prev || prev->workload != wl ||
		    (!wl->one_head &&
		     (prev->msg_size != c->msg_size || prev->in_flight != c->in_flight)))
			table->head(f, o, c);
		prev = c;
		table->row(f, p, o, c);
	}
	t->print_foot(f, o);
}
