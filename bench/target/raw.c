/* SPDX-License-Identifier: BSD-3-Clause */
/* The raw limits of the machine (io/raw/raw.h). Both sides are forked for each cell. */
#include "io/raw/raw.h"
#include "core/target.h"
#include "targets.h"

static int bare_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		    struct bench_result *res, struct proc_err *err)
{
	struct raw_ctx r = {.o = o, .c = c, .loops = &c->workload->raw, .batch = o->batch};

	(void)state;
	r.nslots = raw_slots(c->msg_size);
	r.stride = (c->msg_size + 63u) & ~63u;
	if (r.batch > r.nslots / 2)
		r.batch = r.nslots / 2;
	/* A batch is there to share the cost of one line; a large message has lines enough. */
	if (c->msg_size >= 16384)
		r.batch = 1;
	return raw_run(&r, res, err);
}

static int bare_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.zero_copy = true;
	return plan_add(p, o, c);
}

const struct target target_raw = {
	.name = "raw",
	.path = "raw",
	.label = "raw limit",
	.brief = "raw",
	.about = "bare loops in shared memory: what the machine can do",
	.ratio = "xraw",
	.io = IO_RAW,
	.absent = baseline_absent,
	.plan = bare_plan,
	.run = bare_run,
};
