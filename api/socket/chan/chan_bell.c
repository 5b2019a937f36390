/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_bell.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Access to another queue's page, for ringing. */
struct chan_ringer {
	LIST_ENTRY(chan_ringer) link;
	struct bell_ringer r;
	struct bell_map *map;
	uint32_t chans; /* number of channels that use it */
};

/* ---- this side's page ---- */

/* Edge-triggered: queue_fds_check() takes the event, and the descriptor is never read. */
static int listen_to(struct zv_queue *q, int fd)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET, .data.u32 = FD_BELLS};

	return epoll_ctl(q->arm.epfd, EPOLL_CTL_ADD, fd, &edge) < 0 ? -errno : 0;
}

int chan_bells_open(struct zv_queue *q, struct bell_map *m)
{
	struct chan_bells *b;
	int ret = -EALREADY;

	if (q->chans.bells) {
		bell_map_put(m);
		return ret;
	}
	b = calloc(1, sizeof(*b));
	ret = b ? bells_open(&b->owner, m->page, m->id) : -ENOMEM;
	if (!ret) {
		ret = listen_to(q, m->fd);
		if (ret)
			bells_close(&b->owner);
	}
	if (ret) {
		free(b);
		bell_map_put(m);
		return ret;
	}
	b->map = m;
	q->chans.bells = b;
	return 0;
}

void chan_bells_close(struct zv_queue *q)
{
	struct chan_bells *b = q->chans.bells;

	if (!b)
		return;
	q->chans.bells = NULL;
	bells_close(&b->owner);
	for (uint32_t i = 0; i < BELLS; i++)
		if (b->of[i])
			b->of[i]->bell = 0;
	(void)epoll_ctl(q->arm.epfd, EPOLL_CTL_DEL, b->map->fd, NULL);
	bell_map_put(b->map);
	free(b);
}

int chan_bell_enter(struct chan *ch)
{
	struct chan_bells *b = ch->q->chans.bells;

	if (ch->bell >= BELLS || (b && ch->bell && b->of[ch->bell]))
		return -EINVAL;
	if (!b)
		ch->bell = 0; /* the peer sees that nobody listens */
	else if (ch->bell)
		b->of[ch->bell] = ch;
	return 0;
}

void chan_bell_leave(struct chan *ch)
{
	struct chan_ringer *r = ch->ringer;

	if (ch->bell)
		ch->q->chans.bells->of[ch->bell] = NULL;
	ch->bell = 0;
	ch->ringer = NULL;
	if (!r || --r->chans)
		return;
	LIST_REMOVE(r, link);
	bell_map_put(r->map);
	free(r);
}

bool chan_bells_arm(struct zv_queue *q)
{
	return q->chans.bells && bells_arm(&q->chans.bells->owner);
}

void chan_bells_disarm(struct zv_queue *q)
{
	if (q->chans.bells)
		bells_disarm(&q->chans.bells->owner);
}

/* ---- ringing ---- */

/* 0 or -errno. */
static int wake_owner(void *arg)
{
	const struct chan_ringer *r = arg;
	uint64_t n = 1;

	for (int i = 0; i < 2; i++) {
		if (write(r->map->fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
			return 0;
		/*
		 * The counter is full. Once it is emptied, the next write succeeds and causes an
		 * event.
		 */
		if (errno != EAGAIN || read(r->map->fd, &n, sizeof(n)) < 0)
			break;
		n = 1;
	}
	return -errno;
}

/* The ringer for @page, created if needed. NULL: access to the page is pending or not available. */
static struct chan_ringer *ringer_of(struct zv_queue *q, uint32_t page)
{
	const struct transport_region_ops *ops = q->dev->ops->regions;
	struct chan_ringer *r;
	struct bell_map *m;

	LIST_FOREACH(r, &q->chans.ringers, link)
		/* cppcheck-suppress nullPointerRedundantCheck ; not NULL in the loop */
		if (r->map->id == page)
			break;
	if (r || !ops || !ops->ringer || ops->ringer(q->dev->t, page, &m))
		return r;
	r = calloc(1, sizeof(*r));
	if (!r || bell_attach(&r->r, m->page, m->id, wake_owner, r)) {
		free(r);
		bell_map_put(m);
		return NULL;
	}
	r->map = m;
	LIST_INSERT_HEAD(&q->chans.ringers, r, link);
	return r;
}

bool chan_bell_ring(struct chan *ch)
{
	if (!ch->ringer) {
		ch->ringer = ch->ring_page ? ringer_of(ch->q, ch->ring_page) : NULL;
		if (!ch->ringer)
			return false;
		ch->ringer->chans++;
	}
	if (!bells_listening(&ch->ringer->r) || bell_ring(&ch->ringer->r, ch->ring_bell))
		return false;
	stats_add(&ch->q->tq->stats.chan_rings, 1);
	return true;
}
