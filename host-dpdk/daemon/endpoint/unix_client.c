/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of a hybrid socket, from its first byte to the relay: its line is read, with what
 * follows it in the same read; zv_connect; and when the guest has said RESPONSE, "OK <port>\n" goes
 * out and the relay begins, with the bytes that had come early. A client that says nothing,
 * something else, or too much is closed and counted.
 */
#include "connect_line.h"
#include "endpoint_unix.h"
#include "relay/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_TIMEOUT_S 5u
#define LINE_ROOM      64u /* the line, and what may follow it at once */
#define OK_ROOM	       sizeof("OK 4294967295\n")

struct client {
	struct relay r; /* first. in: the line is read; out: OK is sent */
	struct lcore_timer timer;
	uint32_t port;
	uint8_t len, line_len; /* bytes in line; of them the line itself */
	uint8_t queues_tried;
	char ok[OK_ROOM];
	char line[LINE_ROOM];
};

/* Before the relay has begun: the end. */
static void client_abort(struct conn_owner *o)
{
	struct client *c = (struct client *)(void *)o;

	lcore_timer_stop(o->gq->lc, &c->timer);
	relay_abort(&c->r);
}

static struct client *client_new(struct guest_queue *gq, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	relay_init(&c->r, gq, NULL, &endpoint_unix.kind, fd, 0);
	if (unix_guest(gq->guest)->passed)
		relay_expect_passed(&c->r);
	c->r.f.owner.abort = client_abort;
	return c;
}

/* ---- the guest ---- */

static void client_connect(struct client *c);

static void client_moved(struct lcore *lc, void *arg)
{
	struct client *c = arg;

	(void)lc;
	conn_owner_add(&c->r.f.owner, c->r.f.owner.gq);
	client_connect(c);
}

/* The queue's rings do not run: another one's may. False: all have been tried. */
static bool client_move(struct client *c)
{
	struct guest_queue *gq = c->r.f.owner.gq;
	struct guest *g = gq->guest;
	struct guest_queue *to = &g->queues[(gq->index + 1) % g->n_queues];

	if (gq->ending || ++c->queues_tried >= g->n_queues)
		return false;
	conn_owner_remove(&c->r.f.owner);
	c->r.f.owner.gq = to;
	if (lcore_post(to->lc, client_moved, c) == 0)
		return true;
	conn_owner_add(&c->r.f.owner, gq);
	return false;
}

static const char *refusal(const struct cfg_role_info *role, int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return "refused: nobody listens there";
	case -ETIMEDOUT:
		return "no answer within connect_timeout_ms";
	case -ENETDOWN:
		return role->down;
	case -ECONNRESET:
		return "the other end or its driver went away";
	default:
		return zv_strerror(err);
	}
}

static void client_refuse(struct client *c, int err)
{
	struct guest *g = c->r.f.owner.gq->guest;
	const char *why = refusal(&cfg_roles[guest_cfg(g)->role], err);
	uint32_t more;

	GUEST_COUNT(c->r.f.owner.gq, host_refused);
	if (!log_once(&unix_guest(g)->refused, &more))
		log_line(ZV_LOG_DEBUG, g->name, "CONNECT %u: %s", c->port, why);
	else if (more)
		log_line(ZV_LOG_INFO, g->name, "CONNECT %u: %s; %u more since the last such line",
			 c->port, why, more);
	else
		log_line(ZV_LOG_INFO, g->name, "CONNECT %u: %s", c->port, why);
	relay_abort(&c->r);
}

static void ok_sent(struct io_op *op, int res, uint32_t flags)
{
	struct client *c =
		(struct client *)(void *)((char *)op - offsetof(struct client, r.from_guest_poll));

	(void)flags;
	/* A client that has left may have sent something before: the relay finds out. */
	if (c->r.fd < 0 || (res < 0 && res != -EPIPE && res != -ECONNRESET))
		relay_abort(&c->r);
}

/* The outcome of zv_connect. */
static void client_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct client *c = (struct client *)(void *)o;
	struct io_uring_sqe *sqe;

	if (ev->events & ZV_EV_ERR || (ev->events & ZV_EV_CONNECT && ev->err)) {
		client_refuse(c, ev->err);
		return;
	}
	if (!(ev->events & ZV_EV_CONNECT))
		return;
	GUEST_COUNT(o->gq, host_joined);
	sqe = io_sqe(lcore_io(o->gq->lc), &c->r.from_guest_poll);
	c->r.from_guest_poll.done = ok_sent;
	io_uring_prep_send(sqe, c->r.fd, c->ok, strlen(c->ok), MSG_DONTWAIT | MSG_NOSIGNAL);
	relay_start(&c->r, c->line + c->line_len, (uint32_t)(c->len - c->line_len));
}

static void client_connect(struct client *c)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	struct guest_queue *gq = c->r.f.owner.gq;
	uint64_t cid = cfg_roles[guest_cfg(gq->guest)->role].peer_cid;
	int ret = zv_connect(gq->q, cid, c->port, ZV_STREAM, &c->r.f.conn);

	if (ret == -ENETDOWN && client_move(c))
		return;
	if (ret < 0) {
		c->r.f.conn = NULL;
		client_refuse(c, ret);
		return;
	}
	zv_set_user(c->r.f.conn, &c->r.f.owner);
	c->r.f.owner.event = client_event;
	(void)zv_conn_info(c->r.f.conn, &info);
	(void)snprintf(c->ok, sizeof(c->ok), "OK %u\n", info.local_port);
}

/* ---- the line ---- */

static void line_read(struct client *c)
{
	struct io *io = lcore_io(c->r.f.owner.gq->lc);
	struct io_uring_sqe *sqe;

	if (c->r.passed) {
		io_poll(io, &c->r.to_guest_poll, c->r.fd, POLLIN);
		return;
	}
	sqe = io_sqe(io, &c->r.to_guest_poll);
	io_uring_prep_recv(sqe, c->r.fd, c->line + c->len, LINE_ROOM - c->len, 0);
}

/* The client has sent something else, or has left. */
static void line_failed(struct client *c)
{
	lcore_timer_stop(c->r.f.owner.gq->lc, &c->timer);
	relay_abort(&c->r);
}

static void line_done(struct io_op *op, int res, uint32_t flags)
{
	struct client *c =
		(struct client *)(void *)((char *)op - offsetof(struct client, r.to_guest_poll));
	struct guest_queue *gq = c->r.f.owner.gq;
	int n;

	(void)flags;
	if (c->r.fd < 0) { /* ended meanwhile */
		relay_abort(&c->r);
		return;
	}
	if (c->r.passed && res > 0)
		res = (int)relay_recv(&c->r, c->line + c->len, LINE_ROOM - c->len);
	if (res == -EINTR || res == -EAGAIN) {
		line_read(c);
		return;
	}
	if (res <= 0) {
		if (res != -EPERM)
			GUEST_COUNT(gq, connect_line_closed);
		line_failed(c);
		return;
	}
	c->len = (uint8_t)(c->len + res);
	n = connect_line_parse(c->line, c->len, &c->port);
	if (n == 0) {
		line_read(c);
		return;
	}
	if (n < 0 || c->port == ZV_PORT_ANY) {
		GUEST_COUNT(gq, bad_connect_line);
		log_line(ZV_LOG_INFO, gq->guest->name,
			 "a client of %s did not begin with \"CONNECT <port>\\n\": closed",
			 unix_path(gq->guest));
		line_failed(c);
		return;
	}
	c->line_len = (uint8_t)n;
	lcore_timer_stop(gq->lc, &c->timer);
	client_connect(c);
}

static void line_expired(struct lcore_timer *t)
{
	struct client *c = (struct client *)(void *)((char *)t - offsetof(struct client, timer));
	struct guest_queue *gq = c->r.f.owner.gq;

	GUEST_COUNT(gq, connect_line_timeout);
	log_line(ZV_LOG_INFO, gq->guest->name,
		 "a client of %s sent no \"CONNECT <port>\\n\" for %u s: closed",
		 unix_path(gq->guest), LINE_TIMEOUT_S);
	line_failed(c);
}

void unix_client_begin(struct guest_queue *gq, int fd)
{
	struct client *c = client_new(gq, fd);

	if (!c) {
		guest_fd_refused(gq, -ENOMEM);
		if (unix_guest(gq->guest)->passed) {
			guest_fd_discard(gq->guest, fd);
			return;
		}
		guest_fd_put(gq);
		io_close_fd(lcore_io(gq->lc), fd);
		return;
	}
	c->r.to_guest_poll.done = line_done;
	c->timer.expired = line_expired;
	lcore_timer_start(gq->lc, &c->timer, LINE_TIMEOUT_S * (uint64_t)1000000000);
	if (c->r.passed) /* most have sent it already */
		line_done(&c->r.to_guest_poll, POLLIN, 0);
	else
		line_read(c);
}
