/* SPDX-License-Identifier: BSD-3-Clause */
/* Theory in linger.h. */
#include "linger.h"

#include "flow.h"
#include "sndbuf.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#define LINGER_NS 10000000000u /* 10 s */

struct linger_sock {
	struct flow f; /* first; it has no connection, but takes its turn with those that have */
	struct io_op poll;
	struct lcore_timer timer;
	int fd; /* -1: closed; freed when the poll has ended */
	struct sndbuf_promise promised;
};

static struct io *io_of(const struct linger_sock *l)
{
	return lcore_io(l->f.owner.gq->lc);
}

static void end(struct linger_sock *l)
{
	if (l->fd >= 0) {
		flow_close(&l->f, false);
		lcore_timer_stop(l->f.owner.gq->lc, &l->timer);
		io_cancel(io_of(l), &l->poll);
		io_close_fd(io_of(l), l->fd);
		guest_fd_put(l->f.owner.gq);
		sndbuf_put(l->f.owner.gq, &l->promised);
		l->fd = -1;
	}
	if (l->poll.pending)
		return;
	conn_owner_remove(&l->f.owner);
	free(l);
}

/* What arrives is up to a host program, and has its share of a round like all payload. */
static void drain(struct linger_sock *l)
{
	uint32_t most = flow_may(&l->f);
	ssize_t n;

	if (!most)
		return; /* resume() */
	/* With MSG_TRUNC, TCP discards the data without a buffer. */
	n = recv(l->fd, NULL, most, MSG_TRUNC | MSG_DONTWAIT);
	if (n > 0)
		(void)flow_moved(&l->f, (uint32_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		end(l);
	else
		io_poll(io_of(l), &l->poll, l->fd, POLLIN);
}

static void resume(struct lcore_work *w)
{
	drain((struct linger_sock *)(void *)flow_of_work(w));
}

static void polled(struct io_op *op, int res, uint32_t flags)
{
	struct linger_sock *l =
		(struct linger_sock *)(void *)((char *)op - offsetof(struct linger_sock, poll));

	(void)flags;
	if (l->fd < 0 || res < 0)
		end(l);
	else
		drain(l);
}

static void expired(struct lcore_timer *t)
{
	end((struct linger_sock *)(void *)((char *)t - offsetof(struct linger_sock, timer)));
}

static void owner_event(struct conn_owner *o, const struct zv_event *ev)
{
	(void)o; /* it has no connection */
	(void)ev;
}

static void owner_abort(struct conn_owner *o)
{
	end((struct linger_sock *)(void *)o);
}

void linger_start(struct guest_queue *gq, int fd, const struct sndbuf_promise *promised)
{
	struct linger_sock *l = calloc(1, sizeof(*l));

	if (!l) {
		GUEST_COUNT(gq, no_memory);
		io_close_fd(lcore_io(gq->lc), fd);
		guest_fd_put(gq);
		sndbuf_put(gq, promised);
		return;
	}
	l->fd = fd;
	l->promised = *promised;
	l->poll.done = polled;
	l->timer.expired = expired;
	l->f.owner.event = owner_event;
	l->f.owner.abort = owner_abort;
	flow_init(&l->f, gq, NULL, NULL, resume);
	lcore_timer_start(gq->lc, &l->timer, LINGER_NS);
	(void)shutdown(fd, SHUT_WR);
	drain(l);
}
