/* SPDX-License-Identifier: BSD-3-Clause */
/* The bare virtqueues, split and packed (io/raw/raw_ring.h). */
#include "io/raw/raw_ring.h"
#include "core/target.h"
#include "io/raw/raw.h"
#include "targets.h"

#define RING_MSG_MAX 4096u /* of larger messages a ring is no part of the cost: target_raw */

static int ring_run(const struct bench_opts *o, const struct bench_cell *c,
		    struct bench_result *res, struct proc_err *err, bool packed)
{
	struct raw_vq vq[2];
	struct raw_ctx r = {.o = o,
			    .c = c,
			    .loops = &c->workload->ring,
			    .nslots = c->msg_size <= 1024 ? RAW_VQ_BUFS : RAW_VQ_SIZE,
			    .stride = (RAW_DATA_OFF + c->msg_size + 63u) & ~63u,
			    .vq = vq,
			    .packed = packed};

	r.batch = o->batch < r.nslots / 2 ? o->batch : r.nslots / 2;
	return raw_run(&r, res, err);
}

static int split_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		     struct bench_result *res, struct proc_err *err)
{
	(void)state;
	return ring_run(o, c, res, err, false);
}

static int packed_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		      struct bench_result *res, struct proc_err *err)
{
	(void)state;
	return ring_run(o, c, res, err, true);
}

/* Its sides differ, unlike those of the bare loop: each way is a cell. */
static int ring_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	if (c.msg_size > RING_MSG_MAX)
		return 0;
	c.zero_copy = true;
	if (!c.workload->oneway)
		return plan_add(p, o, c);
	for (unsigned d = DIR_G2H; d <= DIR_H2G && rc == 0; d++) {
		c.dir = d;
		if (o->dir & d)
			rc = plan_add(p, o, c);
	}
	return rc;
}

static const char *ring_missing(const struct bench_opts *o)
{
	return o->sleep ? "a bare ring has no notifications to sleep for: not with --sleep" : NULL;
}

static const char *ring_absent(const struct bench_opts *o)
{
	const char *why = baseline_absent(o);

	return why ? why : o->sleep ? "--sleep" : NULL;
}

const struct target target_raw_split = {
	.name = "raw-split",
	.path = "raw",
	.label = "raw split ring",
	.brief = "raw split ring",
	.about = "a bare loop over a split virtqueue: what its layout lets through",
	.ratio = "xsplit",
	.io = IO_RING,
	.absent = ring_absent,
	.missing = ring_missing,
	.get = "leave --sleep out",
	.plan = ring_plan,
	.run = split_run,
};

const struct target target_raw_packed = {
	.name = "raw-packed",
	.path = "raw",
	.label = "raw packed ring",
	.brief = "raw packed ring",
	.about = "the same over a packed virtqueue",
	.ratio = "xpacked",
	.io = IO_RING,
	.absent = ring_absent,
	.missing = ring_missing,
	.get = "leave --sleep out",
	.plan = ring_plan,
	.run = packed_run,
};
