/* SPDX-License-Identifier: BSD-3-Clause */
#include "run.h"

#include "measure/proc.h"
#include "target.h"
#include "workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAMED 4u /* cells in the line at the end */

const char *run_cell_text(char *buf, size_t len, const struct bench_opts *o,
			  const struct bench_cell *c)
{
	const char *how = cell_how(c);
	/* Its id: several targets have the name zvsock. */
	const char *who = c->target->io == IO_PEER ? o->peers[c->peer].name : target_id(c->target);

	snprintf(buf, len, "%s %s%s%s", who, c->workload->name, how[0] ? " " : "", how);
	if (c->msg_size)
		snprintf(buf + strlen(buf), len - strlen(buf), ", %u B", c->msg_size);
	if (c->workload->oneway)
		snprintf(buf + strlen(buf), len - strlen(buf), ", %s", dir_names.name[c->dir]);
	if (c->in_flight)
		snprintf(buf + strlen(buf), len - strlen(buf), ", %u connection%s", c->in_flight,
			 c->in_flight == 1 ? "" : "s");
	return buf;
}

static const char *reason(const struct bench_run *r, int rc)
{
	return r->err->text[0] ? r->err->text : strerror(-rc);
}

static void clear_line(const struct bench_run *r)
{
	if (r->tty)
		fprintf(r->log, "\r\033[K");
}

static int stopped(const struct bench_run *r)
{
	clear_line(r);
	fprintf(r->log, "vsock-bench: stopped by a signal\n");
	return -EINTR;
}

/* ---- targets ---- */

static char *gone_of(const struct bench_run *r, const struct target *t)
{
	return r->facts->gone[target_index(t)];
}

static void stop_target(struct bench_run *r, const struct target *t)
{
	void **state = &r->state[target_index(t)];

	if (*state)
		t->stop(*state);
	*state = NULL;
}

/* 0, also when it is given up; -EINTR. */
static int start_target(struct bench_run *r, const struct target *t)
{
	int rc;

	if (!t->start)
		return 0;
	r->err->text[0] = '\0';
	rc = t->start(&r->state[target_index(t)], r->o, r->facts, r->err);
	if (rc >= 0)
		return 0;
	if (rc == -EINTR || proc_interrupted)
		return stopped(r);
	snprintf(gone_of(r, t), BENCH_GONE_LEN, "%s", reason(r, rc));
	clear_line(r);
	fprintf(r->log, "vsock-bench: %s: %s\n", target_id(t), gone_of(r, t));
	r->failed = true;
	return 0;
}

static int start_targets(struct bench_run *r)
{
	int rc = 0;

	for (unsigned i = 0; i < ntargets && rc == 0; i++)
		if (!target_absent(targets[i], r->o))
			rc = start_target(r, targets[i]);
	return rc;
}

/* The others are only what it is compared with. With --target each stands for itself. */
static bool measured_started(const struct bench_run *r)
{
	for (unsigned i = 0; i < ntargets; i++)
		if (!targets[i]->ratio && !target_absent(targets[i], r->o) && !r->facts->gone[i][0])
			return true;
	return r->o->targets != 0;
}

/* ---- cells ---- */

int run_on_target(struct bench_run *r, const struct bench_cell *c, struct bench_result *res)
{
	return c->target->run(r->state[target_index(c->target)], r->o, c, res, r->err);
}

static struct run_part *part_of(struct bench_run *r, const struct bench_cell *c)
{
	return &r->part[target_index(c->target)][c->target->restart ? c->peer : 0];
}

static void mark_failed(struct bench_run *r, struct bench_cell *c, unsigned nth, const char *why)
{
	snprintf(c->failed, sizeof(c->failed), "%s", why);
	c->failed_run = nth;
	c->res[nth] = (struct bench_result){0};
	r->failed = true;
	r->failed_cells++;
}

static void give_up(struct bench_run *r, const struct target *t, const char *why)
{
	stop_target(r, t);
	snprintf(gone_of(r, t), BENCH_GONE_LEN, "%u failures in a row, the last: %.300s",
		 RUN_FAILURES, why);
	fprintf(r->log, "vsock-bench: %s: given up after %u failures in a row\n", target_id(t),
		RUN_FAILURES);
}

/* The peer of @c, which has failed, is started anew or given up. 0 or -EINTR. */
static int restart_peer(struct bench_run *r, const struct bench_cell *c)
{
	struct run_part *part = part_of(r, c);
	int rc;

	if (part->failures == RUN_FAILURES) {
		snprintf(part->gone, sizeof(part->gone), "%u failures in a row, the last: %.300s",
			 RUN_FAILURES, c->failed);
	} else {
		r->err->text[0] = '\0';
		rc = c->target->restart(r->state[target_index(c->target)], r->o, c, r->facts,
					r->err);
		if (rc >= 0)
			return 0;
		if (rc == -EINTR || proc_interrupted)
			return stopped(r);
		snprintf(part->gone, sizeof(part->gone), "not started again: %.300s",
			 reason(r, rc));
	}
	clear_line(r);
	fprintf(r->log, "vsock-bench: %s: given up: %s\n", r->o->peers[c->peer].name, part->gone);
	return 0;
}

/* 0 or -EINTR. */
static int cell_failed(struct bench_run *r, struct bench_cell *c, unsigned nth, const char *what,
		       int rc)
{
	unsigned *failures = &part_of(r, c)->failures;

	mark_failed(r, c, nth, reason(r, rc));
	clear_line(r);
	fprintf(r->log, "vsock-bench: %s: %s%s\n", what, c->failed,
		rc == -ETIMEDOUT ? "; try again when the machine is less busy" : "");
	++*failures;
	if (c->target->restart)
		return restart_peer(r, c);
	if (*failures == RUN_FAILURES) {
		give_up(r, c->target, c->failed);
		return 0;
	}
	if (!c->target->start)
		return 0;
	stop_target(r, c->target);
	return start_target(r, c->target);
}

/* 0 or -EINTR. */
static int run_once(struct bench_run *r, unsigned nth, unsigned i)
{
	struct bench_cell *c = &r->plan->cells[i];
	char what[RUN_CELL_LEN];
	int rc;

	if (c->failed[0] || gone_of(r, c->target)[0])
		return 0;
	if (part_of(r, c)->gone[0]) {
		mark_failed(r, c, nth, part_of(r, c)->gone);
		return 0;
	}
	run_cell_text(what, sizeof(what), r->o, c);
	if (r->tty)
		fprintf(r->log, "\r\033[K[%u/%u] %s", nth * r->plan->n + i + 1,
			r->plan->n * r->o->repeat, what);
	r->err->text[0] = '\0';
	rc = proc_interrupted ? -EINTR : r->cell(r, c, &c->res[nth]);
	if (rc == -EINTR || (rc < 0 && proc_interrupted))
		return stopped(r);
	if (rc < 0)
		return cell_failed(r, c, nth, what, rc);
	part_of(r, c)->failures = 0;
	return 0;
}

int run_all(struct bench_run *r)
{
	int rc = start_targets(r);

	if (rc == 0 && !measured_started(r))
		rc = -ENODEV;
	/* A B A B: the whole plan, then the whole plan again. */
	for (unsigned nth = 0; nth < r->o->repeat && rc == 0; nth++)
		for (unsigned i = 0; i < r->plan->n && rc == 0; i++)
			rc = run_once(r, nth, i);
	if (rc == 0)
		clear_line(r);
	for (unsigned i = ntargets; i-- > 0;)
		stop_target(r, targets[i]);
	return rc;
}

void run_summary(const struct bench_run *r)
{
	unsigned left_out = 0, named = 0;
	char what[RUN_CELL_LEN];

	for (unsigned i = 0; i < r->plan->n; i++) {
		const struct bench_cell *c = &r->plan->cells[i];

		left_out += !c->failed[0] && gone_of(r, c->target)[0];
	}
	if (!r->failed_cells)
		return;
	fprintf(r->log, "vsock-bench: %u of %u cells failed", r->failed_cells, r->plan->n);
	for (unsigned i = 0; i < r->plan->n && named < NAMED; i++)
		if (r->plan->cells[i].failed[0])
			fprintf(r->log, "%s%s", named++ ? "; " : ": ",
				run_cell_text(what, sizeof(what), r->o, &r->plan->cells[i]));
	if (r->failed_cells > named)
		fprintf(r->log, "; and %u more", r->failed_cells - named);
	if (left_out)
		fprintf(r->log, "; %u left out, because their target was given up", left_out);
	fputc('\n', r->log);
}
