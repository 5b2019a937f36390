/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock-bench: runs all cells of the plan, --repeat times, and reports. core/bench.h describes the
 * parts of the program.
 */
#include "command.h"
#include "core/live.h"
#include "core/plan.h"
#include "core/run.h"
#include "core/target.h"
#include "measure/cpu.h"
#include "opts.h"
#include "report/baseline.h"
#include "report/busy.h"
#include "report/iperf.h"
#include "report/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct bench {
	const struct bench_opts *o;
	struct bench_plan plan;
	struct bench_facts facts;
	struct bench_run run;
	FILE *json;	      /* NULL: none */
	json_t *baseline;     /* the earlier run; NULL: none */
	struct live_run live; /* --intervals: of the last transfer */
	long when;	      /* it began, seconds since 1970 */
};

/* ---- a transfer that is looked at while it runs ---- */

static FILE *line_file; /* live_begin() takes a plain function */

static void print_line(const struct live_interval *i)
{
	iperf_line(line_file, i);
}

static int begin_live(struct bench *b, const struct bench_cell *c)
{
	char what[RUN_CELL_LEN];
	int rc;

	line_file = b->json == stdout ? stderr : stdout;
	if (!b->o->iperf) {
		fprintf(line_file, "%s%s\n", b->run.tty ? "\r\033[K" : "",
			run_cell_text(what, sizeof(what), b->o, c));
		iperf_head(line_file);
		(void)fflush(line_file); /* before there are children with a copy of it */
	}
	b->when = (long)time(NULL);
	rc = live_begin(b->o->intervals, (double)b->o->duration_ns / 1e9,
			b->o->iperf ? NULL : print_line);
	if (rc < 0)
		snprintf(b->run.err->text, sizeof(b->run.err->text), "cannot look at the transfer");
	return rc;
}

/* bench_run.cell */
static int run_cell(struct bench_run *r, const struct bench_cell *c, struct bench_result *res)
{
	struct bench *b = r->arg;
	int rc;

	if (b->o->intervals <= 0 || !c->workload->oneway || io_is_bare(c->target->io))
		return run_on_target(r, c, res);
	rc = begin_live(b, c);
	if (rc < 0)
		return rc;
	rc = run_on_target(r, c, res);
	free(b->live.at);
	b->live = live_end();
	return rc;
}

static int start(struct bench *b)
{
	int rc;

	/* Before the run: a minute later is late for "permission denied". */
	if (b->o->json)
		b->json = strcmp(b->o->json, "-") == 0 ? stdout : fopen(b->o->json, "we");
	if (b->o->json && !b->json) {
		rc = -errno;
		fprintf(stderr, "vsock-bench: cannot write %s: %s\n", b->o->json, strerror(-rc));
		return rc;
	}
	if (b->o->baseline) {
		char why[300];

		b->baseline = baseline_load(b->o->baseline, why, sizeof(why));
		if (!b->baseline) {
			fprintf(stderr, "vsock-bench: --baseline: %s\n", why);
			return -EINVAL;
		}
	}
	return 0;
}

/* 0, or -ERANGE when a figure is below what it may fall to. */
static int beside_baseline(struct bench *b)
{
	FILE *f = b->json == stdout ? stderr : stdout;
	json_t *now = report_object(&b->plan, b->o, &b->facts);
	struct baseline r = baseline_compare(f, b->baseline, now, b->o->factor);

	json_decref(now);
	(void)fflush(f);
	if (r.cells == 0)
		fprintf(stderr,
			"vsock-bench: %s has no row of this run: was it run with other "
			"options?\n",
			b->o->baseline);
	else if (r.worse)
		fprintf(stderr, "vsock-bench: %u of %u rows are below %.2f of %s\n", r.worse,
			r.cells, b->o->factor, b->o->baseline);
	return r.worse || r.cells == 0 ? -ERANGE : 0;
}

static int report_iperf(const struct bench *b)
{
	const struct bench_cell *c = &b->plan.cells[0];
	const char *gone = b->facts.gone[target_index(c->target)];
	json_t *j = iperf_object(c, &c->res[0], b->o, &b->live, b->when, gone);
	int rc = 0;

	if (json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0 ||
	    putchar('\n') == EOF || fflush(stdout) != 0)
		rc = -EIO;
	json_decref(j);
	return rc;
}

static int report(struct bench *b)
{
	uint64_t errors = report_errors(&b->plan, b->o);
	struct busy busy;
	int rc = 0;

	if (b->o->iperf)
		rc = report_iperf(b);
	else if (b->json != stdout)
		report_table(stdout, &b->plan, b->o, &b->facts);
	if (b->json)
		rc = report_json(b->json, &b->plan, b->o, &b->facts);
	if (b->json && b->json != stdout && fclose(b->json) != 0)
		rc = -errno;
	if (b->baseline && rc == 0)
		rc = beside_baseline(b);
	(void)fflush(stdout); /* one file may be both: the report first, then the warnings */
	busy_check(&busy, &b->plan, b->o, cpu_count());
	busy_warn(stderr, &busy);
	if (rc < 0 && rc != -ERANGE)
		fprintf(stderr, "vsock-bench: cannot write %s: %s\n",
			b->o->json ? b->o->json : "the report", strerror(-rc));
	if (errors) {
		fprintf(stderr, "vsock-bench: %llu error%s: data was lost, doubled or wrong\n",
			(unsigned long long)errors, errors == 1 ? "" : "s");
		rc = -EIO;
	}
	run_summary(&b->run);
	return rc < 0 || !b->run.failed ? rc : -EIO;
}

/* Each target of --target is absent, or none can run what was asked for. */
static int nothing_to_do(const struct bench *b)
{
	fprintf(stderr, "vsock-bench: nothing can be measured:\n");
	for (unsigned i = 0; i < ntargets; i++)
		if (b->o->targets >> i & 1) {
			const char *why = target_absent(targets[i], b->o);

			fprintf(stderr, "  %s: %s\n", target_id(targets[i]),
				why ? why : "does not run what --test names");
		}
	return -ENODEV;
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	int rc;

	command_run(argc, argv);
	cpu_init();
	b.o = opts_parse(argc, argv);
	cpu_clock_init();
	proc_catch_signals();
	b.run = (struct bench_run){.o = b.o,
				   .plan = &b.plan,
				   .facts = &b.facts,
				   .err = proc_shared(sizeof(*b.run.err)),
				   .log = stderr,
				   .tty = isatty(STDERR_FILENO) == 1,
				   .cell = run_cell,
				   .arg = &b};
	if (!b.run.err) {
		fprintf(stderr, "vsock-bench: no memory\n");
		return 1;
	}
	if (b.o->server_uri) {
		rc = target_of_uri(b.o->server_uri)->serve(b.o, b.run.err);
		if (rc < 0)
			fprintf(stderr, "vsock-bench: %s\n", b.run.err->text);
		return rc < 0;
	}
	rc = plan_make(&b.plan, b.o);
	if (b.o->iperf)
		plan_first(&b.plan);
	if (rc == 0 && b.o->intervals > 0)
		rc = live_init();
	if (rc < 0)
		fprintf(stderr, "vsock-bench: no memory for the results\n");
	else if (b.plan.n == 0)
		rc = nothing_to_do(&b);
	else
		rc = start(&b);
	if (rc == 0)
		rc = run_all(&b.run);
	if (rc == 0)
		rc = report(&b);
	json_decref(b.baseline);
	free(b.live.at);
	plan_free(&b.plan);
	proc_unshare(b.run.err, sizeof(*b.run.err));
	return rc < 0;
}
