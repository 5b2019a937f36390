/* SPDX-License-Identifier: BSD-3-Clause */
/* See sndbuf.h. */
#include "sndbuf.h"

#include "core/log.h"
#include "relay_int.h"

#include <linux/sockios.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SHARE	    8u /* of what is left, for one socket */
#define VICTIMS	    4u /* sockets that are looked at for one that grows */
#define RETRY_BATCH 64u
#define MESSAGE_OF  32u /* a message may be that much shorter than the buffer */

#ifndef SO_BUF_LOCK /* Linux 5.14 */
#define SO_BUF_LOCK 72
#endif

/* The most that the kernel lets a socket hold whose SO_SNDBUF is @size: what was sent while there
 * was room for one byte more comes on top. Figures: tests/daemon/relay/test_sndbuf.c. */
static uint64_t charge(const struct relay *r, uint64_t size)
{
	uint64_t packet = size / 2 + 4096;

	if (r->flags & RELAY_SEQPACKET)
		return size * 3;
	if (r->flags & RELAY_TCP)
		return size + 65536;
	return size + (packet < 40960 ? packet : 40960);
}

/* ---- what is promised ---- */

static void count(struct guest_queue *gq, uint64_t more)
{
	(void)__atomic_fetch_add(&gq->guest->counters.sock_promised, more, __ATOMIC_RELAXED);
}

/* Bytes that are left of @all. */
static uint64_t left_of(const struct guest_queue *gq, uint64_t all)
{
	return all > gq->sndbufs_used ? all - gq->sndbufs_used : 0;
}

/* False: with @bytes more it would be more than @all. */
static bool take(struct guest_queue *gq, uint64_t bytes, uint64_t all)
{
	if (bytes > left_of(gq, all))
		return false;
	gq->sndbufs_used += bytes;
	count(gq, bytes);
	return true;
}

static void give_back(struct guest_queue *gq, uint64_t bytes)
{
	gq->sndbufs_used -= bytes;
	count(gq, -bytes);
	if (left_of(gq, gq->guest->sndbufs.memory / 2))
		gq->sndbufs_told = false;
}

void sndbuf_put(struct guest_queue *gq, const struct sndbuf_promise *p)
{
	give_back(gq, p->shared);
	count(gq, -p->own);
}

/* ---- sizes ---- */

static uint32_t sysctl_last(const char *path, uint32_t otherwise)
{
	FILE *f = fopen(path, "re");
	unsigned v, last = 0;

	while (f && fscanf(f, "%u", &v) == 1)
		last = v;
	if (f)
		(void)fclose(f);
	return last ? last : otherwise;
}

struct sndbuf_limits sndbuf_limits(const struct cfg_guest *c, unsigned n_queues)
{
	uint64_t least = (uint64_t)c->buf_alloc * 64 * n_queues; /* as in api/socket/call/opts.c */
	struct sndbuf_limits l = {.memory = c->rx_memory};

	if (!l.memory)
		l.memory = least > 256u << 20 ? least : 256u << 20;
	l.memory /= n_queues;
	if (l.memory < SNDBUF_MEMORY)
		l.memory = SNDBUF_MEMORY;
	l.local = sysctl_last("/proc/sys/net/core/wmem_default", 212992);
	l.tcp = sysctl_last("/proc/sys/net/ipv4/tcp_wmem", 4u << 20);
	return l;
}

/* A size that is @full needs no fixed one. */
static void set_size(struct relay *r, uint32_t size)
{
	int half = (int)(size / 2);

	r->sndbuf.size = size;
	(void)setsockopt(r->fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof(half));
	if (size == r->sndbuf.full && r->flags & RELAY_TCP)
		(void)setsockopt(r->fd, SOL_SOCKET, SO_BUF_LOCK, &(int){0}, sizeof(int));
}

static void list(struct relay *r)
{
	struct guest_queue *gq = r->f.owner.gq;

	if (r->sndbuf.held)
		TAILQ_REMOVE(&gq->sndbufs, r, sndbuf.link);
	r->sndbuf.held = r->sndbuf.size > SNDBUF_LEAST;
	if (r->sndbuf.held)
		TAILQ_INSERT_TAIL(&gq->sndbufs, r, sndbuf.link);
}

/* All sizes are even: the kernel doubles what it is told. */
static uint32_t smaller(uint64_t a, uint32_t b)
{
	return a < b ? (uint32_t)a & ~1u : b;
}

/* What the kernel has given it. */
static uint32_t usual_size(const struct relay *r)
{
	const struct sndbuf_limits *l = &r->f.owner.gq->guest->sndbufs;

	if (r->flags & RELAY_TCP)
		return l->tcp;
	if (r->flags & RELAY_LINGER0) /* AF_VSOCK */
		return 0;
	return l->local;
}

/* What it has in any case. */
static uint32_t least_of(const struct relay *r)
{
	return smaller(SNDBUF_LEAST, r->sndbuf.full);
}

void sndbuf_open(struct relay *r)
{
	struct guest_queue *gq = r->f.owner.gq;
	uint64_t half = gq->guest->sndbufs.memory / 2;
	struct sndbuf *s = &r->sndbuf;
	uint32_t size, least;

	s->full = usual_size(r) & ~1u;
	if (!s->full)
		return;
	least = least_of(r);
	count(gq, charge(r, least));
	size = smaller(left_of(gq, half) / SHARE, s->full);
	if (size < least || !take(gq, charge(r, size) - charge(r, least), half))
		size = least;
	if (size == s->full)
		s->size = size;
	else
		set_size(r, size);
	list(r);
}

/* Takes from a socket that uses little of what it has. */
static void take_from(struct relay *r)
{
	uint32_t size, was = r->sndbuf.size;
	int used = 0;

	list(r); /* behind the others */
	/* What it sends at this moment may need all of it. */
	if (r->from_guest || ioctl(r->fd, SIOCOUTQ, &used) < 0)
		return;
	size = (uint32_t)used > was / 4 ? was : (uint32_t)used * 4;
	if (size < SNDBUF_LEAST)
		size = SNDBUF_LEAST;
	if (size > was / 2)
		return;
	set_size(r, size);
	give_back(r->f.owner.gq, charge(r, was) - charge(r, size));
	list(r);
}

static bool grow_to(struct relay *r, uint32_t size, uint64_t all)
{
	struct guest_queue *gq = r->f.owner.gq;

	if (size <= r->sndbuf.size || !take(gq, charge(r, size) - charge(r, r->sndbuf.size), all))
		return false;
	set_size(r, size);
	list(r);
	return true;
}

/* To @least bytes, or as much more as there is of @all. False: there is no room. */
static bool grow(struct relay *r, uint32_t least, uint64_t all)
{
	struct guest_queue *gq = r->f.owner.gq;

	for (unsigned i = 0; i <= VICTIMS; i++) {
		uint32_t share = smaller(left_of(gq, all) / SHARE, r->sndbuf.full);

		if (grow_to(r, share > least ? share : least, all))
			return true;
		if (TAILQ_EMPTY(&gq->sndbufs))
			break;
		take_from(TAILQ_FIRST(&gq->sndbufs));
	}
	if (!gq->sndbufs_told)
		log_line(ZV_LOG_INFO, gq->guest->name,
			 "the sockets of queue %u may hold %llu bytes that no program has read, "
			 "which is what rx_memory allows: some have small buffers, and long "
			 "messages wait",
			 gq->index, (unsigned long long)gq->sndbufs_used);
	gq->sndbufs_told = true;
	return false;
}

/* An eighth is left for messages, which cannot be sent in pieces. */
void sndbuf_full(struct relay *r)
{
	uint64_t memory = r->f.owner.gq->guest->sndbufs.memory;

	if (r->sndbuf.size < r->sndbuf.full)
		(void)grow(r, smaller((uint64_t)r->sndbuf.size * 2, r->sndbuf.full),
			   memory - memory / 8);
}

/* ---- messages ---- */

static void stop_waiting(struct relay *r)
{
	struct guest_queue *gq = r->f.owner.gq;

	if (!r->sndbuf.waits)
		return;
	r->sndbuf.waits = false;
	TAILQ_REMOVE(&gq->sndbufs_waiting, r, sndbuf.waiting);
	if (TAILQ_EMPTY(&gq->sndbufs_waiting))
		lcore_timer_stop(gq->lc, &gq->sndbuf_retry);
}

/* Each of the first once. Those that fail go to the end. */
static void retry(struct lcore_timer *t)
{
	struct guest_queue *gq =
		(struct guest_queue *)(void *)((char *)t -
					       offsetof(struct guest_queue, sndbuf_retry));
	struct relay *r, *last = TAILQ_LAST(&gq->sndbufs_waiting, relay_list);

	for (unsigned i = 0; i < RETRY_BATCH; i++) {
		r = TAILQ_FIRST(&gq->sndbufs_waiting);
		if (!r)
			return;
		stop_waiting(r);
		if (r->from_guest && !r->from_guest->op.pending) {
			r->out_ready = true;
			relay_from_guest_resume(r);
		}
		if (r == last)
			break;
	}
	if (!TAILQ_EMPTY(&gq->sndbufs_waiting) && !gq->sndbuf_retry.running)
		lcore_timer_start(gq->lc, &gq->sndbuf_retry, SNDBUF_RETRY_NS);
}

bool sndbuf_fits(struct relay *r, uint32_t len)
{
	struct guest_queue *gq = r->f.owner.gq;
	uint32_t least = smaller((uint64_t)len + MESSAGE_OF + 1, r->sndbuf.full);

	if (least <= r->sndbuf.size || grow(r, least, gq->guest->sndbufs.memory)) {
		stop_waiting(r);
		return true;
	}
	if (!r->sndbuf.waits) {
		r->sndbuf.waits = true;
		TAILQ_INSERT_TAIL(&gq->sndbufs_waiting, r, sndbuf.waiting);
	}
	gq->sndbuf_retry.expired = retry;
	if (!gq->sndbuf_retry.running)
		lcore_timer_start(gq->lc, &gq->sndbuf_retry, SNDBUF_RETRY_NS);
	return false;
}

/* ---- the end ---- */

struct sndbuf_promise sndbuf_close(struct relay *r)
{
	struct sndbuf_promise p = {0};

	if (r->sndbuf.size) {
		p.own = charge(r, least_of(r));
		p.shared = charge(r, r->sndbuf.size) - p.own;
	}
	stop_waiting(r);
	if (r->sndbuf.held)
		TAILQ_REMOVE(&r->f.owner.gq->sndbufs, r, sndbuf.link);
	r->sndbuf = (struct sndbuf){0};
	return p;
}
