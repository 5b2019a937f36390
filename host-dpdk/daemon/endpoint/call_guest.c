/* SPDX-License-Identifier: BSD-3-Clause */
/* See call_guest.h. */
#include "call_guest.h"

#include "core/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void moved(struct lcore *lc, void *arg)
{
	struct call_guest *t = arg;

	(void)lc;
	flow_add(&t->r.f, t->r.f.owner.gq);
	call_guest(t);
}

/* Tries another queue, because this one's rings do not run. False: all have been tried. */
static bool move(struct call_guest *t)
{
	struct guest_queue *gq = t->r.f.owner.gq;
	struct guest *g = gq->guest;
	struct guest_queue *to = &g->queues[(gq->index + 1) % g->n_queues];

	if (gq->ending || ++t->queues_tried >= g->n_queues)
		return false;
	conn_owner_remove(&t->r.f.owner);
	t->r.f.owner.gq = to;
	if (lcore_post(to->lc, moved, t) == 0)
		return true;
	flow_add(&t->r.f, gq);
	return false;
}

static const char *reason(const struct cfg_role_info *role, int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return "refused: nobody listens there";
	case -ETIMEDOUT:
		return "no answer within connect_timeout_ms";
	case -ENETDOWN:
		return role->down;
	case -ENOSPC:
		return "it has as many connections as max_conns allows";
	case -ECONNRESET:
		return "the other end or its driver went away";
	default:
		return zv_strerror(err);
	}
}

static void refuse(struct call_guest *t, int err)
{
	const struct guest *g = t->r.f.owner.gq->guest;

	GUEST_COUNT(t->r.f.owner.gq, host_refused);
	t->ops->refused(t, reason(&cfg_roles[guest_cfg(g)->role], err));
	relay_abort(&t->r);
}

void call_guest_log(const struct call_guest *t, struct log_once *once, const char *what,
		    const char *why)
{
	const char *guest = t->r.f.owner.gq->guest->name;
	uint32_t more;

	if (!log_once(once, &more))
		log_line(ZV_LOG_DEBUG, guest, "%s: %s", what, why);
	else if (more)
		log_line(ZV_LOG_INFO, guest, "%s: %s; %u more since the last such line", what, why,
			 more);
	else
		log_line(ZV_LOG_INFO, guest, "%s: %s", what, why);
}

static void ok_sent(struct io_op *op, int res, uint32_t flags)
{
	struct relay *r =
		(struct relay *)(void *)((char *)op - offsetof(struct relay, from_guest_poll));

	(void)flags;
	/* A client that has left may have sent something before: the relay finds out. */
	if (r->fd < 0 || (res < 0 && res != -EPIPE && res != -ECONNRESET))
		relay_abort(r);
}

void call_guest_ok(struct call_guest *t, char *room, const char *early, uint32_t early_len)
{
	struct io_uring_sqe *sqe = io_sqe(lcore_io(t->r.f.owner.gq->lc), &t->r.from_guest_poll);
	struct zv_conn_info info = {.size = sizeof(info)};

	(void)zv_conn_info(t->r.f.conn, &info);
	(void)snprintf(room, CALL_OK_ROOM, "OK %u\n", info.local_port);
	t->r.from_guest_poll.done = ok_sent;
	io_uring_prep_send(sqe, t->r.fd, room, strlen(room), MSG_DONTWAIT | MSG_NOSIGNAL);
	relay_start(&t->r, early, early_len);
}

/* The outcome of zv_connect. */
static void connect_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct call_guest *t = (struct call_guest *)(void *)o;

	if (ev->events & ZV_EV_ERR || (ev->events & ZV_EV_CONNECT && ev->err)) {
		refuse(t, ev->err);
		return;
	}
	if (!(ev->events & ZV_EV_CONNECT))
		return;
	GUEST_COUNT(o->gq, host_joined);
	t->ops->joined(t);
}

void call_guest(struct call_guest *t)
{
	struct guest_queue *gq = t->r.f.owner.gq;
	uint64_t cid = cfg_roles[guest_cfg(gq->guest)->role].peer_cid;
	int ret = zv_connect(gq->q, cid, t->port, ZV_STREAM, &t->r.f.conn);

	if (ret == -ENETDOWN && move(t))
		return;
	if (ret < 0) {
		t->r.f.conn = NULL;
		refuse(t, ret);
		return;
	}
	zv_set_user(t->r.f.conn, &t->r.f.owner);
	t->r.f.owner.event = connect_event;
}
