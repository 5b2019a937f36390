/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams to a program: at once if its socket has space, otherwise in turns as soon as it has
 * (av_move.c). A turn is one system call. The senders of an inbox take turns, and so do the peers
 * of each sender; what comes from one peer keeps its order.
 */
#include "av_inbox.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* 0; -EAGAIN: full; -errno. A program that dissolves its connection leaves ECONNRESET on the
 * socket, which the next system call returns once. */
static int put_now(const struct av_peer *p, const void *data, uint32_t len)
{
	struct iovec iov[] = {{(void *)data, len}, {(void *)&p->inbox->key, sizeof(p->inbox->key)}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	if (sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == ECONNRESET && sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return -errno;
}

/* ---- what waits ---- */

uint32_t av_inbox_bytes(const struct av_inbox *b, uint64_t sender)
{
	const struct av_peer *p;
	uint32_t bytes = 0;

	TAILQ_FOREACH(p, &b->late, late_link)
		if (p->sender == sender)
			bytes += p->bytes;
	return bytes;
}

static void late_remove(struct av_peer *p)
{
	TAILQ_REMOVE(&p->inbox->late, p, late_link);
	p->inbox->n_late--;
}

static void drop_first(struct av_peer *p)
{
	struct av_waiting *w = STAILQ_FIRST(&p->waiting);
	struct av_inbox *b = p->inbox;
	uint32_t bytes = w->len + INBOX_COST;

	STAILQ_REMOVE_HEAD(&p->waiting, link);
	p->bytes -= bytes;
	p->n_waiting--;
	b->bytes -= bytes;
	av_store_remove(b->space->mail, b->port->user, p->sender, bytes);
	free(w);
	if (STAILQ_EMPTY(&p->waiting))
		late_remove(p);
}

void av_deliver_drop(struct av_peer *p)
{
	struct av_inbox *b = p->inbox;

	if (STAILQ_EMPTY(&p->waiting))
		return;
	late_remove(p);
	b->bytes -= p->bytes;
	av_store_drop(b->space->mail, b->port->user, p->sender, p->bytes, &p->waiting);
	p->bytes = p->n_waiting = 0;
}

/*
 * Polls a socket until the program's has space. A peer's own socket can be full as well, of large
 * datagrams that the program has not read. Less likely that of who has the smallest one next.
 */
static void await_pollout(struct av_inbox *b)
{
	struct av_peer *p, *least = TAILQ_FIRST(&b->late);

	if (!least || b->pollout.pending || b->write.mover)
		return;
	TAILQ_FOREACH(p, &b->late, late_link)
		if (STAILQ_FIRST(&p->waiting)->len < STAILQ_FIRST(&least->waiting)->len)
			least = p;
	b->polled = least;
	io_poll(av_inbox_io(b), &b->pollout, least->fd, POLLOUT);
}

/* The sender of @p has had its turn: its peers come behind those of others, @p last. */
static void turn_over(struct av_inbox *b, struct av_peer *p)
{
	unsigned n = b->n_late;
	struct av_peer *q, *next;

	for (q = TAILQ_FIRST(&b->late); n--; q = next) {
		next = TAILQ_NEXT(q, late_link);
		if (q == p || q->sender != p->sender)
			continue;
		TAILQ_REMOVE(&b->late, q, late_link);
		TAILQ_INSERT_TAIL(&b->late, q, late_link);
	}
	TAILQ_REMOVE(&b->late, p, late_link);
	TAILQ_INSERT_TAIL(&b->late, p, late_link);
}

/* Tries to deliver one datagram. */
static bool deliver(struct av_move *v)
{
	struct av_inbox *b =
		(struct av_inbox *)(void *)((char *)v - offsetof(struct av_inbox, write));
	struct av_peer *p = TAILQ_FIRST(&b->late);
	const struct av_waiting *w;

	if (!p)
		return false;
	w = STAILQ_FIRST(&p->waiting);
	turn_over(b, p);
	if (put_now(p, w->data, w->len) != -EAGAIN) {
		b->n_full = 0;
		drop_first(p);
		return !TAILQ_EMPTY(&b->late);
	}
	if (++b->n_full < b->n_late)
		return true;
	b->n_full = 0;
	await_pollout(b);
	return false;
}

static void on_pollout(struct io_op *op, int res, uint32_t flags)
{
	struct av_inbox *b = (struct av_inbox *)(void *)op; /* first */
	struct av_peer *p = b->polled;

	(void)res;
	(void)flags;
	b->polled = NULL;
	if (b->port && !TAILQ_EMPTY(&b->late))
		av_move_wait(b->space->mail, &b->port->user->mover, &b->write);
	if (p->ended)
		av_peer_over(p); /* may free the inbox */
	else if (!b->port)
		av_inbox_over(b);
}

void av_deliver_init(struct av_inbox *b)
{
	b->pollout.done = on_pollout;
	b->write.run = deliver;
	TAILQ_INIT(&b->late);
}

void av_deliver_end(struct av_inbox *b)
{
	av_move_leave(b->space->mail, &b->write);
	io_cancel(av_inbox_io(b), &b->pollout);
}

/* ---- what arrives ---- */

/* True: a sender that has @own has no more than it leaves for others with another @more. */
static bool has_share(const struct av_inbox *b, uint32_t own, uint32_t more)
{
	const uint32_t left = INBOX_BYTES - b->bytes;

	return more <= left && own + more <= left - more;
}

static bool keep(struct av_inbox *b, struct av_peer *p, const void *data, uint32_t len)
{
	const uint32_t bytes = len + INBOX_COST;
	struct av_waiting *w;

	if (!has_share(b, av_inbox_bytes(b, p->sender), bytes) ||
	    !av_store_add(b->space->mail, b->port->user, p->sender, bytes))
		return false;
	w = malloc(sizeof(*w) + len);
	if (!w) {
		av_store_remove(b->space->mail, b->port->user, p->sender, bytes);
		return false;
	}
	w->len = len;
	memcpy(w->data, data, len);
	if (STAILQ_EMPTY(&p->waiting)) {
		TAILQ_INSERT_TAIL(&b->late, p, late_link);
		b->n_late++;
	}
	STAILQ_INSERT_TAIL(&p->waiting, w, link);
	p->bytes += bytes;
	p->n_waiting++;
	b->bytes += bytes;
	await_pollout(b);
	return true;
}

bool av_inbox_put(struct av_inbox *b, uint32_t local_cid, const struct av_from *from,
		  const void *data, uint32_t len)
{
	struct av_peer *p;
	int ret = -EAGAIN;

	/* An empty message cannot be passed on: the socket filter of the program, which removes the
	 * key, cannot truncate a message to nothing. */
	if (!len || len > DROPIN_DGRAM_MAX)
		return false;
	p = av_peer_for(b, local_cid, from);
	if (!p)
		return false;
	if (STAILQ_EMPTY(&p->waiting))
		p->sender = from->sender;
	if (TAILQ_EMPTY(&b->late))
		ret = put_now(p, data, len);
	return ret == -EAGAIN ? keep(b, p, data, len) : ret == 0;
}
