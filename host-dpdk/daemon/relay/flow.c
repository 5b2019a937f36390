/* SPDX-License-Identifier: BSD-3-Clause */
#include "flow.h"

void flow_init(struct flow *f, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, void (*run)(struct lcore_work *w))
{
	f->conn = conn;
	f->work.run = run;
	f->owner.kind = kind;
	conn_owner_add(&f->owner, gq);
	if (conn)
		zv_set_user(conn, &f->owner);
}

void flow_close(struct flow *f, bool reset)
{
	lcore_defer_cancel(f->owner.gq->lc, &f->work);
	if (f->conn)
		conn_owner_close(&f->owner, f->conn, reset);
	f->conn = NULL;
}

uint32_t flow_may(struct flow *f, enum flow_dir dir)
{
	(void)f;
	(void)dir;
	return FLOW_QUOTA;
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
		gq->left = WORK_ROUND;
	}
	return gq->left > 0;
}

uint32_t work_done(struct guest_queue *gq, uint32_t bytes)
{
	uint32_t work = work_of(bytes);

	gq->left -= work;
	return work;
}
