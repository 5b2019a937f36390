/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection of a frontend: passes one message at a time to the device or the link, and sends
 * the answer. */
#include "fd_closer.h"
#include "passed.h"
#include "vu_rules.h"
#include "vu_server_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char *path_of(const struct vu_conn *c)
{
	return c->sk->c.path;
}

void vu_conn_end(struct vu_conn *c)
{
	struct vu_socket *sk = c->sk;

	if (c->dead)
		return;
	vu_unwatch_drop(&c->sock);
	vu_unwatch_close(&c->link);
	if (c->link_ctx)
		sk->c.link->close(c->link_ctx);
	vu_reader_next(&c->in);
	vu_reader_next(&c->back);
	TAILQ_REMOVE(&sk->conns, c, next);
	sk->nconns--;
	vu_conn_discard(c);
	if (sk->front == c) {
		sk->front = NULL;
		sk->c.ops->gone(sk->c.ctx);
		zv_log_limited(sk->c.log, ZV_LOG_INFO, "%s: frontend gone", sk->c.path);
		vu_life_hung_up(sk);
	}
	if (sk->c.client && sk->retry == UINT64_MAX)
		sk->retry = vu_in(VU_RETRY_NS);
}

/* ---- answers ---- */

/* Sends @m; nothing more is read until the socket has accepted it. */
static void answer(struct vu_conn *c, struct vu_msg *m)
{
	int ret;

	m->flags = VU_VERSION | VU_FLAG_REPLY;
	ret = vu_write(&c->out, c->sock.fd, m);
	if (ret < 0) {
		vu_conn_end(c);
		return;
	}
	c->state = ret ? VU_READING : VU_ANSWERING;
	if (!ret) {
		c->deadline = vu_in(c->sk->c.stall_ns);
		vu_rewatch(&c->sock, EPOLLOUT);
	}
}

/* The end of a message that has no answer of its own: @ret 0 or -errno. */
static void acknowledge(struct vu_conn *c, int ret)
{
	const struct vu_rule *row = vu_rule_of(c->in.msg.request);
	bool wants = c->in.msg.flags & VU_FLAG_NEED_REPLY && !(row && row->answered);
	struct vu_msg m = {.request = c->in.msg.request, .size = sizeof(m.payload.u64)};

	vu_reader_next(&c->in);
	c->state = VU_READING;
	if (wants) {
		m.payload.u64 = ret < 0;
		answer(c, &m);
	} else if (ret < 0) {
		vu_conn_end(c); /* the protocol has no other way to refuse */
	}
}

/* The owner acts on the message. @said: what the link has answered to it, or NULL. */
static void act(struct vu_conn *c, const struct vu_msg *said)
{
	struct vu_exchange x = {.msg = &c->in.msg, .fd = c->in.fd, .nfds = c->in.nfds};
	int ret;

	if (said)
		x.answer = *said;
	x.answer.request = c->in.msg.request;
	ret = c->sk->c.ops->message(c->sk->c.ctx, &x);
	if (ret == 1) {
		vu_reader_next(&c->in);
		answer(c, &x.answer);
	} else {
		acknowledge(c, ret);
	}
}

/* ---- the link ---- */

/* Passes the message on; its answer, or an acknowledgement, is awaited. */
static int to_link(struct vu_conn *c)
{
	struct vu_msg m = c->in.msg;
	struct vu_writer w;
	int fd;

	if (c->link.fd < 0) {
		fd = c->sk->c.link->open(path_of(c), &c->link_ctx);
		if (fd < 0) {
			zv_log_limited(c->sk->c.log, ZV_LOG_ERR, "%s: %s", path_of(c),
				       zv_error_text());
			return fd;
		}
		c->link.fd = fd;
		if (vu_watch(&c->link, EPOLLIN) < 0)
			return -ENOMEM;
	}
	m.flags |= VU_FLAG_NEED_REPLY;
	m.payload.u64 &= ~vu_rule_of(m.request)->hide;
	/* At most one small message is in transit, so the socket has room for it. */
	if (vu_write(&w, c->link.fd, &m) != 1)
		return -EPIPE;
	c->state = VU_LINKED;
	vu_rewatch(&c->sock, 0);
	return 0;
}

static void link_ready(struct vu_source *s, uint32_t events)
{
	struct vu_conn *c =
		(struct vu_conn *)(void *)((uint8_t *)s - offsetof(struct vu_conn, link));
	struct vu_msg m;
	const char *why;
	int ret;

	(void)events;
	ret = vu_read(&c->back, s->fd, vu_answer_refused, &why);
	if (ret == 0)
		return;
	if (ret < 0 || c->state != VU_LINKED || c->back.msg.request != c->in.msg.request) {
		zv_log_limited(
			c->sk->c.log, ZV_LOG_ERR,
			"%s: DPDK's rte_vhost gave up on the VMM, which is disconnected: the "
			"lines before this one that have \"dpdk:\" in them say why; when that "
			"is mended, start the VM again",
			path_of(c));
		vu_conn_end(c);
		return;
	}
	m = c->back.msg;
	vu_reader_next(&c->back);
	vu_rewatch(&c->sock, EPOLLIN);
	if (vu_rule_of(m.request)->answered) {
		act(c, &m);
	} else if (m.payload.u64 == 0) { /* accepted */
		act(c, NULL);
	} else {
		c->sk->c.ops->refused(c->sk->c.ctx, &c->in.msg);
		acknowledge(c, -EPROTO);
	}
}

/* ---- messages ---- */

bool vu_hung_up(const struct vu_conn *c)
{
	struct pollfd p = {.fd = c->sock.fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* A message of @c has come. False: another connection is the frontend of this socket. */
static bool may_speak(struct vu_conn *c)
{
	struct vu_socket *sk = c->sk;

	if (sk->front && sk->front != c && vu_hung_up(sk->front))
		vu_conn_end(sk->front);
	if (!sk->front) {
		sk->front = c;
		vu_dial_heard(sk);
		vu_life_begin(sk, c->sock.fd);
		zv_log_limited(sk->c.log, ZV_LOG_INFO, "%s: frontend connected", path_of(c));
		sk->c.ops->attached(sk->c.ctx);
	}
	if (sk->front == c)
		return true;
	zv_log_limited(sk->c.log, ZV_LOG_WARN,
		       "%s: a second frontend was refused: one guest a socket", path_of(c));
	return false;
}

static void handle(struct vu_conn *c)
{
	const struct vu_socket_config *sc = &c->sk->c;
	const char *why;
	int ret;

	if (!may_speak(c)) {
		vu_conn_end(c);
		return;
	}
	why = vu_msg_refused(&c->in.msg, c->in.nfds, sc->terms);
	if (why) {
		zv_log_limited(sc->log, ZV_LOG_WARN, "%s: vhost-user %s (%u) was refused: %s",
			       path_of(c), vu_request_name(c->in.msg.request), c->in.msg.request,
			       why);
		acknowledge(c, -EPROTO);
		return;
	}
	if (!vu_rule_of(c->in.msg.request)->to_rte) {
		act(c, NULL);
		return;
	}
	ret = to_link(c);
	if (ret < 0)
		vu_conn_end(c);
}

static void next_messages(struct vu_conn *c)
{
	const char *why;
	int ret;

	for (unsigned i = 0; i < VU_TURN && !c->dead && c->state == VU_READING && !vu_waits(c->sk);
	     i++) {
		ret = vu_read(&c->in, c->sock.fd, vu_head_refused, &why);
		if (ret == 0)
			break;
		if (ret < 0) {
			if (why)
				zv_log_limited(c->sk->c.log, ZV_LOG_WARN,
					       "%s: vhost-user %s (%u) was refused: %s", path_of(c),
					       vu_request_name(c->in.msg.request),
					       c->in.msg.request, why);
			else
				vu_dial_hung_up(c);
			vu_conn_end(c);
			return;
		}
		c->deadline = UINT64_MAX; /* it is whole */
		handle(c);
	}
	if (c->dead || c->state != VU_READING)
		return;
	if (vu_reader_midway(&c->in) && c->deadline == UINT64_MAX)
		c->deadline = vu_in(c->sk->c.stall_ns);
}

static void sock_ready(struct vu_source *s, uint32_t events)
{
	struct vu_conn *c =
		(struct vu_conn *)(void *)((uint8_t *)s - offsetof(struct vu_conn, sock));
	int ret;

	if (c->state == VU_READING) {
		next_messages(c);
		return;
	}
	if (events & (EPOLLHUP | EPOLLERR)) {
		vu_conn_end(c);
		return;
	}
	if (c->state != VU_ANSWERING)
		return;
	ret = vu_write_rest(&c->out, s->fd);
	if (ret < 0) {
		vu_conn_end(c);
	} else if (ret) {
		c->state = VU_READING;
		c->deadline = UINT64_MAX;
		vu_rewatch(s, EPOLLIN);
	}
}

void vu_conn_new(struct vu_socket *sk, int fd)
{
	struct vu_conn *c = calloc(1, sizeof(*c)), *old;

	if (c)
		c->sock = (struct vu_source){sock_ready, fd, sk};
	/* While the socket rests: vu_server_fair.c. */
	if (!c || vu_watch(&c->sock, vu_rests(sk) ? EPOLLET : EPOLLIN) < 0) {
		fd_closer_put(sk->closer, fd);
		free(c);
		return;
	}
	c->link = (struct vu_source){link_ready, -1, sk};
	c->sk = sk;
	c->deadline = sk->c.client ? vu_in(sk->c.stall_ns) : UINT64_MAX;
	passed_expect(fd); /* an out-of-band byte is read with the others, as are its descriptors */
	vu_reader_init(&c->in, sk->closer);
	vu_reader_init(&c->back, NULL);
	TAILQ_INSERT_TAIL(&sk->conns, c, next);
	/* Too many connections wait without having sent a message: the oldest is closed. */
	if (++sk->nconns <= VU_NEWCOMERS + (sk->front != NULL))
		return;
	old = TAILQ_FIRST(&sk->conns);
	if (old == sk->front)
		old = TAILQ_NEXT(old, next);
	vu_conn_end(old);
}
