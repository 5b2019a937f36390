/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The builtin endpoint: services inside the daemon, for trying things out and for measuring. Off
 * unless configured.
 *
 * echo     sends back what comes: a connection spliced with itself (splice.h)
 * discard  takes everything and drops it unseen, by reference
 * source   sends zeroes until the guest wants no more
 */
#include "core/conn_log.h"
#include "endpoint.h"
#include "relay/splice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH	     16u
#define QUOTA	     262144u /* work of a connection and round: work.h */
#define SOURCE_CHUNK 65536u

/* A connection of discard or source. */
struct service {
	struct conn_owner owner; /* first */
	struct zv_conn *conn;
	struct lcore_work work;
};

static void service_end(struct service *s, bool reset)
{
	conn_log(s->owner.gq, s->conn, reset ? "ended: reset by zvsockd" : "ended: by the guest");
	lcore_defer_cancel(s->owner.gq->lc, &s->work);
	(void)(reset ? zv_conn_reset(s->conn) : zv_conn_close(s->conn));
	conn_owner_remove(&s->owner);
	free(s);
}

static void service_abort(struct conn_owner *o)
{
	service_end((struct service *)(void *)o, true);
}

static struct service *service_of(struct lcore_work *w)
{
	return (struct service *)(void *)((char *)w - offsetof(struct service, work));
}

static void service_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct service *s = (struct service *)(void *)o;

	if (ev->events & ZV_EV_ERR)
		service_end(s, false);
	else
		lcore_defer(o->gq->lc, &s->work);
}

static void discard(struct lcore_work *w)
{
	struct service *s = service_of(w);
	struct zv_buf bufs[BATCH];
	uint32_t work = 0;
	int n;

	do {
		n = zv_buf_recv(s->conn, bufs, BATCH);
		for (int i = 0; i < n; i++)
			work += work_of(bufs[i].len);
		if (n > 0)
			zv_buf_release(s->owner.gq->q, bufs, (unsigned)n);
	} while (n > 0 && work < QUOTA); /* more: ZV_EV_IN says it again */
	if (n == 0)
		service_end(s, false);
}

static void source(struct lcore_work *w)
{
	struct service *s = service_of(w);
	struct zv_buf bufs[BATCH];
	uint32_t work = 0;
	int n = 1;

	while (n > 0 && work < QUOTA) {
		n = zv_buf_alloc(s->conn, bufs, BATCH, SOURCE_CHUNK);
		for (int i = 0; i < n; i++) {
			memset(bufs[i].data, 0, bufs[i].capacity);
			bufs[i].len = bufs[i].capacity;
			bufs[i].flags = ZV_EOM; /* SEQPACKET: a message a buffer */
			work += work_of(bufs[i].len);
		}
		if (n > 0)
			n = zv_buf_send(s->conn, bufs, (unsigned)n);
	}
	if (n == -EPIPE)
		service_end(s, false);
	else if (n > 0 || n == -ENOBUFS)
		lcore_defer(s->owner.gq->lc, &s->work);
}

static int service_begin(struct guest_queue *gq, struct zv_conn *conn, bool is_source)
{
	struct service *s = calloc(1, sizeof(*s));

	if (!s) {
		ENDPOINT_COUNT(gq, no_memory);
		return -ENOMEM;
	}
	s->conn = conn;
	s->work.run = is_source ? source : discard;
	s->owner.event = service_event;
	s->owner.abort = service_abort;
	conn_owner_add(&s->owner, gq);
	zv_set_user(conn, &s->owner);
	zv_set_events(conn, is_source ? ZV_EV_OUT | ZV_EV_HUP : ZV_EV_IN);
	if (zv_conn_answer(conn, 0) == 0)
		ENDPOINT_COUNT(gq, guest_joined);
	conn_log(gq, conn, "opened");
	lcore_defer(gq->lc, &s->work);
	return 1;
}

static int echo_begin(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	if (splice_new(gq, conn, info, true))
		return 1;
	ENDPOINT_COUNT(gq, no_memory);
	return -ENOMEM;
}

static int builtin_serve(struct guest_queue *gq, struct zv_conn *conn,
			 const struct zv_conn_info *info)
{
	const struct cfg_builtin *b;

	if (info->local_cid != ZV_CID_HOST)
		return 0;
	b = cfg_builtin_at(guest_cfg(gq->guest), info->local_port);
	if (!b)
		return 0;
	return b->service == CFG_ECHO ? echo_begin(gq, conn, info)
				      : service_begin(gq, conn, b->service == CFG_SOURCE);
}

const struct endpoint_ops endpoint_builtin = {.name = "builtin", .serve = builtin_serve};
