/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker.h"

#include "core/clock.h"
#include "core/log.h"
#include "line.h"
#include "reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_broker.h>

enum known_state {
	KNOWN_TELL,	/* to be announced when there is room */
	KNOWN_TOLD,	/* the driver has not answered */
	KNOWN_MAPPED,	/* it has it */
	KNOWN_DECLINED, /* it cannot have it */
	KNOWN_FORGET,	/* it is to be told that it is gone, when there is room */
	KNOWN_GONE,	/* it does not have it, but still holds ends in it */
};

/* A region that is known at the other end of the line. */
struct known {
	struct region *region;
	enum known_state state;
	uint64_t told_ns;
	uint32_t ends; /* of broker.ends that are in it */
	TAILQ_ENTRY(known) link;
};

struct broker {
	struct guest_queue *gq;
	const struct line_ops *ops;
	void *arg;	      /* of the line */
	struct broker **self; /* what points to it: gq->broker, or the one before in gq->lines */
	struct broker *next;
	bool over;	/* the line has been cut */
	bool hello;	/* a driver has spoken */
	bool offered;	/* ... and offered memory, in this session */
	uint64_t nonce; /* of the last one */
	TAILQ_HEAD(, broker_user) users;
	TAILQ_HEAD(, known) known;
	unsigned n_known;
	TAILQ_HEAD(wait_list, broker_wait) waits;
	TAILQ_HEAD(, chan_end) ends;
	struct lcore_timer retry;
	unsigned telling; /* other queues that have not yet heard of the driver; atomic */
};

/* ---- ends ---- */

static struct known *find(const struct broker *b, const struct region *r)
{
	struct known *k;

	TAILQ_FOREACH(k, &b->known, link)
		if (k->region == r)
			return k;
	return NULL;
}

static struct known *find_id(const struct broker *b, uint64_t id)
{
	struct known *k;

	TAILQ_FOREACH(k, &b->known, link)
		if (region_id(k->region) == id)
			return k;
	return NULL;
}

static void drop(struct broker *b, struct known *k)
{
	TAILQ_REMOVE(&b->known, k, link);
	b->n_known--;
	region_put(k->region);
	free(k);
}

static void release(struct broker *b, struct chan_end *e)
{
	struct known *k = find(b, e->part->region);

	TAILQ_REMOVE(&b->ends, e, link);
	end_release(e);
	if (k && --k->ends == 0 && k->state == KNOWN_GONE)
		drop(b, k);
}

static void release_all(struct broker *b)
{
	struct chan_end *e;

	while ((e = TAILQ_FIRST(&b->ends)))
		release(b, e);
}

void broker_granted(struct broker *b, struct chan_end *e)
{
	struct known *k = find(b, e->part->region);

	end_granted(e, b);
	TAILQ_INSERT_TAIL(&b->ends, e, link);
	if (k)
		k->ends++;
}

/* ---- waiting ---- */

void broker_wait(struct broker *b, struct broker_wait *w, struct region *r)
{
	w->region = r;
	TAILQ_INSERT_TAIL(&b->waits, w, link);
}

void broker_wait_end(struct broker *b, struct broker_wait *w)
{
	if (!w->region)
		return;
	w->region = NULL;
	TAILQ_REMOVE(&b->waits, w, link);
}

/* ---- who speaks on the line ---- */

void broker_attach(struct broker *b, struct broker_user *u)
{
	u->b = b;
	TAILQ_INSERT_TAIL(&b->users, u, link);
}

void broker_detach(struct broker_user *u)
{
	if (u->b)
		TAILQ_REMOVE(&u->b->users, u, link);
	u->b = NULL;
}

int broker_connect(struct broker *b, const struct line_route *to, const struct zv_grant *g,
		   struct zv_conn **conn)
{
	return b->over ? -EOPNOTSUPP : b->ops->connect(b->gq, b->arg, to, g, conn);
}

int broker_grant(struct broker *b, struct zv_conn *conn, const struct zv_grant *g)
{
	return b->over ? -EOPNOTSUPP : b->ops->grant(b->arg, conn, g);
}

const struct line_ops *broker_line(const struct broker *b)
{
	return b->ops;
}

/* Those who wait for @r, or (NULL) all, look again; each may wait anew. */
static void look_again(struct broker *b, const struct region *r)
{
	struct wait_list now = TAILQ_HEAD_INITIALIZER(now);
	struct broker_wait *w;

	TAILQ_CONCAT(&now, &b->waits, link);
	while ((w = TAILQ_FIRST(&now))) {
		TAILQ_REMOVE(&now, w, link);
		if (r && w->region != r) {
			TAILQ_INSERT_TAIL(&b->waits, w, link);
			continue;
		}
		w->region = NULL;
		w->look(w);
	}
}

/* ---- telling a driver of regions ---- */

static void retry_later(struct broker *b)
{
	lcore_timer_start(b->gq->lc, &b->retry, BROKER_RETRY_NS);
}

static void tell(struct broker *b, struct known *k)
{
	const struct zv_region r = {.id = region_id(k->region),
				    .size = region_size(k->region),
				    .gpa = reach_address(b->gq->guest, k->region)};
	const struct region_user u = region_user(b->gq->guest);
	/* Before it is announced: the driver asks for the descriptor on another socket. */
	int ret = b->ops->fetches ? region_admit(k->region, &u) : 0;

	if (ret == 0)
		ret = b->ops->announce(b->gq, b->arg, &r);
	if (ret == -EAGAIN) {
		k->state = KNOWN_TELL;
		retry_later(b);
		return;
	}
	k->state = ret ? KNOWN_DECLINED : KNOWN_TOLD;
	k->told_ns = now_ns();
}

static void forget(struct broker *b, struct known *k)
{
	const struct region_user u = region_user(b->gq->guest);
	int ret = k->state == KNOWN_DECLINED ? 0
					     : b->ops->forget(b->gq, b->arg, region_id(k->region));

	if (b->ops->fetches)
		region_expel(k->region, &u);
	k->state = ret == -EAGAIN ? KNOWN_FORGET : KNOWN_GONE;
	if (ret == -EAGAIN)
		retry_later(b);
	else if (!k->ends)
		drop(b, k);
}

static void retry(struct lcore_timer *t)
{
	struct broker *b = (struct broker *)(void *)((char *)t - offsetof(struct broker, retry));
	struct known *k, *next;

	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (k->state == KNOWN_TELL)
			tell(b, k);
		else if (k->state == KNOWN_FORGET)
			forget(b, k);
	}
}

/* Announces @r, unless that has been done. NULL: it is retired, no memory, or too many are known.
 */
static struct known *make_known(struct broker *b, struct region *r)
{
	struct known *k = find(b, r);

	if (k && k->state != KNOWN_GONE && k->state != KNOWN_FORGET)
		return k;
	if (region_retired(r))
		return NULL;
	if (!k) {
		k = b->n_known < BROKER_REGIONS_MAX ? calloc(1, sizeof(*k)) : NULL;
		if (!k)
			return NULL;
		k->region = region_get(r);
		TAILQ_INSERT_TAIL(&b->known, k, link);
		b->n_known++;
	}
	tell(b, k);
	return k;
}

static struct broker *make(struct guest_queue *gq, const struct line_ops *ops, void *arg,
			   struct broker **at)
{
	struct broker *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->gq = gq;
	b->ops = ops;
	b->arg = arg;
	TAILQ_INIT(&b->users);
	b->retry.expired = retry;
	TAILQ_INIT(&b->known);
	TAILQ_INIT(&b->waits);
	TAILQ_INIT(&b->ends);
	b->self = at;
	b->next = *at;
	if (b->next)
		b->next->self = &b->next;
	*at = b;
	return b;
}

struct broker *broker_new(struct guest_queue *gq, const struct line_ops *ops, void *arg)
{
	return make(gq, ops, arg, &gq->lines);
}

/*
 * Has the driver of the queue said HELLO in this session? Until it has, or the library has given it
 * up, it may be under way: an application that connects at once is faster.
 */
static enum broker_can said_hello(struct guest_queue *gq)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	/* The library may know by now what it reports by its next poll only. */
	broker_news(gq);
	(void)zv_dev_info(gq->guest->dev, &info);
	if (info.peer == ZV_PEER_UNKNOWN)
		return BROKER_WAIT;
	if (info.peer != ZV_PEER_ZVSOCK || !__atomic_load_n(&gq->guest->channels, __ATOMIC_RELAXED))
		return BROKER_NEVER;
	/* On another queue it has: of a device with several it is the same driver. */
	return gq->broker && gq->broker->hello ? BROKER_CAN : BROKER_WAIT;
}

static struct broker *of_driver(struct guest_queue *gq)
{
	return gq->broker ? gq->broker : make(gq, &line_driver, gq, &gq->broker);
}

struct broker *broker_driver(struct guest_queue *gq)
{
	return gq->ending || said_hello(gq) == BROKER_NEVER ? NULL : of_driver(gq);
}

enum broker_can broker_can(struct broker *b, struct region *r)
{
	enum broker_can can = b->over || b->gq->ending ? BROKER_NEVER
			      : b == b->gq->broker     ? said_hello(b->gq)
						       : BROKER_CAN;
	const struct known *k;

	if (can != BROKER_CAN)
		return can;
	k = make_known(b, r);
	if (!k || k->state == KNOWN_DECLINED)
		return BROKER_DECLINED;
	if (k->state == KNOWN_MAPPED)
		return BROKER_CAN;
	return k->state == KNOWN_TOLD && now_ns() - k->told_ns > BROKER_PATIENCE_NS
		       ? BROKER_DECLINED
		       : BROKER_WAIT;
}

static void forget_retired(struct broker *b)
{
	struct known *k, *next;

	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (region_retired(k->region) && k->state < KNOWN_FORGET)
			forget(b, k);
	}
}

void broker_regions_changed(struct guest_queue *gq)
{
	struct broker *b = gq->broker, *l;
	struct region *r = reach_own();

	if (b)
		forget_retired(b);
	for (l = gq->lines; l; l = l->next)
		forget_retired(l);
	if (b && b->hello && r && reach_is_app(gq->guest) && !gq->ending)
		(void)make_known(b, r);
	region_put(r);
}

/* ---- what the driver says ---- */

struct other_driver {
	struct broker *from; /* outlives this: queues_end() in guests.c */
	struct guest_queue *gq;
	uint64_t nonce;
};

static void other_driver(struct lcore *lc, void *arg)
{
	struct other_driver *o = arg;
	struct broker *b = o->gq->broker;

	(void)lc;
	if (b && b->hello && b->nonce != o->nonce)
		release_all(b);
	__atomic_sub_fetch(&o->from->telling, 1, __ATOMIC_RELEASE);
	free(o);
}

/*
 * The driver before this one is gone with all queues, of which this one may have fewer. Queues that
 * are not told hear it from their own HELLO, or end with the device.
 */
static void tell_other_queues(const struct guest_queue *gq, uint64_t nonce)
{
	struct broker *b = gq->broker;
	struct guest *g = gq->guest;

	if (__atomic_load_n(&b->telling, __ATOMIC_ACQUIRE))
		return; /* who says HELLO again and again fills no mailbox */
	for (unsigned i = 0; i < g->n_queues; i++) {
		struct other_driver *o;

		if (&g->queues[i] == gq)
			continue;
		o = malloc(sizeof(*o));
		if (!o)
			return;
		*o = (struct other_driver){b, &g->queues[i], nonce};
		__atomic_add_fetch(&b->telling, 1, __ATOMIC_RELAXED);
		if (lcore_post(o->gq->lc, other_driver, o)) {
			__atomic_sub_fetch(&b->telling, 1, __ATOMIC_RELAXED);
			free(o);
		}
	}
}

static void on_hello(struct guest_queue *gq, uint64_t nonce)
{
	struct broker *b = of_driver(gq);
	struct known *k, *next;
	struct region *r;

	if (!b)
		return;
	if (b->hello && b->nonce != nonce) {
		release_all(b);
		if (!gq->ending)
			tell_other_queues(gq, nonce);
	}
	reach_driver(gq->guest, nonce);
	b->hello = true;
	b->offered = false;
	b->nonce = nonce;
	__atomic_store_n(&gq->guest->channels, true, __ATOMIC_RELAXED);
	/* What was announced in the session before is forgotten. */
	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		k->state = KNOWN_GONE;
		if (!k->ends)
			drop(b, k);
	}
	r = reach_is_app(gq->guest) ? reach_own() : NULL;
	if (r)
		(void)make_known(b, r);
	region_put(r);
	look_again(b, NULL);
}

/* Once in a session of a queue: a driver does not choose how often something is mapped. */
static void on_offer(struct broker *b, const struct zv_broker_msg *m)
{
	struct guest_queue *gq = b->gq;
	struct region *r;

	if (b->offered || reach_is_app(gq->guest) || gq->ending)
		return;
	b->offered = true;
	r = b->ops->fetches ? reach_offered(gq, b->nonce, m->gpa, m->size)
			    : reach_offered_by_program(gq, m->gpa, m->size);
	if (!r)
		return;
	(void)make_known(b, r);
	region_put(r);
}

static void on_region(struct broker *b, const struct zv_broker_msg *m)
{
	struct known *k = find_id(b, m->id);

	if (k && k->state >= KNOWN_FORGET) /* it did not know that yet */
		return;
	if (!k || k->state != KNOWN_TOLD || m->result > 0) {
		GUEST_COUNT(b->gq, channel_bad_msg);
		return;
	}
	k->state = m->result ? KNOWN_DECLINED : KNOWN_MAPPED;
	if (m->result)
		log_line(ZV_LOG_WARN, b->gq->guest->name,
			 "%s cannot map the region for channels (%s): its connections are "
			 "relayed",
			 b->ops->who, zv_strerror(m->result));
	look_again(b, k->region);
}

static void on_release(struct broker *b, const struct zv_broker_msg *m)
{
	const struct known *k = find_id(b, m->id);
	struct chan_end *e = k ? end_find(k->region, b, m->offset, m->generation) : NULL;

	if (e)
		release(b, e);
	else
		GUEST_COUNT(b->gq, channel_bad_msg);
}

void broker_said(struct broker *b, const struct zv_broker_msg *m)
{
	if (m->what == ZV_BROKER_OFFER)
		on_offer(b, m);
	else if (m->what == ZV_BROKER_REGION)
		on_region(b, m);
	else if (m->what == ZV_BROKER_RELEASE)
		on_release(b, m);
}

void broker_hear(struct guest_queue *gq)
{
	for (struct broker *b = gq->lines; b; b = b->next)
		b->ops->hear(b->arg);
}

/* What is left is reported again. */
void broker_news(struct guest_queue *gq)
{
	struct zv_broker_msg m;

	if (gq->hearing) /* somebody who waited for this asks */
		return;
	gq->hearing = true;
	for (unsigned n = 0; n < BROKER_NEWS_ROUND && zv_broker_recv(gq->q, &m) == 1; n++) {
		if (m.what == ZV_BROKER_HELLO)
			on_hello(gq, m.nonce);
		else if (gq->broker) /* or there was no memory for it when it said HELLO */
			broker_said(gq->broker, &m);
	}
	gq->hearing = false;
}

/* ---- the end of a line, and of the queue ---- */

void broker_cut(struct broker *b)
{
	const struct region_user u = region_user(b->gq->guest);
	struct broker_user *user;
	struct known *k;

	b->over = true;
	look_again(b, NULL);
	while ((user = TAILQ_FIRST(&b->users))) {
		broker_detach(user);
		user->cut(user);
	}
	release_all(b);
	while ((k = TAILQ_FIRST(&b->known))) {
		if (b->ops->fetches) /* drop(): off the list; NOLINTNEXTLINE(*-unix.Malloc) */
			region_expel(k->region, &u);
		drop(b, k); /* NOLINT(clang-analyzer-unix.Malloc) */
	}
	lcore_timer_stop(b->gq->lc, &b->retry);
	*b->self = b->next;
	if (b->next)
		b->next->self = b->self;
	free(b);
}

void broker_abort(struct guest_queue *gq)
{
	if (gq->broker)
		look_again(gq->broker, NULL);
}

void broker_end(struct guest_queue *gq)
{
	if (gq->broker)
		broker_cut(gq->broker);
}
