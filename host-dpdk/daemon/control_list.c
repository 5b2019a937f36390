/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "list" of the control socket: every connection, and where it leads on the host.
 *
 * What lcores own is copied by a call on the lcore (lcore_call), into memory that this thread has
 * allocated and touched before; a call that finds too little room says so and is made again with
 * more. So an lcore spends some tens of nanoseconds a connection, and allocates nothing.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zvsock.h>

#define CONNS_FIRST 1024u

/* ---- from the lcores ---- */

struct snapshot {
	struct zv_queue *q;
	struct zv_conn_info *conns; /* NULL: only count */
	size_t n, room;
	bool full;
};

static int snapshot_take(void *ctx, const struct zv_conn_info *info)
{
	struct snapshot *s = ctx;

	if (s->conns && s->n == s->room) {
		s->full = true;
		return 1;
	}
	if (s->conns)
		s->conns[s->n] = *info;
	s->n++;
	return 0;
}

static void snapshot_call(struct lcore *lc, void *arg)
{
	struct snapshot *s = arg;

	(void)lc;
	s->n = 0;
	s->full = false;
	(void)zv_queue_conns(s->q, snapshot_take, s);
}

size_t control_count(const struct guest *g)
{
	size_t n = 0;

	for (unsigned i = 0; i < g->n_queues; i++) {
		struct snapshot s = {.q = g->queues[i].q};

		lcore_call(g->queues[i].lc, snapshot_call, &s);
		n += s.n;
	}
	return n;
}

/* The queue's connections in @s, whose memory is used again from queue to queue. */
static bool snapshot_conns(const struct guest_queue *gq, struct snapshot *s)
{
	s->q = gq->q;
	for (;;) {
		if (s->conns) {
			lcore_call(gq->lc, snapshot_call, s);
			if (!s->full)
				return true;
		}
		s->room = s->conns ? s->room * 4 : CONNS_FIRST;
		free(s->conns);
		s->conns = malloc(s->room * sizeof(*s->conns));
		if (!s->conns)
			return false;
		/* The lcore shall not take the page faults. */
		memset(s->conns, 0xff, s->room * sizeof(*s->conns));
	}
}

/* ---- where it leads ---- */

static const char *guest_of(const struct daemon *d, uint64_t cid)
{
	for (const struct guest *g = d->guests; g; g = g->next)
		if (g->cfg->cid == cid)
			return g->name;
	return "?";
}

/* By the configuration: a guest whose endpoints change is started anew, so it is still true. */
static void endpoint_text(const struct daemon *d, const struct cfg_guest *c,
			  const struct zv_conn_info *i, char *buf, size_t len)
{
	static const char *const services[] = {"echo", "discard", "source"};
	uint32_t port = i->local_port;

	if (i->local_cid != ZV_CID_HOST) {
		(void)snprintf(buf, len, "guest:%s", guest_of(d, i->local_cid));
		return;
	}
	if (!(i->flags & ZV_CONN_INCOMING)) {
		(void)snprintf(buf, len, "unix:%s", c->unix_path);
		return;
	}
	for (unsigned k = 0; k < c->n_builtin; k++)
		if (c->builtin[k].port == port) {
			(void)snprintf(buf, len, "%s", services[c->builtin[k].service]);
			return;
		}
	for (unsigned k = 0; k < c->n_tcp; k++)
		if (c->tcp[k].port == port) {
			(void)snprintf(buf, len,
				       strchr(c->tcp[k].host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
				       c->tcp[k].host, c->tcp[k].target);
			return;
		}
	for (unsigned k = 0; k < c->n_vsock; k++)
		if (port >= c->vsock[k].first && port <= c->vsock[k].last) {
			(void)snprintf(buf, len, "vsock:%u", port);
			return;
		}
	(void)snprintf(buf, len, "unix:%s_%u", c->unix_path, port);
}

/* ---- the answer ---- */

static json_t *conn_json(const struct daemon *d, const struct guest *g,
			 const struct zv_conn_info *c, uint64_t now)
{
	char endpoint[320];

	endpoint_text(d, g->cfg, c, endpoint, sizeof(endpoint));
	return json_pack("{ss ss ss sI sI sI sI sI sI sI sI sI sI sI sI so}", "type",
			 c->type == ZV_SEQPACKET ? "seqpacket" : "stream", "state", c->state,
			 "guest", g->cfg->name, "queue", (json_int_t)c->queue, "local_cid",
			 (json_int_t)c->local_cid, "local_port", (json_int_t)c->local_port,
			 "peer_cid", (json_int_t)c->peer_cid, "peer_port", (json_int_t)c->peer_port,
			 "rx_bytes", (json_int_t)c->rx_bytes, "tx_bytes", (json_int_t)c->tx_bytes,
			 "rx_unread", (json_int_t)c->rx_unread, "tx_unacked",
			 (json_int_t)c->tx_unacked, "tx_credit", (json_int_t)c->tx_credit,
			 "peer_buf_alloc", (json_int_t)c->peer_buf_alloc, "age_ns",
			 (json_int_t)(now > c->opened_ns ? now - c->opened_ns : 0), "endpoint",
			 control_text(endpoint));
}

json_t *control_list(struct control *ct, struct client *cl, const json_t *request,
		     struct refusal *why)
{
	struct snapshot s = {0};
	struct guest *only;
	json_t *conns;
	bool ok = true;

	(void)cl;
	if (!control_guest(ct, request, &only, why))
		return NULL;
	if (ct->unsent > CONTROL_UNSENT_MAX)
		return control_refuse(why, "busy",
				      "too many large answers have not been read yet; try again");
	conns = json_array();
	for (const struct guest *g = ct->d->guests; g && ok; g = g->next) {
		for (unsigned i = 0; i < g->n_queues && ok && (!only || g == only); i++) {
			struct timespec t;

			ok = snapshot_conns(&g->queues[i], &s);
			(void)clock_gettime(CLOCK_MONOTONIC, &t);
			for (size_t k = 0; k < s.n && ok; k++)
				ok = control_append(conns,
						    conn_json(ct->d, g, &s.conns[k],
							      (uint64_t)t.tv_sec * 1000000000u +
								      (uint64_t)t.tv_nsec));
		}
	}
	free(s.conns);
	return control_wrap("connections", conns, ok, why);
}
