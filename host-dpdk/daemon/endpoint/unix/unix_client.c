/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of a hybrid socket, from its first byte to the relay: its line is read, with whatever
 * follows it in the same read; zv_connect; when the guest has sent RESPONSE, "OK <port>\n" is sent
 * and the relay begins, with the bytes that came early. A client that sends nothing, something
 * else, or too much is closed and counted.
 */
#include "connect_line.h"
#include "endpoint/call_guest.h"
#include "endpoint_unix.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_TIMEOUT_S 5u
#define LINE_ROOM      64u /* the line, and data that may follow it immediately */

struct client {
	struct call_guest t; /* first. in: the line is read; out: OK is sent */
	struct lcore_timer timer;
	uint8_t len, line_len; /* bytes in line; of them the line itself */
	char ok[CALL_OK_ROOM];
	char line[LINE_ROOM];
};

/* Ends a client before the relay has begun. */
static void client_abort(struct conn_owner *o)
{
	struct client *c = (struct client *)(void *)o;

	lcore_timer_stop(o->gq->lc, &c->timer);
	relay_abort(&c->t.r);
}

/* ---- the guest ---- */

static struct client *client_of(struct call_guest *t)
{
	return (struct client *)(void *)t; /* first */
}

static void client_refused(struct call_guest *t, const char *why)
{
	char what[sizeof("CONNECT 4294967295")];

	(void)snprintf(what, sizeof(what), "CONNECT %u", t->port);
	call_guest_log(t, &unix_guest(t->r.f.owner.gq->guest)->refused, what, why);
}

static void client_joined(struct call_guest *t)
{
	struct client *c = client_of(t);

	call_guest_ok(t, c->ok, c->line + c->line_len, (uint32_t)(c->len - c->line_len));
}

static const struct call_guest_ops client_ops = {.joined = client_joined,
						 .refused = client_refused};

/* ---- the line ---- */

static void line_read(struct client *c)
{
	struct io *io = lcore_io(c->t.r.f.owner.gq->lc);
	struct io_uring_sqe *sqe;

	if (c->t.r.passed) {
		io_poll(io, &c->t.r.to_guest_poll, c->t.r.fd, POLLIN);
		return;
	}
	sqe = io_sqe(io, &c->t.r.to_guest_poll);
	io_uring_prep_recv(sqe, c->t.r.fd, c->line + c->len, LINE_ROOM - c->len, 0);
}

/* The client has sent something else, or has left. */
static void line_failed(struct client *c)
{
	lcore_timer_stop(c->t.r.f.owner.gq->lc, &c->timer);
	relay_abort(&c->t.r);
}

static void line_done(struct io_op *op, int res, uint32_t flags)
{
	struct client *c =
		(struct client *)(void *)((char *)op - offsetof(struct client, t.r.to_guest_poll));
	struct guest_queue *gq = c->t.r.f.owner.gq;
	int n;

	(void)flags;
	if (c->t.r.fd < 0) { /* ended meanwhile */
		relay_abort(&c->t.r);
		return;
	}
	if (c->t.r.passed && res > 0)
		res = (int)relay_recv(&c->t.r, c->line + c->len, LINE_ROOM - c->len);
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
	n = connect_line_parse(c->line, c->len, &c->t.port);
	if (n == 0) {
		line_read(c);
		return;
	}
	if (n < 0 || c->t.port == ZV_PORT_ANY) {
		GUEST_COUNT(gq, bad_connect_line);
		log_line(ZV_LOG_INFO, gq->guest->name,
			 "a client of %s did not begin with \"CONNECT <port>\\n\": closed",
			 unix_path(gq->guest));
		line_failed(c);
		return;
	}
	c->line_len = (uint8_t)n;
	lcore_timer_stop(gq->lc, &c->timer);
	call_guest(&c->t);
}

static void line_expired(struct lcore_timer *t)
{
	struct client *c = (struct client *)(void *)((char *)t - offsetof(struct client, timer));
	struct guest_queue *gq = c->t.r.f.owner.gq;

	GUEST_COUNT(gq, connect_line_timeout);
	log_line(ZV_LOG_INFO, gq->guest->name,
		 "a client of %s sent no \"CONNECT <port>\\n\" for %u s: closed",
		 unix_path(gq->guest), LINE_TIMEOUT_S);
	line_failed(c);
}

static struct client *client_new(const struct accepted *a)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	relay_init(&c->t.r, a->gq, NULL, &endpoint_unix.kind, a->fd, 0);
	if (a->passed)
		relay_expect_passed(&c->t.r);
	c->t.r.f.owner.abort = client_abort;
	c->t.ops = &client_ops;
	return c;
}

void unix_client_begin(const struct accepted *a)
{
	struct client *c = client_new(a);

	if (!c) {
		accepted_drop(a);
		return;
	}
	c->t.r.to_guest_poll.done = line_done;
	c->timer.expired = line_expired;
	lcore_timer_start(a->gq->lc, &c->timer, LINE_TIMEOUT_S * (uint64_t)1000000000);
	if (c->t.r.passed) /* most clients have sent it already */
		line_done(&c->t.r.to_guest_poll, POLLIN, 0);
	else
		line_read(c);
}
