/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "list" of the control socket: every connection, and where it leads on the host, which its owner
 * knows.
 *
 * Data owned by lcores is copied on the lcore (lcore_call), one slice per call, into memory that
 * this thread has allocated and touched before. So an lcore spends tens of microseconds at a time
 * and allocates nothing; between the calls it does its work, and connections come and go. The list
 * contains every connection that existed all the time, once, and possibly some of the others. A
 * guest cannot be removed meanwhile, because this thread does that.
 */
#include "base/clock.h"
#include "control_int.h"
#include "core/owner.h"

#include <stdlib.h>
#include <string.h>
#include <zvsock.h>

#define SLICE 256u /* most connections of a call */

/* ---- from the lcores ---- */

/* A connection as its lcore has shown it. */
struct listed {
	struct zv_conn_info info;
	const struct conn_kind *kind; /* of its owner; NULL: nobody has taken it */
	bool channel;		      /* its payload bypasses the daemon */
};

struct slice {
	struct zv_queue *q;
	uint64_t cursor;      /* 0 after a call: the end */
	struct listed *conns; /* room for SLICE; NULL: only count */
	size_t n;
};

static int slice_add(void *ctx, const struct zv_conn_info *info)
{
	const struct conn_owner *o = info->user;
	struct slice *s = ctx;

	if (s->conns)
		s->conns[s->n] = (struct listed){*info, o ? o->kind : NULL, o && o->channel};
	return ++s->n == SLICE;
}

static void slice_call(struct lcore *lc, void *arg)
{
	struct slice *s = arg;

	(void)lc;
	s->n = 0;
	(void)zv_queue_conns(s->q, &s->cursor, slice_add, s);
}

size_t control_count(const struct guest *g)
{
	size_t n = 0;

	for (unsigned i = 0; i < g->n_queues; i++) {
		struct slice s = {.q = g->queues[i].q};

		do {
			lcore_call(g->queues[i].lc, slice_call, &s);
			n += s.n;
		} while (s.cursor);
	}
	return n;
}

/* ---- the answer ---- */

static json_t *conn_json(const struct guest *g, const struct listed *l, uint64_t now)
{
	const struct zv_conn_info *c = &l->info;
	char endpoint[320] = "-";

	if (l->kind)
		l->kind->describe(g, c, endpoint, sizeof(endpoint));
	return json_pack("{ss ss ss sI sI sI sI sI sI sI sI sI sI sI sI ss so}", "type",
			 c->type == ZV_SEQPACKET ? "seqpacket" : "stream", "state", c->state,
			 "guest", g->cfg->name, "queue", (json_int_t)c->queue, "local_cid",
			 (json_int_t)c->local_cid, "local_port", (json_int_t)c->local_port,
			 "peer_cid", (json_int_t)c->peer_cid, "peer_port", (json_int_t)c->peer_port,
			 "rx_bytes", (json_int_t)c->rx_bytes, "tx_bytes", (json_int_t)c->tx_bytes,
			 "rx_unread", (json_int_t)c->rx_unread, "tx_unacked",
			 (json_int_t)c->tx_unacked, "tx_credit", (json_int_t)c->tx_credit,
			 "peer_buf_alloc", (json_int_t)c->peer_buf_alloc, "age_ns",
			 (json_int_t)(now > c->opened_ns ? now - c->opened_ns : 0), "path",
			 l->channel ? "channel" : "copy", "endpoint", control_text(endpoint));
}

/* Adds the queue's connections that @conns does not have yet. False: no memory. */
static bool list_queue(const struct guest_queue *gq, struct slice *s, json_t *conns)
{
	bool ok = true;

	s->q = gq->q;
	do {
		uint64_t now;

		lcore_call(gq->lc, slice_call, s);
		now = now_ns();
		for (size_t k = 0; k < s->n && ok; k++)
			ok = control_append(conns, conn_json(gq->guest, &s->conns[k], now));
	} while (s->cursor && ok);
	return ok;
}

json_t *control_list(struct control *ct, struct client *cl, const json_t *request,
		     struct refusal *why)
{
	struct slice s = {0};
	struct guest *only;
	json_t *conns;
	bool ok;

	(void)cl;
	if (!control_guest(ct, request, &only, why))
		return NULL;
	if (ct->unsent > CONTROL_UNSENT_MAX)
		return control_refuse(why, "busy",
				      "too many large answers have not been read yet; try again");
	conns = json_array();
	s.conns = malloc(SLICE * sizeof(*s.conns));
	ok = s.conns;
	if (ok) /* so that the lcore takes no page faults */
		memset(s.conns, 0xff, SLICE * sizeof(*s.conns));
	for (const struct guest *g = ct->d->guests; g && ok; g = g->next)
		for (unsigned i = 0; i < g->n_queues && ok && (!only || g == only); i++)
			ok = list_queue(&g->queues[i], &s, conns);
	free(s.conns);
	return control_wrap("connections", conns, ok, why);
}
