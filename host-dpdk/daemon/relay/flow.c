/* SPDX-License-Identifier: BSD-3-Clause */
#include "flow.h"

/* ---- the line for a share of a round ---- */

static void leave_queue(struct flow *f)
{
	struct guest_queue *gq = f->owner.gq;

	if (!f->waits)
		return;
	f->waits = false;
	TAILQ_REMOVE(&gq->waiting, f, turn);
	if (TAILQ_EMPTY(&gq->waiting))
		lcore_defer_cancel(gq->lc, &gq->turns);
}

/* The flow that has waited longest comes first. One that has had a turn and has more goes to the
 * end. */
static void serve_waiting(struct lcore_work *w)
{
	struct guest_queue *gq =
		(struct guest_queue *)(void *)((char *)w - offsetof(struct guest_queue, turns));
	struct flow *f;

	while (work_may(gq) && (f = TAILQ_FIRST(&gq->waiting))) {
		leave_queue(f);
		gq->called = f;
		lcore_run(&f->work); /* may free it */
		gq->called = NULL;
	}
	if (!TAILQ_EMPTY(&gq->waiting) && !gq->lq.resting)
		lcore_defer(gq->lc, w);
}

void flow_rested(struct guest_queue *gq)
{
	if (!TAILQ_EMPTY(&gq->waiting))
		lcore_defer(gq->lc, &gq->turns);
}

void flow_wait(struct flow *f)
{
	struct guest_queue *gq = f->owner.gq;

	if (f->waits)
		return;
	f->waits = true;
	TAILQ_INSERT_TAIL(&gq->waiting, f, turn);
	gq->turns.run = serve_waiting;
	if (!gq->lq.resting)
		lcore_defer(gq->lc, &gq->turns);
}

/* ---- flows ---- */

void flow_add(struct flow *f, struct guest_queue *gq)
{
	f->work.lq = &gq->lq;
	conn_owner_add(&f->owner, gq);
}

void flow_init(struct flow *f, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, void (*run)(struct lcore_work *w))
{
	f->conn = conn;
	f->work.run = run;
	f->owner.kind = kind;
	flow_add(f, gq);
	if (conn)
		zv_set_user(conn, &f->owner);
}

void flow_close(struct flow *f, bool reset)
{
	lcore_defer_cancel(f->owner.gq->lc, &f->work);
	leave_queue(f);
	if (f->conn)
		conn_owner_close(&f->owner, f->conn, reset);
	f->conn = NULL;
}

uint32_t flow_may(struct flow *f)
{
	struct guest_queue *gq = f->owner.gq;

	/* Nobody overtakes the line. */
	if (work_may(gq) && (TAILQ_EMPTY(&gq->waiting) || gq->called == f))
		return FLOW_QUOTA;
	flow_wait(f);
	return 0;
}

int flow_alloc(struct flow *f, struct zv_buf *bufs, unsigned n, uint32_t len)
{
	struct guest_queue *gq = f->owner.gq;
	int got = zv_buf_alloc(f->conn, bufs, n, len);

	/* The last buffer may have been cut to the credit that was left. */
	if (got > 1 || (got == 1 && bufs[0].capacity > gq->to_guest_cap))
		gq->to_guest_cap = bufs[0].capacity;
	return got;
}

bool work_may(struct guest_queue *gq)
{
	uint64_t round = lcore_round(gq->lc);

	if (gq->round != round) {
		gq->round = round;
		gq->left = (gq->left < 0 ? gq->left : 0) +
			   (gq->work_share ? gq->work_share : WORK_ROUND);
	}
	return gq->left > 0 && !gq->lq.resting;
}

uint32_t work_done(struct guest_queue *gq, uint32_t bytes)
{
	uint32_t work = work_of(bytes);

	gq->left -= work;
	return work;
}
