/* SPDX-License-Identifier: BSD-3-Clause */
/* Theory in linger.h. */
#include "linger.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#define LINGER_NS   10000000000u /* 10 s */
#define LINGER_STEP (1u << 20)	 /* bytes discarded at a time */

struct linger_sock {
	struct conn_owner owner; /* first */
	struct io_op poll;
	struct lcore_timer timer;
	int fd; /* -1: closed; freed when the poll has ended */
};

static struct io *io_of(const struct linger_sock *l)
{
	return lcore_io(l->owner.gq->lc);
}

static void end(struct linger_sock *l)
{
	if (l->fd >= 0) {
		lcore_timer_stop(l->owner.gq->lc, &l->timer);
		io_cancel(io_of(l), &l->poll);
		io_close_fd(io_of(l), l->fd);
		guest_fd_put(l->owner.gq);
		l->fd = -1;
	}
	if (l->poll.pending)
		return;
	conn_owner_remove(&l->owner);
	free(l);
}

static void drain(struct linger_sock *l)
{
	/* With MSG_TRUNC, TCP discards the data without a buffer. */
	ssize_t n = recv(l->fd, NULL, LINGER_STEP, MSG_TRUNC | MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		end(l);
	else
		io_poll(io_of(l), &l->poll, l->fd, POLLIN);
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

void linger_start(struct guest_queue *gq, int fd)
{
	struct linger_sock *l = calloc(1, sizeof(*l));

	if (!l) {
		GUEST_COUNT(gq, no_memory);
		io_close_fd(lcore_io(gq->lc), fd);
		guest_fd_put(gq);
		return;
	}
	l->fd = fd;
	l->poll.done = polled;
	l->timer.expired = expired;
	l->owner.event = owner_event;
	l->owner.abort = owner_abort;
	conn_owner_add(&l->owner, gq);
	lcore_timer_start(gq->lc, &l->timer, LINGER_NS);
	(void)shutdown(fd, SHUT_WR);
	drain(l);
}
